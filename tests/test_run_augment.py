"""`--augment` of `run.py` and `pretrain_run.py`: a model is trained on the rows that were counted."""

import json
import re

import numpy as np
import pytest
import torch

import pretrain_run
import run
from conftest import assert_mistaken, inside, pieces
from engine import checkpoint
from engine.transfer import counted
from test_run import KILL, interrupt, weights
from text.augmentation import Augmentation
from text.labelled import read_split
from text.rows import spans_of
from text.wordpiece_files import read_wordpieces
from utils import read_dataset

SMALL = ("--num_epochs", 1, "--embed", 16, "--device", "cpu")
FLAGS = {
    "TextCNN": (*SMALL, "--min_rows", 2),
    "FastText": (*SMALL, "--n_gram_vocab", 999),
    "DPCNN": (*SMALL, "--word", "True"),
    "NBSVM": ("--device", "cpu"),
}


def augmented_rows(dataset, vocabulary, share):
    """The ids of the training rows after augmentation, as a `Rows`, and how many were changed."""
    texts, _ = read_split(dataset, "train")
    change = Augmentation(share)
    return vocabulary.encode(change(spans_of(texts))), change.changed


@pytest.mark.parametrize("kind", ["characters", "marked characters", "words", "word pieces"])
def test_the_training_rows_alone_are_changed_and_all_is_made_of_them(tiny, encoder, capsys, kind):
    vocabulary = read_wordpieces(encoder, len(pieces())) if kind == "word pieces" else None
    flags = {"vocabulary": vocabulary, "word": kind == "words", "marks_words": kind == "marked characters"}
    plain, found = read_dataset(tiny, **flags), read_dataset(tiny, **flags, augment=0.5)
    expected, count = augmented_rows(tiny, found.vocabulary, 0.5)
    assert 30 < count < 60
    assert found.train.rows.ids.tolist() == expected.ids.tolist() != plain.train.rows.ids.tolist()
    assert found.train.rows.offsets.tolist() == expected.offsets.tolist()
    assert found.train.labels.tolist() == plain.train.labels.tolist()
    note = f"--augment 0.5: {count} of 90 training rows are changed\n"
    assert capsys.readouterr().err.count(note) == 1
    assert read_dataset(tiny, **flags, augment=0.5).train.digest == found.train.digest != plain.train.digest
    assert note in capsys.readouterr().err  # also if the rows are cached
    dev = read_dataset(tiny, found.vocabulary).dev
    assert found.dev.rows.ids.tolist() == dev.rows.ids.tolist()
    assert found.test.texts.ids.tolist() == plain.test.texts.ids.tolist()


@pytest.mark.parametrize("model", FLAGS)
def test_each_kind_of_model_is_trained_on_changed_rows(tiny, tmp_path, model):
    flags = ("--model", model, "--dataset", tiny, "--augment", 0.3, *FLAGS[model])
    done = inside("run.py", *flags, "--output", tmp_path)
    assert re.search(r"--augment 0\.3: \d+ of 90 training rows are changed\n", done.stderr)
    (path,) = (tmp_path / "log" / model).glob("*/metrics.json")
    assert json.loads(path.read_text(encoding="utf-8"))["fingerprint"]["augment"] == 0.3
    assert "This run is finished" in inside("run.py", *flags, "--output", tmp_path, "--resume").stderr
    refused = inside("run.py", *flags, "--output", tmp_path, "--resume", "--augment", 0, check=False)
    assert refused.returncode == 2
    assert "augment is 0.3 there, absent here" in refused.stderr


def test_the_evidence_has_counted_the_rows_that_the_model_is_trained_on(tiny, tmp_path):
    inside("run.py", "--dataset", tiny, "--output", tmp_path, "--augment", 0.6, *SMALL)
    saved = checkpoint.load(tmp_path / "saved_dict" / "TextCNN.ckpt")
    for share in (0.6, 0):
        dataset = read_dataset(tiny, marks_words=True, augment=share)
        rows = dataset.train.rows if share else read_dataset(tiny, saved.vocabulary).train.rows
        dataset = dataset._replace(vocabulary=saved.vocabulary, train=dataset.train._replace(rows=rows))
        known = counted(saved.model, dataset.batches("train", saved.config, torch.device("cpu")), np.arange(3), 3)
        assert known.all() == bool(share)


def test_an_interrupted_run_resumes_to_the_same_weights(tiny, tmp_path):
    flags = ("--dataset", tiny, "--augment", 0.5, "--num_epochs", 12, "--embed", 16, "--device", "cpu")
    flags += ("--batch_size", 8, "--require_improvement", 100000, "--eval_every", 5)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    inside("run.py", *flags, "--output", whole)
    interrupt(KILL, broken / "saved_dict" / "TextCNN.resume", "run.py", *flags, "--output", broken)
    done = inside("run.py", *flags, "--output", broken, "--resume")
    assert int(re.search(r"Iter: +(\d+)", done.stdout)[1]) > 5  # not from the beginning
    expected, resumed = (weights(path / "saved_dict" / "TextCNN.ckpt") for path in (whole, broken))
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)


def test_training_on_counts_the_changed_rows_that_are_new(tiny, tmp_path):
    inside("run.py", "--dataset", tiny, "--output", tmp_path / "a", *SMALL)
    init = ("--init", tmp_path / "a" / "saved_dict" / "TextCNN.ckpt", "--dataset", tiny, "--num_epochs", 1)
    done = inside("run.py", *init, "--output", tmp_path / "b", "--augment", 0.5, "--device", "cpu")
    changed = int(re.search(r"--augment 0\.5: (\d+) of 90", done.stderr)[1])
    known = int(re.search(r"(\d+) of 90 training rows are in the n-gram counts", done.stderr)[1])
    assert 0 <= known - (90 - changed) < 10  # a changed row may consist of n-grams of others


def test_an_encoder_is_trained_on_changed_rows(tiny, encoder, tmp_path):
    flags = ("--bert_path", encoder, "--dataset", tiny, "--output", tmp_path, "--num_epochs", 1, "--device", "cpu")
    done = inside("pretrain_run.py", *flags, "--augment", 0.3)
    assert re.search(r"--augment 0\.3: \d+ of 90 training rows are changed\n", done.stderr)
    assert "Test Acc" in done.stdout


def test_rows_of_several_labels_are_changed_too(several, tmp_path):
    done = inside("run.py", "--model", "SVM", "--dataset", several, "--output", tmp_path, "--augment", 1)
    assert "--augment 1.0: 120 of 120 training rows are changed" in done.stderr
    assert "Test Micro F1" in done.stdout


@pytest.mark.parametrize("script", [run, pretrain_run])
@pytest.mark.parametrize("share", ["-0.1", "1.1"])
def test_a_share_out_of_range_is_refused(script, share, monkeypatch, capsys):
    message = f"argument --augment: {share} is out of range, expected at least 0 and at most 1"
    assert_mistaken(monkeypatch, capsys, script.parse_args, ("--augment", share), message)
