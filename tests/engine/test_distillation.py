"""Distillation as a user runs it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import inside, join_rows, sample_rows, write_dataset
from engine import resume
from engine.batches import Batch
from engine.predictor import Predict
from evaluation import folds
from models import model_module
from models.base import DataSpec
from models.counts import Counter, Counts
from models.evidence import Evidence
from models.tables import keys_of
from text.labelled import read_split

FLAGS = ("--num_epochs", 2, "--batch_size", 16, "--device", "cpu", "--amp", "off")
SMALL = (*FLAGS, "--embed", 16, "--n_gram_vocab", 999, "--hidden_size", 32)


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A dataset, a teacher of it with words as tokens, one of other classes, and texts without labels."""
    root = tmp_path_factory.mktemp("taught")
    splits = [sample_rows(name, {0, 1}, count) for name, count in (("train", 60), ("dev", 20), ("test", 20))]
    write_dataset(root / "d", ["财经", "房产"], *splits)
    other = write_dataset(root / "other", ["财经", "体育"], splits[0][:9])
    inside("run.py", "--model", "FastText", "--dataset", root / "d", "--output", root, "--word", *SMALL)
    inside("run.py", "--model", "FastText", "--dataset", other, *SMALL)
    texts = [text for text, _ in sample_rows("train", {0, 1}, 90)[60:]]
    (root / "news.txt").write_text("\n".join([*texts, "", splits[0][0][0], "  "]) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def inside_folds(monkeypatch):
    """Trains the teachers of folds in this process; returns the directories of their datasets."""
    directories = []

    def call(command, log, what):
        directories.append(Path(command[command.index("--dataset") + 1]))
        inside(*command)

    monkeypatch.setattr(folds, "call", call)
    return directories


def distil(taught, output, *flags, check=True):
    where = ("--dataset", taught / "d", "--output", output, "--teacher", taught / "saved_dict" / "FastText.ckpt")
    return inside("run.py", "--model", "FastText", *SMALL, *where, *flags, check=check)


def cells(path):
    """What a checkpoint says of its training."""
    return torch.load(path, weights_only=True)


def test_rows_and_texts_get_the_probabilities_of_teachers_that_have_not_seen_them(taught, tmp_path):
    flags = ("--folds", 2, "--unlabelled", taught / "news.txt", "--class_weight", "balanced", "--label_smoothing", 0.1)
    done = distil(taught, tmp_path, *flags, "--accumulate", 3)
    assert done.stderr.count("FastText, fold ") == 2
    assert "news.txt: 30 texts; 1 lines that are in the dataset and 2 blank ones are left out" in done.stderr
    assert "Iter:      6," in done.stdout  # 90 rows in batches of 16
    again = distil(taught, tmp_path, *flags, "--teacher_share", 0.9)
    assert "fold" not in again.stderr
    (cache,) = (taught / "d" / "cache").glob("teachers-*")
    labels, targets = np.load(cache / "labels.npy"), np.load(cache / "targets.npy").reshape(-1, 2)
    assert np.bincount(labels + 1).tolist() == [30, *np.bincount(labels[:60])]
    assert targets.dtype == np.float16
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=2e-3)
    teacher = Predict(checkpoint=taught / "saved_dict" / "FastText.ckpt", device="cpu", amp="off")
    texts = (taught / "news.txt").read_text(encoding="utf-8").splitlines()[:30]
    np.testing.assert_allclose(targets[60:], teacher.predict_proba(texts), atol=1e-3)
    parts = [np.load(next(tmp_path.rglob(f"folds/*/{part}.npy"))) for part in (0, 1)]
    assert [len(part) for part in parts] == [30, 30]
    assert sorted(np.concatenate(parts)[:, 0]) == pytest.approx(sorted(targets[:60, 0]), abs=1e-3)
    plain = tmp_path / "plain"
    inside("run.py", "--model", "FastText", "--dataset", taught / "d", "--output", plain, *SMALL)
    ours, theirs = (cells(path / "saved_dict" / "FastText.ckpt") for path in (tmp_path, plain))
    assert ours["vocabulary"] == theirs["vocabulary"]  # of the labelled rows alone, as are the counts
    assert all(torch.equal(ours["n_grams"][name], theirs["n_grams"][name]) for name in theirs["n_grams"])


def test_a_teacher_of_a_fold_has_not_seen_the_part_that_it_predicts(taught, tmp_path, inside_folds, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: None)
    distil(taught, tmp_path, "--folds", 3)
    tests = []
    for directory in inside_folds:
        files = [(directory / "data" / f"{name}.txt").read_text(encoding="utf-8") for name in ("train", "test")]
        train, test = (text.splitlines() for text in files)
        assert not set(train) & set(test)
        assert len(train) + len(test) == 60
        tests += test
    names = ["财经", "房产"]
    assert sorted(tests) == sorted(f"{text}\t{names[label]}" for text, label in sample_rows("train", {0, 1}, 60))


def test_finished_folds_are_kept_when_one_fails(taught, tmp_path, inside_folds, monkeypatch):
    call = folds.call

    def failing(command, log, what):
        if "fold 2" in what:
            raise KeyboardInterrupt
        call(command, log, what)

    monkeypatch.setattr(folds, "call", failing)
    assert distil(taught, tmp_path, "--folds", 3, check=False).returncode == 130
    monkeypatch.setattr(folds, "call", call)
    done = distil(taught, tmp_path, "--folds", 3)
    assert [f"fold {part} of 3" in done.stderr for part in (1, 2, 3)] == [False, True, True]


def test_the_same_model_twice_is_trained_with_two_seeds(taught, tmp_path, inside_folds):
    shutil.copy(taught / "saved_dict" / "FastText.ckpt", tmp_path / "second.ckpt")
    distil(taught, tmp_path, "--folds", 2, "--teacher", *[tmp_path / "second.ckpt"] * 3)
    first = [np.load(path) for path in tmp_path.rglob("folds/*/0.npy")]
    assert len(first) == 3
    assert not any(np.array_equal(first[i], first[i - 1]) for i in range(3))


def test_an_interrupted_distillation_resumes_to_the_same_weights(taught, tmp_path, monkeypatch):
    flags = ("--unlabelled", taught / "news.txt", "--eval_every", 2, "--accumulate", 2, "--teacher_share", 0.8)
    distil(taught, tmp_path / "whole", *flags)
    save, count = resume.State.save, []

    def interrupt(self, *args, **options):
        save(self, *args, **options)
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(resume.State, "save", interrupt)
        assert distil(taught, tmp_path / "broken", *flags, check=False).returncode == 130
    refused = distil(taught, tmp_path / "broken", *flags, "--resume", "--temperature", 3, check=False)
    assert "temperature is 1.0 there, 3.0 here" in refused.stderr
    done = distil(taught, tmp_path / "broken", *flags, "--resume")
    assert "Iter:      2," not in done.stdout
    whole, broken = (cells(tmp_path / name / "saved_dict" / "FastText.ckpt") for name in ("whole", "broken"))
    assert all(torch.equal(whole["weights"][name], broken["weights"][name]) for name in whole["weights"])


def test_a_teacher_may_name_the_classes_in_another_order(taught, tmp_path):
    rows = sample_rows("train", {0, 1}, 60)
    other = write_dataset(tmp_path / "d", ["房产", "财经"], [(text, 1 - label) for text, label in rows])
    inside("run.py", "--model", "FastText", "--dataset", other, *SMALL)
    distil(taught, tmp_path, "--teacher", other / "saved_dict" / "FastText.ckpt", "--unlabelled", taught / "news.txt")
    cache = max((taught / "d" / "cache").glob("teachers-*"), key=lambda path: path.stat().st_mtime)
    texts = (taught / "news.txt").read_text(encoding="utf-8").splitlines()[:30]
    teacher = Predict(checkpoint=other / "saved_dict" / "FastText.ckpt", device="cpu", amp="off")
    targets = np.load(cache / "targets.npy").reshape(-1, 2)
    np.testing.assert_allclose(targets[60:], teacher.predict_proba(texts)[:, ::-1], atol=1e-3)
    assert not targets[:60].any()


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ("--folds 3", "--folds is for distillation: add --teacher CKPT"),
        ("--unlabelled news.txt", "--unlabelled is for distillation: add --teacher CKPT"),
        ("--temperature 3", "--temperature is for distillation: add --teacher CKPT"),
        ("--teacher T.ckpt", "--teacher needs texts that the teachers have not seen: add --folds 5"),
        ("--teacher T.ckpt --folds 1", "1 is out of range, expected at least 2"),
        ("--teacher T.ckpt --folds 61", "--folds 61, but train.txt has 60 different texts; use at most that many"),
        ("--teacher T.ckpt --unlabelled none.txt", "--unlabelled none.txt: no such file; expected texts, one a line"),
        ("--teacher T.ckpt --unlabelled empty.txt", "empty.txt has no text to learn from, but 0 lines that are in the"),
        ("--teacher T.ckpt --unlabelled own.txt", "own.txt has no text to learn from, but 20 lines that are in the"),
        ("--teacher none.ckpt --folds 2", "none.ckpt: no such file"),
        ("--teacher saved_dict/FastText.ckpt --folds 2", "is the file that this training writes; use --output DIR"),
        ("--teacher other.ckpt --folds 2", "other classes: 2 (财经, 体育); expected the 2 of the dataset (财经, 房产)"),
    ],
)
def test_mistakes(taught, tmp_path, monkeypatch, flags, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved_dict").mkdir()
    for name in ("T.ckpt", "saved_dict/FastText.ckpt"):
        shutil.copy(taught / "saved_dict" / "FastText.ckpt", tmp_path / name)
    shutil.copy(taught / "other" / "saved_dict" / "FastText.ckpt", tmp_path / "other.ckpt")
    (tmp_path / "empty.txt").write_bytes(b"")
    own = [text for text, _ in sample_rows("dev", {0, 1}, 20)]
    (tmp_path / "own.txt").write_text("\n".join(own), encoding="utf-8")
    where = ("--model", "FastText", "--dataset", taught / "d", "--output", tmp_path)
    done = inside("run.py", *where, *flags.split(), check=False)
    assert done.returncode == 2
    assert line in done.stderr


def test_an_encoder_is_no_teacher_of_folds(taught, tmp_path, monkeypatch):
    monkeypatch.setattr(folds, "ENCODERS", ("FastText",))
    done = distil(taught, tmp_path, "--folds", 2, check=False)
    assert "--folds trains networks alone, and" in done.stderr


def test_a_row_without_a_label_has_the_evidence_of_a_text_that_is_not_trained_on():
    tokens = torch.tensor([[0, 1, 2, 3], [0, 1, 4, 3], [5, 2, 3, 6]])
    keys, labels = keys_of(tokens, 2).flatten().numpy(), np.array([0, 1, 1])
    counter = Counter(2)
    counter.add(keys, np.arange(3).repeat(8), labels)
    module = model_module("FastText")
    config = module.Config(evidence=2, word_n_grams=0, smoothing=0.3, n_gram_vocab=9, embed=4)
    model = Evidence(module.Model(config, DataSpec(2, 9)), config, counter.finish())
    lengths, targets = torch.tensor([4, 4, 3]), torch.full((3, 2), 0.5)
    batch = Batch(tokens, lengths, torch.tensor([-1, 1, -1]), targets=targets)
    trained, own = (model.train().count(b) for b in (batch, batch._replace(targets=None)))
    evaluated = model.eval().count(batch)
    assert torch.equal(trained[[0, 2]], evaluated[[0, 2]])
    assert torch.equal(trained[1], own[1])  # left out of the counts
    assert not torch.equal(trained[1], evaluated[1])


def test_n_grams_of_few_rows_can_be_left_out(taught, tmp_path):
    where = ("--model", "FastText", "--dataset", taught / "d", *SMALL)
    sizes = []
    for rows in (1, 2, 3):
        inside("run.py", *where, "--output", tmp_path / str(rows), "--min_rows", rows)
        n_grams = cells(tmp_path / str(rows) / "saved_dict" / "FastText.ckpt")["n_grams"]
        sizes.append((len(n_grams["single_keys"]), len(n_grams["keys"])))
        assert Counts.unpacked(n_grams).counts.sum(axis=1).min() == max(rows, 2)
    assert sizes[0][0] > sizes[1][0] == sizes[2][0] == 0
    assert sizes[0][1] == sizes[1][1] > sizes[2][1]


def test_several_labels_a_row_have_teachers_too(several, taught, tmp_path, inside_folds, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: None)
    plain = ("run.py", "--model", "FastText", "--dataset", several, *SMALL)
    inside(*plain, "--output", tmp_path)
    teacher = tmp_path / "saved_dict" / "FastText.ckpt"
    texts = [text for text, _ in sample_rows("train", {5}, 30)]
    (tmp_path / "news.txt").write_text("\n".join([*texts, join_rows("test", 1)[0][0]]), encoding="utf-8")
    flags = ("--output", tmp_path / "student", "--unlabelled", tmp_path / "news.txt", "--folds", 2)
    done = inside(*plain, *flags, "--teacher", teacher, "--class_weight", "balanced", "--temperature", 2)
    assert "news.txt: 30 texts; 1 lines that are in the dataset and 0 blank ones are left out" in done.stderr
    assert done.stderr.count("On the part: macro F1, with the best thresholds, ") == 2
    (cache,) = (several / "cache").glob("teachers-*")
    labels, targets = (np.load(cache / f"{name}.npy").reshape(-1, 3) for name in ("labels", "targets"))
    assert labels[:120].tolist() == read_split(several, "train")[1].tolist()
    assert (labels[120:] == -1).all() and len(labels) == 150
    given = Predict(checkpoint=teacher, device="cpu", amp="off").predict_proba(texts)
    np.testing.assert_allclose(targets[120:], given, atol=1e-3)
    tests = []
    for directory in inside_folds:
        train, test = (pairs(directory, name) for name in ("train", "test"))
        assert not {text for text, _ in train} & {text for text, _ in test}
        tests += test
    assert sorted(tests) == sorted(pairs(several, "train"))
    refused = inside(*plain, *flags, "--teacher", taught / "saved_dict" / "FastText.ckpt", check=False)
    assert "FastText.ckpt predicts one label a row, but rows in" in refused.stderr
    where = ("--dataset", taught / "d", "--output", tmp_path / "other", "--folds", 2)
    refused = inside("run.py", "--model", "FastText", *SMALL, *where, "--teacher", teacher, check=False)
    assert "FastText.ckpt predicts any number of labels a row, but rows in" in refused.stderr


def pairs(dataset, name):
    """A split's texts with their labels as tuples."""
    texts, labels = read_split(dataset, name)
    return list(zip(texts, map(tuple, labels.tolist()), strict=True))
