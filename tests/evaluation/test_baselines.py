"""`evaluation.baselines` as a user runs it."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from conftest import ROOT, here, script, write_dataset
from evaluation import baselines
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
    svm.fit(["好天", "坏天", "雨"], [0, 1, 2])
    assert svm.count_parameters() == 3 * (len({"好", "坏", "天", "雨", "好天", "坏天"}) + 1)
    assert svm.predict(["好天", "雨雨"]).tolist() == [0, 2]


def test_a_package_that_is_not_there_is_told(tiny, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    assert baselines.missing("svm") is None
    assert baselines.missing("fasttext") == "the package fasttext is not installed (pip install fasttext)"
    with pytest.raises(baselines.UserError, match=r"fasttext-2: the package fasttext is not installed"):
        here(monkeypatch, baselines.main, "--baseline", "fasttext-2", "--dataset", tiny)


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


def test_a_training_set_of_one_class_is_a_line(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好天气", 0), ("好极了", 0)])
    with pytest.raises(baselines.UserError, match=r"train\.txt has rows of one class, an SVM needs two or more"):
        here(monkeypatch, baselines.main, "--baseline", "svm", "--dataset", dataset)
