"""Properties over all networks, and what is each one's own."""

import numpy as np
import pytest
import torch
from torch import nn

from cli.console import UserError
from conftest import assert_close, batches_of, with_evidence
from engine.batches import Batch
from engine.losses import Loss, Tally
from engine.optimizers import LazyAdam, RowAdagrad, make_optimizers
from models import NETWORKS, layers, model_module
from models.base import DataSpec, at_most, describe
from models.layers import Dropout
from models.tables import Table, n_grams
from models.Transformer import Layer

TOKENS, CLASSES = 500, 7


def build(name, num_classes=CLASSES, **settings):
    torch.manual_seed(0)
    settings = {"n_gram_vocab" if name == "FastText" else "bigram_vocab": 1009} | settings
    config = model_module(name).Config(**{"smoothing": 0.1} | settings)
    model = model_module(name).Model(config, DataSpec(num_classes, TOKENS))
    return with_evidence(model, config, TOKENS, num_classes).eval()


def batch_of(lengths, pad_to=0, seed=0):
    """Random rows of these lengths; `pad_to` adds padding beyond the longest one."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, TOKENS - 1, sum(lengths)).astype(np.int32)
    labels, ends = rng.integers(0, CLASSES, len(lengths)), rng.integers(0, 2, len(ids))
    batch = batches_of(ids, lengths, labels, pad=TOKENS - 1, ends=ends).cut(np.arange(len(lengths)))
    padding = (0, max(0, pad_to - batch.tokens.shape[1]))
    tokens = nn.functional.pad(batch.tokens, padding, value=TOKENS - 1)
    return batch._replace(tokens=tokens, word_ends=nn.functional.pad(batch.word_ends, padding))


def one_row(batch, i):
    length = batch.lengths[i]
    tokens, ends = batch.tokens[i : i + 1, :length], batch.word_ends[i : i + 1, :length]
    return Batch(tokens, batch.lengths[i : i + 1], batch.labels[i : i + 1], word_ends=ends)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_padding_changes_nothing(name):
    model = build(name)
    for parameter in model.parameters():  # biases start at zero, where they would hide a mask that is missing
        if parameter.dim() == 1:
            parameter.normal_()
    for module in model.modules():  # and so do the vectors of n-grams
        if isinstance(module, Table):
            module.weight.normal_()[module.padding_idx] = 0
    lengths = np.random.default_rng(1).integers(1, 33, 512)
    together = model(batch_of(lengths))
    padded = model(batch_of(lengths, pad_to=128))
    assert_close(padded, together, 1e-5)
    batch = batch_of(lengths)
    for i in [*range(20), lengths.argmin(), lengths.argmax()]:
        assert_close(model(one_row(batch, i)), together[i : i + 1], 1e-5)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_padding_changes_little_in_bfloat16(name):
    model = build(name)
    batch = batch_of([5, 17, 32, 1])
    with torch.autocast("cpu", torch.bfloat16):
        together = model(batch).float()
        alone = torch.cat([model(one_row(batch, i)).float() for i in range(4)])
    assert_close(alone, together, 2e-2)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("pad_size", [1, 2, 3, 20, 40, 80, 512])
@torch.no_grad()
def test_any_pad_size(name, pad_size):
    model = build(name, pad_size=pad_size)
    assert model(batch_of([pad_size, 1])).shape == (2, CLASSES)
    assert model(batch_of([1])).shape == (1, CLASSES)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("num_classes", [1, 200])
def test_a_batch_of_one_row_trains_every_weight(name, num_classes):
    model = build(name, num_classes=num_classes).train()
    batch = batch_of([12])._replace(labels=torch.tensor([0]))
    logits = model(batch)
    assert logits.shape == (1, num_classes)
    nn.functional.cross_entropy(logits, batch.labels).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad.to_dense()).all(), key


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("embed", [1, 7, 200])
@torch.no_grad()
def test_any_width_of_vectors(name, embed):
    assert build(name, embed=embed)(batch_of([9, 3])).shape == (2, CLASSES)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_learns_its_rows(name):
    model = build(name, dropout=0.0).train()
    batch = batch_of([3, 9, 14, 20, 5, 6, 7, 11])._replace(labels=torch.tensor([0, 1, 2, 3, 4, 5, 6, 0]))
    optimizers = make_optimizers(model, 3e-3)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(batch), batch.labels)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert (model(batch).argmax(1) == batch.labels).all()


@pytest.mark.parametrize("name", NETWORKS)
def test_the_docstring_names_paper_and_departures(name):
    text = model_module(name).__doc__
    assert "https://" in text
    assert "Departures: " in text


@pytest.mark.parametrize("name", NETWORKS)
def test_every_field_has_help_and_a_default(name):
    for field in describe(model_module(name).Config).values():
        assert field["help"]
        assert field["convert"] in ((str,) if field["choices"] else (int, float))
        assert field["many"] == isinstance(field["default"], tuple)


def test_attention_heads_are_those_of_torch():
    torch.manual_seed(0)
    layer = Layer(width=20, hidden=32, num_head=5, dropout=0.0).eval()
    reference = nn.TransformerEncoderLayer(20, 5, 32, 0.0, batch_first=True, norm_first=True).eval()
    pairs = {"self_attn.in_proj_": layer.qkv, "self_attn.out_proj.": layer.out, "linear1.": layer.up}
    pairs |= {"linear2.": layer.down, "norm1.": layer.norm1, "norm2.": layer.norm2}
    kinds = ("weight", "bias")
    reference.load_state_dict({key + kind: getattr(part, kind) for key, part in pairs.items() for kind in kinds})
    x, mask = torch.randn(3, 6, 20), torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    expected = reference(x, src_key_padding_mask=~mask)
    assert_close(layer(x, mask)[mask], expected[mask], 1e-5)


def test_an_lstm_of_rows_of_different_lengths_is_torchs_packed_one():
    torch.manual_seed(0)
    ours, reference = layers.BiLSTM(6, 4, num_layers=2), nn.LSTM(6, 4, 2, bidirectional=True, batch_first=True)
    for layer in range(2):
        for part, suffix in ((ours.forwards[layer], ""), (ours.backwards[layer], "_reverse")):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(part, f"{kind}_l0").data = getattr(reference, f"{kind}_l{layer}{suffix}").data
    x, lengths = torch.randn(3, 7, 6), torch.tensor([7, 1, 4])
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)
    mask = torch.arange(7) < lengths[:, None]
    assert_close(ours(x, lengths)[mask], expected[mask], 1e-5)


def test_n_grams_include_the_current_token():
    rows = torch.tensor([[3, 5, 7], [3, 5, 8], [4, 5, 7]])
    tokens, bigrams, trigrams = (n_grams(rows, n) for n in (1, 2, 3))
    assert tokens.tolist()[0] == [3, 5, 7]
    assert bigrams[0, 1] == 3 * 14918087 + 5
    assert trigrams[0, 2] == 3 * 18408749 + 5 * 14918087 + 7
    assert bigrams[0, 2] != bigrams[1, 2]  # the current token differs
    assert trigrams[0, 2] != trigrams[1, 2]
    assert bigrams[0, 2] == bigrams[2, 2]  # the one two before does not matter
    assert trigrams[0, 2] != trigrams[2, 2]


@pytest.mark.parametrize("name", ["TextCNN", "FastText"])
@torch.no_grad()
def test_no_n_gram_of_a_table_spans_a_joint(name):
    model = build(name, evidence=0)
    for table in (module for module in model.modules() if isinstance(module, Table)):
        table.weight.normal_()[table.padding_idx] = 0
    plain, cut = (batch_of([9, 9])._replace(joints=torch.tensor(joints)) for joints in ([0, 0], [0, 2]))
    assert_close(model(plain), model(plain._replace(joints=None)), 1e-5)
    difference = (model(plain) - model(cut)).abs().max(dim=1).values
    assert difference[0] < 1e-5 and difference[1] > 1e-3
    padded = nn.functional.pad(cut.tokens, (0, 7), value=TOKENS - 1)
    assert_close(model(cut._replace(tokens=padded)), model(cut), 1e-5)


def test_a_step_touches_the_rows_of_its_batch_alone():
    model = build("FastText").train()
    tables = model.model.tables
    before = [table.weight.detach().clone() for table in tables]
    batch = batch_of([4, 4])
    optimizers = make_optimizers(model, 1e-2)
    nn.functional.cross_entropy(model(batch), batch.labels).backward()
    assert all(table.weight.grad.is_sparse for table in tables)
    for optimizer in optimizers:
        optimizer.step()
    for n, table in enumerate(tables, 1):
        changed = (table.weight != before[n - 1]).any(1).nonzero().flatten()
        assert set(changed.tolist()) == set((n_grams(batch.tokens, n) % 1009).flatten().tolist())


@pytest.mark.parametrize("tokens", [5, layers.PLAIN_ATTENTION + 1])
def test_attention_is_torchs(tokens):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, tokens, 8)
    mask = (torch.arange(tokens) < torch.tensor([tokens, 2])[:, None])[:, None, None]
    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert_close(layers.attention(query, key, value, mask), expected, 1e-5)


def test_dropout_drops_its_share_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = Dropout(0.25).train(), torch.ones(1000, 333)
    dropped = layer(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.25, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1, abs=0.005)
    assert torch.equal(layer.eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_values_out_of_range_and_heads_that_do_not_divide_are_told():
    with pytest.raises(Exception, match="--pad_size -1 is out of range, expected at least 0"):
        model_module("TextCNN").Config(pad_size=-1)
    with pytest.raises(Exception, match="--long 'tail' is unknown, expected one of head, head_tail, windows"):
        model_module("TextCNN").Config(long="tail")
    with pytest.raises(Exception, match=r"--filter_sizes .* is out of range"):
        model_module("TextCNN").Config(filter_sizes=())
    with pytest.raises(Exception, match="--num_head 7 does not divide --dim_model 300"):
        build("Transformer", num_head=7)


def on_meta(name):
    """A network and a batch on the device `meta`, where nothing has a value; the code takes a GPU's paths there."""
    model = build(name).train().to("meta")
    with torch.device("meta"):
        ends = torch.zeros(8, 12, dtype=torch.bool)
        return model, Batch(*(torch.zeros(shape, dtype=torch.int64) for shape in ((8, 12), 8, 8)), word_ends=ends)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_on_another_device_never_waits_for_values(name):
    """An operator whose shape or path depends on a value raises."""
    model, batch = on_meta(name)
    logits = model(batch)
    Tally("meta", Loss()).add(logits, batch.labels).backward()
    tables = [module.weight for module in model.modules() if isinstance(module, Table)]
    for kind in (LazyAdam, RowAdagrad):
        kind(tables, lr=1.0).step()
    assert logits.shape == (8, CLASSES)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_model_has_at_most_so_many_weights():
    message = r"m\.ckpt describes a larger model than its weights are for, 1,000 at most"
    with pytest.raises(UserError, match=message), at_most(1000, "m.ckpt"):
        build("TextCNN")
    assert build("TextCNN") is not None
