"""Tiny real data, and the scripts run as a user runs them."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from cli import console

ROOT = Path(__file__).parent.parent
CLASSES = 3  # of the models on an encoder
FIXTURES = ROOT / "tests" / "fixtures"
SHARED = ROOT.parent / "shared" / "data" / "THUCNews"

pytest_plugins = ("compared", "exported", "loopback", "paged", "served")  # fixtures of several test files

hypothesis.settings.register_profile("any machine", deadline=None, derandomize=True)
hypothesis.settings.load_profile("any machine")

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before a test imports onnxruntime
os.environ["OMP_WAIT_POLICY"] = "passive"  # before torch is imported: threads that spin would take the other's core

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


def join_rows(split, count):
    """Rows of one to three headlines of the sample's first classes, with their labels; every ninth has none."""
    rows = sample_rows(split, {0, 1, 2, 9}, 4 * count)
    bare = [text for text, label in rows if label == 9]
    rows = [row for row in rows if row[1] != 9]
    joined = []
    for i in range(count):
        part = rows[i : i + 1 + i % 3]
        names = [("财经", "房产", "股票")[label] for label in sorted({label for _, label in part})]
        joined.append((" ".join(text for text, _ in part), ",".join(names)) if i % 9 else (bare[i // 9], ""))
    return joined


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """A dataset of any number of labels a row: 120 rows to train on, 40 to validate, 40 to test."""
    splits = [join_rows(*part) for part in (("train", 120), ("dev", 40), ("test", 40))]
    directory = write_dataset(tmp_path_factory.mktemp("several"), ["财经", "房产", "股票"], *splits)
    (directory / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    return directory


def batches_of(ids, lengths, labels=None, pad=0, end=None, limit=None, device="cpu", long="head", ends=None):
    """Batches of these ids as rows of these lengths; `limit` defaults to the longest; ends: of words, 0 and 1."""
    from engine.batches import Batches  # torch takes seconds to load, which not all tests need
    from text.rows import Rows, marked
    from text.truncation import Truncation
    from text.vocabulary import Vocabulary

    rows = Rows(ids if ends is None else marked(ids, ends), np.concatenate(([0], np.cumsum(lengths))))
    vocabulary = Vocabulary([chr(i) for i in range(max(ids, default=0) + 1)])
    vocabulary.pad, vocabulary.end, vocabulary.marks_words = pad, end, ends is not None
    truncation = Truncation(int(limit or max(lengths)), long, end is not None)
    return Batches(rows, labels, vocabulary, truncation, device)


def with_evidence(model, config, num_tokens, num_classes, several=False):
    """The model with the evidence of random rows, if its Config has any; the last of the tokens is padding.

    several: whether the rows have any number of labels.
    """
    if not config.evidence:
        return model
    from engine.counting import count
    from models.evidence import Evidence

    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 40, 60)
    ids = rng.integers(0, num_tokens - 1, lengths.sum()).astype(np.int32)
    labels, ends = rng.integers(0, num_classes, 60), rng.integers(0, 2, len(ids))
    labels = rng.integers(0, 2, (60, num_classes)) if several else labels
    batches = batches_of(ids, lengths, labels, pad=num_tokens - 1, ends=ends)
    return Evidence(model, config, count(batches, num_classes, config.evidence, words=config.words))


def assert_close(found, expected, tolerance):
    """Asserts that tensors differ by at most `tolerance`, or by that share of the largest value if that exceeds 1."""
    import torch

    scale = max(1.0, expected.abs().max().item())
    torch.testing.assert_close(found, expected, atol=tolerance * scale, rtol=0)


def in_other_forms(texts, aliases):
    """The texts in forms that training has not seen, with an invisible character after each one but the last."""
    forms = dict(zip(aliases.pairs[1::2], aliases.pairs[::2], strict=True)) | {"\0": "\0"}
    return ["\u200b".join(text.translate(str.maketrans(forms))) for text in texts]


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


def build_encoder(name, directory, loaded=True, **settings):
    """A model on an encoder, for `CLASSES` classes, with the encoder's weights or random ones."""
    import torch

    from models import model_module
    from models.base import DataSpec
    from models.encoder_files import read_config

    torch.manual_seed(0)
    module, found = model_module(name), read_config(directory)
    model = module.Model(module.Config(**settings), DataSpec(CLASSES, found["vocab_size"], found))
    if loaded:
        model.embedding.load(directory)
    return model.eval()


@pytest.fixture(scope="session")
def trained_svm(tmp_path_factory):
    """Three classes of the sample with an SVM's checkpoint."""
    splits = [sample_rows(split, {0, 1, 2}, count) for split, count in (("train", 400), ("dev", 75), ("test", 75))]
    dataset = write_dataset(tmp_path_factory.mktemp("svm"), ["财经", "房产", "股票"], *splits)
    inside("run.py", "--model", "SVM", "--dataset", dataset, "--device", "cpu")
    return dataset


TREE = ["商业/财经", "商业/房产", "商业/股票", "教育"]


@pytest.fixture(scope="session")
def trained_tree(tmp_path_factory):
    """Four classes of the sample whose names are paths with an SVM's checkpoint, and what its training printed."""
    splits = [sample_rows(split, {0, 1, 2, 3}, count) for split, count in (("train", 400), ("dev", 90), ("test", 90))]
    dataset = write_dataset(tmp_path_factory.mktemp("tree"), TREE, *splits)
    return dataset, inside("run.py", "--model", "SVM", "--dataset", dataset, "--device", "cpu")


@pytest.fixture(scope="session")
def several_svm(several, tmp_path_factory):
    """The output directory of an SVM that is trained on `several`."""
    output = tmp_path_factory.mktemp("several_svm")
    inside("run.py", "--model", "SVM", "--dataset", several, "--output", output, "--device", "cpu")
    return output


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


def compare_here(*arguments):
    """Calls `compare.main` with its trainings in this process too, which saves the seconds that each takes to load."""
    import compare  # torch takes seconds to load, which not all tests need
    from evaluation import job, timing

    def call(command, log, what):
        with open(log, "a", encoding="utf-8") as file, contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            patch.setattr(timing, "SECONDS", 0.01)
            name, *rest = command[1:] if command[0] == "-m" else command
            here(patch, importlib.import_module(name.removesuffix(".py")).main, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "call", call)
        here(patch, compare.main, *arguments)


def asked_in_a_terminal(text, *flags, **environment):
    """What `predict.py` shows in a terminal in which a person types a text and then an empty line, as bytes."""
    import pty  # not on Windows

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.environ.update(environment)
        os.execv(sys.executable, [sys.executable, "predict.py", *map(str, flags), "--device", "cpu"])
    shown = b""
    while b"> " not in shown:
        shown += os.read(terminal, 1024)
    os.write(terminal, f"{text}\n".encode())
    while shown.count(b"> ") < 2:
        shown += os.read(terminal, 1024)
    os.write(terminal, b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return shown


def command(name, *args):
    """A script's command, or with `-m` a module's."""
    return [sys.executable, name if name == "-m" else str(ROOT / name), *map(str, args)]


ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # figures are compared bit for bit, on the CPU
