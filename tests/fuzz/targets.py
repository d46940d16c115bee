"""All that the fuzzer calls in the project. If a name in the project changes, change this file.

A target takes an input's directory and its options, as a script takes the file that a user names. It returns nothing,
or what must be the same for a damaged file as for the file before the damage.
"""

import contextlib
import functools
import json
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import predict
import prepare
import pretrain_mlm
import pretrain_run
import run
from cli.console import UserError
from cli.files import ROOT
from engine import checkpoint, resume
from engine.batches import infer
from engine.explanation import Explanation
from engine.novelty import Novelty
from engine.predictions import Lines, MultiLabelLines
from engine.predictor import Predict
from engine.thresholds import describe_label_thresholds, describe_threshold
from text import vectors
from text.labelled import read_split
from text.vocabulary import Vocabulary
from text.wordpiece_files import read_vocab_file, write_wordpieces

FIXTURES = ROOT / "tests" / "fixtures"
COMMON = ("--device", "cpu", "--amp", "off")
EPOCHS = ("--num_epochs", 4, "--max_vocab", 60)
NETWORK = ("--model", "TextCNN", "--embed", 8, "--num_filters", 4, "--bigram_vocab", 50, *COMMON)
TRAINING = {  # the flags of the runs that left the fixtures
    "TextCNN": ("--embed", 8, "--num_filters", 4, "--bigram_vocab", 50),
    "FastText": ("--embed", 4, "--hidden_size", 4, "--n_gram_vocab", 50, "--batch_size", 32),
}
TEXTS = ["沪铜围绕6万关口争夺", "婚前买房加名字 房产证上的爱情与算计", "北欧央行意外加息", "", "x", "地量之后见地价？"]


class Stopped(Exception):
    """Ends a script at the point from which it reads no file any more."""


class NotFinite(Exception):
    """A file was accepted whose predictions are no numbers."""


class Unreadable(Exception):
    """prepare.py has written a dataset that the training does not accept, or that has too many rows."""


def call(main, *args):
    """Calls a script's `main` with these arguments."""
    with mock.patch.object(sys, "argv", ["fuzz", *map(str, args)]):
        main()


def call_until(module, name, main, *args, last=None):
    """Calls a script's `main` until it calls the function `name` of the module; `last` is called instead of it."""

    def stop(*values):
        if last:
            last(*values)
        raise Stopped

    with mock.patch.object(module, name, stop), contextlib.suppress(Stopped):
        call(main, *args)


@torch.no_grad()
def first_batch(run, dataset, *_):
    """Computes a batch of the validation data."""
    next(infer(run.model.eval(), run.dev))


def train_network(directory, base, options):
    flags = (*NETWORK, "--dataset", directory, *options["flags"])
    call_until(run, "train_and_test", run.main, *flags, "--embedding", "random", last=first_batch)


def load_vectors(directory, base, options):
    vocabulary = Vocabulary(sorted(set("".join(TEXTS))))
    found = vectors.load(directory / "embedding_x.npz", vocabulary, 1)
    if found.shape[0] != len(vocabulary) or not np.isfinite(found).all():
        raise NotFinite(f"vectors of shape {found.shape}")


def extract_vectors(directory, base, options):
    vocabulary = Vocabulary(sorted(set("".join(TEXTS))))
    vectors.extract(directory / options["name"], vocabulary, directory / "embedding_x.npz")
    load_vectors(directory, base, options)


def predict_texts(directory, base, options):
    """Classifies the texts of a file as predict.py does."""
    column = ("--text", options["column"]) if "column" in options else ()
    network = ("--checkpoint", base / "checkpoints" / "TextCNN.ckpt", *COMMON)
    name = "out.jsonl" if "jsonl" in options["name"] else "out.tsv"
    call(predict.main, *network, "--input", directory / options["name"], *column, "--output", directory / name)


def prepare_rows(directory, base, options):
    """Makes a dataset of a file as prepare.py does, and reads it."""
    named = (("text", "column"), ("sheet", "sheet"), ("encoding", "encoding"))
    flags = [item for flag, key in named if options.get(key) is not None for item in (f"--{flag}", options[key])]
    call(prepare.main, directory / options["name"], *flags, "--output", directory / "out", "--no_check")
    try:
        texts = [set(read_split(directory / "out", name)[0]) for name in prepare.SPLITS]
    except UserError as error:
        raise Unreadable(error) from error
    if len(set.union(*texts)) < sum(map(len, texts)):
        raise Unreadable("a text in two splits")


def check_dataset(directory, base, options):
    """Checks a dataset as prepare.py does, and reads the report and the cleaned copy."""
    with contextlib.suppress(SystemExit):  # the exit status of leaks
        call(prepare.main, "--check", directory / "dataset", "--fix", "suspects")
    report = json.loads((directory / "dataset" / "log" / "check" / "check.json").read_text(encoding="utf-8"))
    copy = directory / "dataset_fixed"
    if not copy.exists():
        return
    try:
        sizes = {name: len(read_split(copy, name)[0]) for name in prepare.SPLITS}
    except UserError as error:
        raise Unreadable(error) from error
    if any(sizes[name] > report["rows"][name] for name in sizes):
        raise Unreadable("a cleaned copy with more rows")


def predict_with(directory, base, options):
    """Classifies texts with a checkpoint. Returns the classes and the probabilities."""
    return classify(directory / "model.ckpt")


def classify(path):
    predictor = Predict(checkpoint=path, device="cpu", amp="off")
    probabilities = predictor.predict_proba(TEXTS)
    explanation = Explanation(predictor)
    columns = {"novelty": Novelty(predictor), "spans": explanation.spans}
    calibration, tree = predictor.saved.calibration, predictor.hierarchy
    classes, sure = tree.classes, functools.partial(tree.answer, threshold=0.5)
    for format, show in (("tsv", explanation.colours), ("jsonl", None), ("html", explanation.marks)):
        if predictor.saved.multi_label:
            lines = MultiLabelLines(format, classes, None, 0.5, calibration.predicted, columns, show)
        else:
            lines = Lines(format, tree.names, 2 if len(classes) > 1 else None, sure, columns, show)
        lines(TEXTS, probabilities).encode("utf-8", "backslashreplace")
    (describe_label_thresholds if predictor.saved.multi_label else describe_threshold)(calibration, 0.5, classes)
    predictor.predict_list(TEXTS)
    if not np.isfinite(probabilities).all():
        raise NotFinite("probabilities")
    return predictor.classes, probabilities


def resume_training(directory, base, options):
    """Continues an interrupted training to its end. Returns what the checkpoint predicts then."""
    model = options["model"]
    flags = ("--model", model, "--dataset", base / "dataset", "--output", directory, *COMMON)
    call(run.main, *flags, *EPOCHS, *TRAINING[model], "--resume")
    return classify(directory / "saved_dict" / f"{model}.ckpt")


@functools.cache
def undamaged(target, base, source, model):
    """What a target returns for an undamaged file."""
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        if model:
            (folder / "saved_dict").mkdir()
            shutil.copyfile(source, folder / "saved_dict" / f"{model}.resume")
            shutil.copyfile(base / "checkpoints" / f"{Path(source).stem}.ckpt", folder / "saved_dict" / f"{model}.ckpt")
        else:
            shutil.copyfile(source, folder / "model.ckpt")
        return target(folder, base, {"model": model})


def is_same(target, base, options, found):
    """Whether a target returned for a damaged file what it returns for the undamaged one."""
    expected = undamaged(target, base, options["source"], options.get("model"))
    return expected[0] == found[0] and np.allclose(expected[1], found[1], atol=1e-6)


def fine_tune(directory, base, options):
    """Reads an encoder's directory as the script does that fine-tunes it or continues its pre-training."""
    if options["script"] == "pretrain_run.py":
        flags = ("--model", "bert", "--bert_path", directory, "--dataset", base / "dataset", *COMMON)
        call_until(pretrain_run, "train_and_test", pretrain_run.main, *flags, last=first_batch)
    else:
        flags = ("--init", directory, "--corpus", base / "corpus.txt", "--output", directory / "out", *COMMON)
        call_until(pretrain_mlm, "train", pretrain_mlm.main, *flags)


def pretrain(directory, base, options):
    """Reads a corpus, and builds a vocabulary of it, as pretrain_mlm.py does."""
    flags = ("--corpus", directory / options["name"], "--output", directory / "out", "--size", "tiny", *COMMON)
    call_until(pretrain_mlm, "train", pretrain_mlm.main, *flags)


def read_saved(path):
    """The content of a checkpoint or a state, without its digest."""
    return checkpoint.read(path)


def write_saved(path, content, sealed):
    """Writes the content of a checkpoint or a state. If it is `sealed` and can be read, it has a valid digest."""
    torch.save(content, path)
    if sealed:
        with contextlib.suppress(Exception):
            checkpoint.write(path, checkpoint.read(path))


def save_again(source, path):
    """Saves a checkpoint in today's format."""
    checkpoint.save(path, checkpoint.load(source))


def save_state(base, directory, model):
    """Trains until the first state is written. Returns the paths of the checkpoint and the state."""
    save = resume.State.save

    def save_and_stop(state, progress, now=True):
        save(state, progress)
        raise Stopped

    with mock.patch.object(resume.State, "save", save_and_stop), contextlib.suppress(Stopped):
        call(
            run.main,
            "--model",
            model,
            "--dataset",
            base / "dataset",
            "--output",
            directory,
            *COMMON,
            *EPOCHS,
            *TRAINING[model],
        )
    return [directory / "saved_dict" / f"{model}.{end}" for end in ("ckpt", "resume")]


def train_linear(dataset, directory):
    """Trains an SVM to its end. Returns the path of the checkpoint."""
    call(run.main, "--model", "SVM", "--dataset", dataset, "--output", directory, *COMMON)
    return directory / "saved_dict" / "SVM.ckpt"


def write_tokenizer(directory):
    """Writes tokenizer.json and tokenizer_config.json beside a vocab.txt."""
    write_wordpieces(directory, read_vocab_file(directory / "vocab.txt"))
