"""`evaluation.baselines` as a user runs it."""

import importlib.util
import json
import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score

from conftest import ROOT, here, join_rows, script, write_dataset
from evaluation import baselines, timing
from text.labelled import read_split


def test_the_svm_is_trained_tested_and_timed(tiny, tmp_path):
    done = script("-m", "evaluation.baselines", "--baseline", "svm", "--dataset", tiny, "--output", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert f"Test Acc: {metrics['test']['accuracy']:>6.2%}" in done.stdout
    assert metrics["test"]["accuracy"] > 0.45
    assert metrics["test"]["macro_f1"] == metrics["test"]["report"]["macro avg"]["f1-score"]
    assert metrics["train_rows"] == 90
    assert metrics["peak_memory_mb"] > 0
    speed = metrics["speed"]
    assert speed["rows_per_second"] > 0
    assert 0 < speed["p50_ms"] <= speed["p99_ms"]
    assert speed["bytes"] == (tmp_path / "svm.pkl").stat().st_size
    header, *rows = [
        line.split("\t") for line in (tmp_path / "predictions.tsv").read_text(encoding="utf-8").splitlines()
    ]
    assert header == ["text", "label", "predicted"]
    assert sorted(row[0] for row in rows) == sorted(read_split(tiny, "test")[0])
    assert np.mean([row[1] == row[2] for row in rows]) == pytest.approx(metrics["test"]["accuracy"])


def test_its_parameters_are_the_weights_of_each_class():
    svm = baselines.SVM(1, **baselines.PARAMETERS["svm"])
    svm.fit(["好天", "坏天", "雨"], np.arange(3))
    assert svm.count_parameters() == 3 * (len({"好", "坏", "天", "雨", "好天", "坏天"}) + 1)
    assert svm.predict(["好天", "雨雨"]).tolist() == [0, 2]


def test_a_package_that_is_not_there_is_told(tiny, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    assert baselines.missing("svm") is None
    assert baselines.missing("fasttext") == "the package fasttext is not installed (pip install fasttext)"
    with pytest.raises(baselines.UserError, match=r"fasttext-2: the package fasttext is not installed"):
        here(monkeypatch, baselines.main, "--baseline", "fasttext-2", "--dataset", tiny)


@pytest.mark.parametrize("name", ["svm", "fasttext-2"])
def test_a_baseline_of_any_number_of_labels(several, tmp_path, monkeypatch, capsys, name):
    if name != "svm":
        pytest.importorskip("fasttext")
    monkeypatch.setattr(timing, "SECONDS", 0.01)
    here(monkeypatch, baselines.main, "--baseline", name, "--dataset", several, "--output", tmp_path)
    content = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    scores = content["test"]
    head = f"Test Micro F1: {scores['micro_f1']:>6.2%},  Test Macro F1: {scores['macro_f1']:>6.2%}"
    assert head in capsys.readouterr().out
    assert scores["micro_f1"] > 0.5
    assert len(content["thresholds"]) == 3
    assert content["fingerprint"].get("loss") == (None if name == "svm" else "ova")
    header, *rows = [line.split("\t") for line in (tmp_path / "predictions.tsv").read_text("utf-8").splitlines()]
    assert header == ["text", "labels", "predicted"]
    assert sorted((row[0], row[1]) for row in rows) == sorted(join_rows("test", 40))
    names = ["财经", "房产", "股票"]
    own, found = (np.array([[name in row[i].split(",") for name in names] for row in rows]) for i in (1, 2))
    assert scores["micro_f1"] == pytest.approx(f1_score(own, found, average="micro"))


def test_labels_that_all_or_no_rows_have():
    svm = baselines.SVM(1, **baselines.PARAMETERS["svm"])
    svm.fit(["好天", "坏天", "雨"], np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1]]))
    scores = svm.scores(["好天", "雨雨"])
    assert scores[0, 0] > scores[1, 0]
    assert scores[:, 1].tolist() == [0, 0]
    assert (scores[:, 2] > 0.5).all()
    assert svm.count_parameters() == len({"好", "坏", "天", "雨", "好天", "坏天"}) + 1


def test_a_threshold_is_chosen_on_dev_and_the_usual_one_is_that_of_a_label_without_rows():
    svm = baselines.SVM(1, **baselines.PARAMETERS["svm"])
    labels = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0]], np.uint8)
    svm.fit(["好天", "坏天", "好坏"], labels)
    thresholds = baselines.choose_thresholds(svm, ["好天", "坏天"], np.array([[1, 0, 1], [0, 0, 0]], np.uint8))
    scores = svm.scores(["好天", "坏天"])
    assert scores[1, 0] < thresholds[0] < scores[0, 0]
    assert thresholds[1:].tolist() == [0.5, 0.5]  # of a label without rows in dev, and of one without training rows


@pytest.mark.skipif(importlib.util.find_spec("fasttext") is None, reason="fasttext is not installed")
@pytest.mark.parametrize("name", baselines.BASELINES["fasttext"])
def test_fasttext(tmp_path, name):
    script("-m", "evaluation.baselines", "--baseline", name, "--dataset", ROOT / "sample", "--output", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] > 0.6
    assert metrics["train_rows"] == 1500 * baselines.PARAMETERS[name]["epoch"]
    texts, _ = read_split(ROOT / "sample", "train")
    tokens = {character for text in texts for character in text.replace(" ", "▁")} | {"</s>"}
    assert metrics["speed"]["parameters"] == 100 * (len(tokens) + baselines.PARAMETERS[name]["bucket"] + 10)


def test_the_same_reading_as_in_training(tmp_path):
    texts, labels = read_split(ROOT / "sample", "dev")
    lines = (ROOT / "sample" / "data" / "dev.txt").read_text(encoding="utf-8").splitlines()
    assert [f"{text}\t{label}" for text, label in zip(texts, labels, strict=True)] == lines


def test_a_training_set_without_labels_is_a_line(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好天气", ""), ("好极了", "")])
    (dataset / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    with pytest.raises(baselines.UserError, match=r"train\.txt has no row with a label, a baseline needs one or more"):
        here(monkeypatch, baselines.main, "--baseline", "svm", "--dataset", dataset)


def test_a_training_set_of_one_class_is_a_line(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好天气", 0), ("好极了", 0)])
    with pytest.raises(baselines.UserError, match=r"train\.txt has rows of one class, an SVM needs two or more"):
        here(monkeypatch, baselines.main, "--baseline", "svm", "--dataset", dataset)
