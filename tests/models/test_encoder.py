"""Encoders: each form in which people have them loads, each head works on each kind, what is wrong is told."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

from cli.console import UserError
from conftest import CLASSES, assert_close, batches_of, build_encoder, pieces, write_encoder
from engine.batches import Batch
from models import ENCODERS, model_module
from models.encoder import fit_to_encoder
from models.encoder_files import read_config

MODEL_TYPES = ("Bert", "Ernie", "Electra", "Albert")


@pytest.fixture(scope="session")
def kinds(tmp_path_factory):
    """The directory of a tiny encoder of each kind."""
    directories = {kind: tmp_path_factory.mktemp(kind) for kind in MODEL_TYPES}
    for kind, directory in directories.items():
        write_encoder(directory, kind, **({"embedding_size": 16} if kind in ("Electra", "Albert") else {}))
    return directories


def batch_of(lengths, pad_to=0):
    rng = np.random.default_rng(0)
    ids = rng.integers(5, len(pieces()), sum(lengths)).astype(np.int32)
    batch = batches_of(ids, lengths, rng.integers(0, CLASSES, len(lengths))).cut(np.arange(len(lengths)))
    return batch._replace(tokens=nn.functional.pad(batch.tokens, (0, max(0, pad_to - batch.tokens.shape[1]))))


@torch.no_grad()
def test_bert_gives_the_logits_of_transformers(encoder):
    model = build_encoder("bert", encoder)
    theirs = transformers.BertForSequenceClassification.from_pretrained(encoder, num_labels=CLASSES).eval()
    theirs.classifier.load_state_dict(model.classifier.state_dict())
    batch = batch_of([9, 30, 2, 17], pad_to=40)
    expected = theirs(batch.tokens, attention_mask=batch.mask.long()).logits
    assert_close(model(batch), expected, 1e-6)


def old_names(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def bare(name):
    return name.removeprefix("bert.")


@pytest.mark.parametrize("kind", MODEL_TYPES)
@pytest.mark.parametrize(
    ("file", "settings", "rename"),
    [
        ("pytorch_model.bin", "bert_config.json", old_names),
        ("pytorch_model.bin", "config.json", lambda name: old_names(bare(name))),
        ("pytorch_model.bin", "bert_config.json", bare),
        ("model.safetensors", "bert_config.json", old_names),
        ("model.safetensors", "config.json", bare),
        ("pytorch_model.bin", "config.json", lambda name: f"module.{name}"),
    ],
)
def test_each_form_of_the_files_loads_the_same_weights(kinds, tmp_path, kind, file, settings, rename):
    """With heads of pre-training, in half precision or not; ERNIE's and others' weights under bert's name too."""
    directory, own = kinds[kind], kind.lower()
    weights = load_file(directory / "model.safetensors")
    renamed = {rename(name.replace(f"{own}.", "bert.", 1)): weight.clone() for name, weight in weights.items()}
    (save_file if file.endswith("safetensors") else torch.save)(renamed, tmp_path / file)
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if settings == "bert_config.json":
        del config["model_type"]
    (tmp_path / settings).write_text(json.dumps(config), encoding="utf-8")
    assert read_config(tmp_path)["model_type"] == own
    expected = build_encoder("bert", directory).embedding.body.state_dict()
    loaded = build_encoder("bert", tmp_path).embedding.body.state_dict()
    assert loaded.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(loaded[name], weight), name
        assert torch.equal(weight, weights[f"{own}.{name}"]), name


def test_weights_in_several_files_and_in_half_precision(kinds, tmp_path):
    model = transformers.BertModel.from_pretrained(kinds["Bert"])
    model.half().save_pretrained(tmp_path, max_shard_size="40KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    loaded = build_encoder("bert", tmp_path).embedding.body.state_dict()
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded[name], weight.float()), name


@pytest.mark.parametrize("kind", MODEL_TYPES)
@pytest.mark.parametrize("name", ENCODERS)
def test_each_head_on_each_kind(kinds, kind, name):
    """Padding changes nothing, and every weight learns."""
    model = build_encoder(name, kinds[kind], **({"rnn_hidden": 8} if "RCNN" in name else {}))
    batch = batch_of([30, 11, 5, 2])
    with torch.no_grad():
        together = model(batch)
        assert_close(model(batch_of([30, 11, 5, 2], pad_to=60)), together, 1e-5)
        for i, length in enumerate(batch.lengths):
            alone = Batch(batch.tokens[i : i + 1, :length], batch.lengths[i : i + 1], batch.labels[i : i + 1])
            assert_close(model(alone), together[i : i + 1], 1e-5)
    nn.functional.cross_entropy(model.train()(batch), batch.labels).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize(("name", "tokens"), [("bert", 1), ("bert_LayerAtt", 1), ("bert_CNN", 12)])
def test_the_last_layer_computes_the_tokens_that_are_used(encoder, name, tokens):
    model = build_encoder(name, encoder)
    found = []
    for layer in model.embedding.body.encoder.layer[-2:]:
        layer.intermediate.register_forward_hook(lambda _, inputs, output: found.append(output.shape[1]))
    model(batch_of([12, 7]))
    assert found == [12, tokens]


def test_widths_follow_the_encoder(kinds):
    assert build_encoder("bert_RNN", kinds["Bert"]).lstm.forwards[1].hidden_size == 32
    assert build_encoder("bert_LayerAtt", kinds["Bert"]).scores.shape == (4,)
    assert build_encoder("bert_RCNN", kinds["Bert"]).classifier.in_features == 2 * 256 + 32


@torch.no_grad()
def test_the_classifier_on_layers_weighs_all_of_them(kinds):
    model = build_encoder("bert_LayerAtt", kinds["Bert"])
    batch = batch_of([7, 4])
    mask = batch.mask[:, None, None]
    layers = model.embedding.body(batch.tokens, attention_mask=mask, output_hidden_states=True).hidden_states
    for i, states in enumerate(layers):
        model.scores.fill_(-1e9)[i] = 0
        torch.testing.assert_close(model(batch), model.classifier(states[:, 0]))


def test_an_encoder_without_a_pooler(kinds, tmp_path, capsys):
    transformers.BertForMaskedLM.from_pretrained(kinds["Bert"]).save_pretrained(tmp_path)
    build_encoder("bert_CNN", tmp_path)
    assert "pooler" not in capsys.readouterr().err
    for directory in (tmp_path, kinds["Electra"]):
        model = build_encoder("bert", directory)
        assert " has no pooler" in capsys.readouterr().err
        assert model(batch_of([4])).shape == (1, CLASSES)


@pytest.fixture
def copy(kinds, tmp_path):
    return shutil.copytree(kinds["Bert"], tmp_path / "copy")


def edit(directory, **changes):
    path = directory / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps({k: v for k, v in settings.items() if v is not None}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, "config.json does not have hidden_size, or not in range; expected the file that came"),
        ({"model_type": "gpt2"}, "an encoder of type 'gpt2'; expected one of bert, ernie, electra, albert"),
        ({"num_hidden_layers": 2}, r"has weights that the config.json beside it does not describe: .*encoder.layer.2"),
        ({"num_hidden_layers": 5}, r"model.safetensors lacks 32 weights of the encoder: encoder.layer.3.*and 22 more"),
        ({"hidden_act": "none"}, "transformers refuses the encoder's config.json: .*none"),
        ({"num_attention_heads": 5}, "transformers refuses the encoder's config.json: .*hidden size"),
        ({"hidden_size": 64}, r"does not fit the config.json beside it: .*\(32,\), expected \(64,\)"),
        ({"vocab_size": 5000}, r"word_embeddings.weight \(\d+, 32\), expected \(5000, 32\)"),
    ],
)
def test_settings_that_do_not_fit(copy, changes, message):
    edit(copy, **changes)
    with pytest.raises(UserError, match=message):
        build_encoder("bert", copy)


def test_settings_that_change_nothing(copy, kinds):
    edit(copy, return_dict=False, use_return_dict=False, output_hidden_states=True)
    path = copy / "config.json"
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    found, expected = (build_encoder("bert", path)(batch_of([4])) for path in (copy, kinds["Bert"]))
    torch.testing.assert_close(found, expected)


def test_an_ernie_without_its_tasks_is_refused(tmp_path):
    write_encoder(tmp_path, "Ernie", use_task_id=True)
    build_encoder("bert", tmp_path)
    edit(tmp_path, use_task_id=False)
    with pytest.raises(UserError, match=r"config.json beside it does not describe: .*task_type_embeddings"):
        build_encoder("bert", tmp_path)


def test_settings_as_paddle_writes_them(copy):
    edit(copy, intermediate_size=None, model_type=None)
    assert read_config(copy)["intermediate_size"] == 128


def test_weights_of_something_else_are_listed(copy):
    save_file({"gpt.weight": torch.zeros(2)}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"lacks \d+ weights of the encoder: embeddings.*; it has gpt.weight"):
        build_encoder("bert", copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file(copy, name):
    (copy / name).rename(copy / f"{name}.1")
    with pytest.raises(UserError, match=rf"copy has no {name} .*it contains: .*{name}.1.*python download.py bert"):
        build_encoder("bert", copy)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_damaged_file(copy, name):
    (copy / name).write_bytes((copy / name).read_bytes()[:50])
    with pytest.raises(UserError, match=rf"{name}(: not JSON| cannot be read)"):
        build_encoder("bert", copy)


class Bomb:
    def __reduce__(self):
        return print, ("boom",)


def test_a_hostile_file_runs_nothing(copy, capsys):
    (copy / "model.safetensors").unlink()
    torch.save({"bert.x": Bomb()}, copy / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin cannot be read .it holds something else than weights"):
        build_encoder("bert", copy)
    assert "boom" not in capsys.readouterr().out


def test_more_tokens_than_positions(kinds):
    with pytest.raises(UserError, match="--pad_size 65 is more than the 64 positions that the encoder has"):
        build_encoder("bert", kinds["Bert"], pad_size=65)


@pytest.mark.parametrize(("given", "width", "rate"), [(0.0, 768, 5e-5), (0.0, 256, 1.5e-4), (1e-3, 256, 1e-3)])
def test_the_learning_rate_follows_the_width(given, width, rate, capsys):
    config = fit_to_encoder(model_module("bert").Config(learning_rate=given), {"hidden_size": width})
    assert config.learning_rate == rate
    assert ("Learning rate:" in capsys.readouterr().err) == (not given)


@pytest.mark.parametrize("pad_size", [1, 2])
def test_rows_hold_more_than_their_marks(pad_size):
    with pytest.raises(UserError, match=f"--pad_size {pad_size} is out of range, expected at least 3, or 0"):
        model_module("bert").Config(pad_size=pad_size)
