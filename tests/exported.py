"""Tiny models of all kinds with their graphs, for the tests of `exporting`."""

import contextlib
import functools
import io
import warnings

import numpy as np
import pytest

from conftest import batches_of, with_evidence, write_encoder

TOKENS, CLASSES, LONGEST = 500, 3, 64
NARROW = {"embed": 24, "hidden_size": 24}
ENCODER = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 80, "vocab_size": TOKENS}
CASES = {  # of a model: its settings, and the type of its encoder with that encoder's settings
    "TextCNN": ({"evidence": 0, "bigram_vocab": 1009, "long": "head_tail", "num_filters": 48},),
    "TextRNN": (NARROW | {"num_layers": 3},),
    "TextRNN_Att": (NARROW | {"bigram_vocab": 1009},),
    "TextRCNN": ({"word_n_grams": 0, "num_layers": 1},),
    "FastText": ({"n_gram_vocab": 1009, "long": "head_tail", "hidden_size": 0},),
    "DPCNN": ({"pad_size": LONGEST, "num_filters": 48},),
    "Transformer": ({"dim_model": 100, "num_encoder": 3},),
    "SVM": ({},),
    "NBSVM": ({},),
    "bert": ({}, "Bert", {}),
    "ERNIE": ({"evidence": 0}, "Ernie", {}),
    "bert_CNN": ({"evidence": 0, "num_filters": 24}, "Albert", {"embedding_size": 8}),
    "bert_RNN": ({}, "Electra", {"embedding_size": 8}),
    "bert_RCNN": ({"evidence": 0, "rnn_hidden": 16}, "Electra", {"embedding_size": 16}),
    "bert_DPCNN": ({"pad_size": 3, "num_filters": 16}, "Bert", {}),
    "bert_LayerAtt": ({"evidence": 0}, "Albert", {"embedding_size": 8}),
}


@pytest.fixture(params=CASES)
def exported(request, tmp_path_factory):
    """A Classifier with random weights, and its graph. One thread computes, since several would wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield export(request.param, tmp_path_factory.getbasetemp())
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """A checkpoint's path and its export's, for one label a text, any number of labels, and a hierarchy."""
    from saved_models import exported, saved_model

    found = {}
    for kind in ("one", "multi_label", "hierarchical"):
        directory = tmp_path_factory.mktemp(kind)
        predictor = saved_model("SVM", directory, **({} if kind == "one" else {kind: True}))
        found[kind] = predictor.path, exported(predictor, directory / "onnx").path
    return found


@functools.cache
def export(name, directory):
    from exporting.graph import graph_of  # torch takes seconds to load, which not all tests need

    classifier = build(name, directory / f"encoder_of_{name}")
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out), warnings.catch_warnings():
        warnings.simplefilter("error")
        graph = graph_of(classifier)
    assert out.getvalue() == ""
    return classifier, graph


def build(name, directory):
    """A Classifier of `CASES`. The rows with evidence of every second one have any number of labels."""
    import torch

    from engine.checkpoint import Classifier
    from models import LINEAR, model_module
    from models.base import DataSpec
    from models.encoder_files import read_config
    from models.tables import Table, keys_of

    settings, *kind = CASES[name]
    if kind:
        write_encoder(directory, kind[0], "Model", **ENCODER | kind[1])
    encoder = read_config(directory) if kind else None
    config = model_module(name).Config(**{} if name in LINEAR else {"smoothing": 0.1}, **settings)
    torch.manual_seed(0)
    model = model_module(name).Model(config, DataSpec(CLASSES, TOKENS, encoder))
    if name in LINEAR:
        model.build(np.unique(keys_of(batch_of([LONGEST] * 20).tokens, config.n_grams)))
    for module in model.modules():  # biases, and all tables, would start at zero
        if isinstance(module, Table):
            module.weight.data[: module.padding_idx : 3].normal_()
    model = with_evidence(model, config, TOKENS, CLASSES, several=len(name) % 2)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    classes = [f"class {i}" for i in range(CLASSES)]
    return Classifier(name, config, classes, None, encoder, model.requires_grad_(False).eval())


def batch_of(lengths, config=None, pad_to=0):
    """Random rows of these lengths, with joints if the Config reads tails; `pad_to` adds padding."""
    import torch

    rng = np.random.default_rng(0)
    ids = rng.integers(0, TOKENS - 1, sum(lengths)).astype(np.int32)
    ends = rng.integers(0, 2, len(ids))
    batch = batches_of(ids, lengths, None, pad=TOKENS - 1, ends=ends).cut(np.arange(len(lengths)))
    padding = (0, max(0, pad_to - batch.tokens.shape[1]))
    tokens = torch.nn.functional.pad(batch.tokens, padding, value=TOKENS - 1)
    word_ends = torch.nn.functional.pad(batch.word_ends, padding)
    joints = batch.lengths // 2 if config and config.long == "head_tail" else None
    return batch._replace(tokens=tokens, word_ends=word_ends, joints=joints)


def run(classifier, graph, batch):
    """The logits of a graph for a Batch, (B, C)."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # others would wait by spinning
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    names = {each.name for each in session.get_inputs()}
    with torch.no_grad():
        if "ids" in names:
            inputs = dict(zip(("ids", "values"), classifier.model.features(batch), strict=True))
        else:
            evidence = evidence_of(classifier.model, batch) if "evidence" in names else None
            inputs = {name: each for name, each in batch._replace(evidence=evidence)._asdict().items() if name in names}
    assert inputs.keys() == names
    (logits,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})
    return torch.from_numpy(logits)


def evidence_of(model, batch):
    """The ratios times their factors, (B, T, N * C)."""
    import torch

    ratios, levels = model.ratios(model.count(batch))
    factors = model.roots.square()[torch.arange(len(model.roots)), levels]
    return (ratios * factors[..., None]).flatten(2)
