import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from conftest import batches_of, inside, pieces, write_dataset
from engine import batches, long_rows
from engine.device import Compute
from engine.long_rows import measure, report_cost
from engine.masking import MaskedBatches
from models.base import DataSpec
from models.encoder_files import read_config
from models.mlm import Config, Model
from text.corpus import RowSpans
from text.rows import spans_of
from text.wordpiece_files import read_wordpieces

SIZES = ("--num_epochs", 1, "--embed", 8, "--evidence", 0, "--device", "cpu", "--dropout", 0)
SMALL = {
    "TextCNN": (*SIZES, "--num_filters", 4, "--embed_dropout", 0),
    "TextRNN": (*SIZES, "--hidden_size", 4, "--embed_dropout", 0),
    "FastText": (*SIZES, "--hidden_size", 8, "--n_gram_vocab", 1000),
}
LINE = r"Long rows: up to 5,000 tokens are read of a row. An epoch takes about [\d:]+, a step up to [\d.]+ GB of memory"


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """A dataset of 24 rows of up to 5,000 characters."""
    rng, rows = np.random.default_rng(1), []
    for i in range(24):
        text = "".join(map(chr, 0x4E00 + 50 * (i % 2) + rng.integers(60, size=5000 if i < 12 else 20 + 100 * i)))
        rows.append((text, i % 2))
    return write_dataset(tmp_path_factory.mktemp("long"), ["甲", "乙"], rows)


def iterations(done):
    """The lines of a run's validations, without the time."""
    return re.findall(r"Iter: .*?(?=  Time)", done.stdout)


@pytest.mark.parametrize("model", SMALL)
def test_parts_of_few_tokens_train_as_the_whole_batch(long, tmp_path, monkeypatch, model):
    flags = ("--model", model, "--dataset", long, "--output", tmp_path, "--pad_size", 100, *SMALL[model])
    whole = inside("run.py", *flags)
    monkeypatch.setattr(batches, "PART_TOKENS", 300)
    parts = inside("run.py", *flags)
    assert iterations(parts) == iterations(whole) != []


def test_the_cost_of_pre_training_is_measured_on_the_masked_tokens_that_are_left(encoder):
    """Their positions beyond are left out."""
    vocabulary, config = read_wordpieces(encoder, len(pieces())), Config(pad_size=64)
    rows, _ = vocabulary.encode_split(spans_of(["央行下调存款准备金率" * 6]), 64, True)
    spans = RowSpans(rows, np.array([0]), np.array([1]))
    run = SimpleNamespace(
        model=Model(config, DataSpec(0, len(pieces()), read_config(encoder))), compute=Compute(torch.device("cpu"))
    )
    _, kept = measure(run, MaskedBatches(spans, vocabulary, config, 1, "cpu").cut(np.array([0])), 16)
    assert kept > 0


def test_parts_are_bounded_in_tokens(monkeypatch):
    lengths = np.sort(np.random.default_rng(0).integers(1, 300, 128))
    found = batches_of(np.zeros(lengths.sum(), np.int32), lengths, np.zeros(128, np.int64))
    assert len(found.parts(np.arange(128), 1)) == 1
    monkeypatch.setattr(batches, "PART_TOKENS", 1000)
    parts = found.parts(np.arange(128), 1)
    assert len(parts) == 43
    assert max(part.tokens.numel() for part in parts) <= 1000
    assert sum(len(part.labels) for part in parts) == 128
    assert len(found.parts(np.arange(128), 64)) == 64
    monkeypatch.setattr(batches, "PART_TOKENS", 5)
    assert len(found.parts(np.arange(128), 1)) == 128


def test_a_line_says_what_long_rows_cost_and_nothing_else_changes(long, tmp_path, monkeypatch):
    flags = ("--dataset", long, "--output", tmp_path, "--pad_size", 5000, *SMALL["TextCNN"], "--dropout", 0.5)
    estimated = inside("run.py", *flags)
    assert re.search(LINE + "; a lower --pad_size takes less", estimated.stderr)
    monkeypatch.setattr(long_rows, "LONG", 5000)
    other = inside("run.py", *flags)
    assert "Long rows" not in other.stderr
    assert iterations(other) == iterations(estimated) != []


def test_rows_that_need_more_memory_than_is_free_are_refused(long, tmp_path, monkeypatch):
    monkeypatch.setattr(long_rows, "free_memory", lambda device: 1 << 20)
    flags = ("--dataset", long, "--output", tmp_path, "--pad_size", 5000, *SMALL["TextCNN"])
    done = inside("run.py", *flags, check=False)
    assert done.returncode == 2
    assert re.search(
        r"run.py: --pad_size 5000: a training step on rows of 5,000 tokens takes about \d+ GB", done.stderr
    )
    assert done.stderr.endswith("GB are free; lower --pad_size\n")


@pytest.mark.parametrize(("kind", "expected"), [("linear", "0:00:30"), ("attention", "0:05:15")])
def test_the_time_of_an_epoch(monkeypatch, capsys, kind, expected):
    """A row of 10,240 tokens takes 3 s, or 0.5 + 31 s with attention."""
    times = {"linear": lambda x: 0.3 * x, "attention": lambda x: 0.05 * x + 0.31 * x**2}
    monkeypatch.setattr(long_rows, "measure", lambda run, batch, T: (times[kind](T / 1024), 1000 * T))
    lengths = [10240] * 10
    train = batches_of(np.zeros(sum(lengths), np.int32), lengths, np.zeros(10, np.int64))
    config = SimpleNamespace(batch_size=4, attention=kind == "attention")
    report_cost(SimpleNamespace(train=train, compute=Compute(torch.device("cpu")), config=config))
    assert f"An epoch takes about {expected}, a step up to 0.1 GB" in capsys.readouterr().err


def test_short_rows_are_not_measured(monkeypatch):
    monkeypatch.setattr(long_rows, "measure", None)
    train = batches_of(np.zeros(20, np.int32), [5] * 4, np.zeros(4, np.int64))
    report_cost(SimpleNamespace(train=train, compute=Compute(torch.device("cpu"))))


def test_what_is_kept_for_the_backward_pass_is_counted():
    train = batches_of(np.zeros(64, np.int32), [64], np.zeros(1, np.int64), limit=64)
    model = torch.nn.Embedding(10, 4)
    wrapped = type("Net", (torch.nn.Module,), {"forward": lambda self, batch: model(batch.tokens).exp().sum(dim=1)})()
    run = SimpleNamespace(model=wrapped, compute=Compute(torch.device("cpu")))
    (_, short), (_, long) = (long_rows.measure(run, train.cut(np.array([0])), tokens) for tokens in (16, 64))
    assert long - short == 48 * 4 * 4  # the results of exp
