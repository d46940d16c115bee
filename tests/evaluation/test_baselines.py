"""`evaluation.baselines` as a user runs it."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from conftest import ROOT, here, script
from evaluation import baselines as peers
from text.labelled import read_split


def test_the_svm_is_trained_tested_and_timed(tiny, tmp_path):
    done = script("-m", "evaluation.baselines", "--peer", "svm", "--dataset", tiny, "--output", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert f"Test Acc: {metrics['test']['accuracy']:>6.2%}" in done.stdout
    assert metrics["test"]["accuracy"] > 0.45
    assert metrics["test"]["macro_f1"] == metrics["test"]["report"]["macro avg"]["f1-score"]
    assert metrics["train_rows"] == 90
    assert sys.platform == "win32" or 50 < metrics["peak_memory_mb"] < 400  # without torch
    speed = metrics["speed"]
    assert speed["rows_per_second"] > 1000
    assert 0 < speed["p50_ms"] <= speed["p99_ms"]
    assert speed["bytes"] == (tmp_path / "svm.pkl").stat().st_size
    header, *rows = [
        line.split("\t") for line in (tmp_path / "predictions.tsv").read_text(encoding="utf-8").splitlines()
    ]
    assert header == ["text", "label", "predicted"]
    assert [row[0] for row in rows] == read_split(tiny, "test")[0]
    assert np.mean([row[1] == row[2] for row in rows]) == pytest.approx(metrics["test"]["accuracy"])


def test_its_parameters_are_the_weights_of_each_class():
    svm = peers.SVM(1, **peers.SETTINGS["svm"])
    svm.fit(["好天", "坏天", "雨"], [0, 1, 2])
    assert svm.parameters() == 3 * (len({"好", "坏", "天", "雨", "好天", "坏天"}) + 1)
    assert svm.predict(["好天", "雨雨"]).tolist() == [0, 2]


def test_a_package_that_is_not_there_is_told(tiny, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    assert peers.missing("svm") is None
    assert peers.missing("fasttext") == "the package fasttext is not installed (pip install fasttext)"
    with pytest.raises(peers.UserError, match=r"fasttext-2: the package fasttext is not installed"):
        here(monkeypatch, peers.main, "--peer", "fasttext-2", "--dataset", tiny)


@pytest.mark.skipif(importlib.util.find_spec("fasttext") is None, reason="fasttext is not installed")
@pytest.mark.parametrize("peer", peers.PEERS["fasttext"])
def test_fasttext(tmp_path, peer):
    script("-m", "evaluation.baselines", "--peer", peer, "--dataset", ROOT / "sample", "--output", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] > 0.6
    assert metrics["train_rows"] == 1500 * peers.SETTINGS[peer]["epoch"]
    texts, _ = read_split(ROOT / "sample", "train")
    tokens = {character for text in texts for character in text.replace(" ", "▁")} | {"</s>"}
    assert metrics["speed"]["parameters"] == 100 * (len(tokens) + peers.SETTINGS[peer]["bucket"] + 10)


def test_the_same_reading_as_in_training(tmp_path):
    texts, labels = read_split(ROOT / "sample", "dev")
    lines = (ROOT / "sample" / "data" / "dev.txt").read_text(encoding="utf-8").splitlines()
    assert [f"{text}\t{label}" for text, label in zip(texts, labels, strict=True)] == lines
