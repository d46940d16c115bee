"""Tiny real data, and the scripts run as a user runs them."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cli import console

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
SHARED = ROOT.parent / "shared" / "data" / "THUCNews"

# of tests in the background the shell has Ctrl-C ignored, and then the scripts that they start would ignore it too
signal.signal(signal.SIGINT, signal.default_int_handler)


def write_dataset(directory, classes, train, dev=None, test=None):
    """A dataset of (text, label) pairs, or of a file's whole content; dev and test default to train."""
    data = Path(directory) / "data"
    data.mkdir(parents=True)
    (data / "class.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")
    for name, rows in (
        ("train", train),
        ("dev", train if dev is None else dev),
        ("test", train if test is None else test),
    ):
        content = rows if isinstance(rows, str | bytes) else "".join(f"{text}\t{label}\n" for text, label in rows)
        (data / f"{name}.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(directory)


def sample_rows(split, labels, count):
    """The first rows of the bundled sample's split that have one of these labels."""
    lines = (ROOT / "sample" / "data" / f"{split}.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return [(text, int(label)) for text, label in rows if int(label) in labels][:count]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Three classes of the sample with Chinese names: 90 rows to train on, 30 to validate, 30 to test."""
    splits = [
        sample_rows(*part) for part in (("train", {0, 1, 2}, 90), ("dev", {0, 1, 2}, 30), ("test", {0, 1, 2}, 30))
    ]
    return write_dataset(tmp_path_factory.mktemp("tiny"), ["财经", "房产", "股票"], *splits)


def batches_of(ids, lengths, labels=None, pad=0, end=None, limit=None, device="cpu"):
    """Batches of these ids as rows of these lengths; `limit` defaults to the longest."""
    from engine.batches import Batches  # torch takes seconds to load, which not all tests need
    from text.rows import Rows
    from text.vocabulary import Vocabulary

    rows = Rows(ids, np.concatenate(([0], np.cumsum(lengths))))
    vocabulary = Vocabulary([chr(i) for i in range(max(ids, default=0) + 1)])
    vocabulary.pad, vocabulary.end = pad, end
    return Batches(rows, labels, vocabulary, limit or max(lengths), device)


def with_evidence(model, config, num_tokens, num_classes):
    """The model with the evidence of random rows, if its Config has any; the last of the tokens is padding."""
    if not config.evidence:
        return model
    from engine.counting import count
    from models.evidence import Evidence

    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 40, 60)
    ids = rng.integers(0, num_tokens - 1, lengths.sum()).astype(np.int32)
    batches = batches_of(ids, lengths, rng.integers(0, num_classes, 60), pad=num_tokens - 1)
    return Evidence(model, config, count(batches, num_classes, config.evidence))


def assert_close(found, expected, tolerance):
    """Asserts that tensors differ by at most `tolerance`, or by that share of the largest value if that exceeds 1."""
    import torch

    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, atol=tolerance * scale, rtol=0)


def pieces():
    """A vocabulary of BERT's kind: the characters of the bundled sample, some Latin pieces, the special ones."""
    text = "".join((ROOT / "sample" / "data" / f"{name}.txt").read_text(encoding="utf-8") for name in ("train", "dev"))
    letters = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(set(text.lower()) - set(" \t\n")), *letters]


def write_encoder(directory, kind="Bert", head="ForPreTraining", **settings):
    """The directory of a tiny encoder with random weights, as `transformers` writes it; returns its model."""
    import torch
    import transformers

    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    sizes |= {"vocab_size": len(pieces()), "max_position_embeddings": 64} | settings
    config = getattr(transformers, f"{kind}Config")(**sizes)
    torch.manual_seed(5)
    model = getattr(transformers, f"{kind}{head}")(config).eval()
    for parameter in model.parameters():  # all biases start at zero, which would hide that one is not loaded
        if parameter.dim() == 1:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(directory)
    (Path(directory) / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces()), encoding="utf-8")
    return model


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    """The directory of a tiny BERT."""
    directory = tmp_path_factory.mktemp("encoder")
    write_encoder(directory)
    return directory


def script(*args, stdin="", cwd=ROOT, check=True):
    """Runs a script; `check` asserts that it succeeds. Standard input is a pipe."""
    done = subprocess.run(command(*args), input=stdin, cwd=cwd, capture_output=True, encoding="utf-8", env=ENVIRONMENT)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def here(monkeypatch, main, *args):
    """Calls a script's `main` in this process, which saves the seconds that torch takes to load."""
    monkeypatch.setattr(sys, "argv", ["script", *map(str, args)])
    main()


def assert_mistaken(monkeypatch, capsys, main, arguments, message):
    """Asserts that a script's `main` ends with exit status 2 and this message of its parser."""
    with pytest.raises(SystemExit) as stop:
        here(monkeypatch, main, *arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def inside(name, *args, check=True):
    """What `script` does, but in this process, which saves the seconds that torch takes to load."""
    streams = io.StringIO(), io.StringIO()
    status = 0
    redirected = contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1])
    with redirected[0], redirected[1], pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *map(str, args)])
        try:
            importlib.import_module(name.removesuffix(".py")).main()
        except console.UserError as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 2
        except SystemExit as stop:
            status = stop.code or 0
    done = subprocess.CompletedProcess(args, status, *(stream.getvalue() for stream in streams))
    assert not check or status == 0, done.stderr
    return done


def command(name, *args):
    """A script's command, or with `-m` a module's."""
    return [sys.executable, name if name == "-m" else str(ROOT / name), *map(str, args)]


ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # figures are compared bit for bit, on the CPU
