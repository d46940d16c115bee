"""Datasets whose class names are paths: the measures, and a dataset from training to evaluation."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import TREE, inside, write_dataset
from engine import checkpoint
from evaluation.hierarchical import f1_of_file, measures, test_results
from text.hierarchy import Hierarchy

test_results.__test__ = False
CLASSES = ["a/b/c", "a/b/d", "a", "e", "e/f", "g"]
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


def prefixes(name):
    parts = name.split("/")
    return {"/".join(parts[:i]) for i in range(1, len(parts) + 1)}


@given(ROWS)
def test_the_measures_are_those_of_the_definition(rows):
    labels, predicted = np.array(rows).T
    found = measures(labels, predicted, Hierarchy(CLASSES, True))
    sets = [(prefixes(CLASSES[label]), prefixes(CLASSES[guess])) for label, guess in rows]
    common = sum(len(own & guess) for own, guess in sets)
    precision = common / sum(len(guess) for _, guess in sets)
    recall = common / sum(len(own) for own, _ in sets)
    assert found["hierarchical_precision"] == pytest.approx(precision)
    assert found["hierarchical_recall"] == pytest.approx(recall)
    f1 = 2 * precision * recall / (precision + recall) if common else 0
    assert found["hierarchical_f1"] == pytest.approx(f1)
    names = [[CLASSES[i].split("/") for i in row] for row in rows]
    by_level = [np.mean([own[:level] == guess[:level] for own, guess in names]) for level in (1, 2, 3)]
    assert found["level_accuracy"] == pytest.approx(by_level)
    assert found["level_accuracy"][-1] == pytest.approx((labels == predicted).mean())


def test_the_lines():
    labels, predicted = np.array([0, 1, 5, 5]), np.array([0, 0, 5, 2])
    found, lines = test_results(labels, predicted, Hierarchy(CLASSES, True))
    assert lines == [
        "Accuracy at level 1: 0.7500, level 2: 0.7500, level 3: 0.5000",
        "Hierarchical precision: 0.7500, recall: 0.7500, F1: 0.7500",
    ]
    assert found["hierarchical_f1"] == pytest.approx(6 / 8)
    assert test_results(labels, predicted, Hierarchy(CLASSES)) == ({}, [])


def test_the_f1_of_a_file(tmp_path):
    (tmp_path / "p.tsv").write_text("text\tlabel\tpredicted\tprobability\n好\ta\tg\t1\n坏\ta/b/c\ta/b/d\t1\n")
    assert f1_of_file(tmp_path / "p.tsv", Hierarchy(CLASSES, True)) == pytest.approx(2 * 0.5 * 0.5)


def test_a_run_reports_the_levels(trained_tree):
    dataset, done = trained_tree
    assert "Hierarchy: 2 top nodes, 4 classes, 2 levels (--hierarchy False" in done.stderr
    assert "\nAccuracy at level 1: " in done.stdout
    (path,) = dataset.glob("log/*/*/metrics.json")
    found = json.loads(path.read_text(encoding="utf-8"))["test"]
    assert found["level_accuracy"][1] == found["accuracy"] <= found["level_accuracy"][0]
    assert found["hierarchical_f1"] == f1_of_file(path.with_name("predictions.tsv"), Hierarchy(TREE, True))
    saved = checkpoint.load(dataset / "saved_dict" / "SVM.ckpt")
    assert saved.hierarchy.num_levels == 2
    assert saved.calibration.sums.shape == (len(saved.calibration.labels), 2)


def test_the_flag_turns_it_off(trained_tree, tmp_path):
    flags = ("--model", "SVM", "--dataset", trained_tree[0], "--output", tmp_path, "--device", "cpu")
    done = inside("run.py", *flags, "--hierarchy", "False")
    assert "Hierarch" not in done.stdout + done.stderr
    assert checkpoint.load(tmp_path / "saved_dict" / "SVM.ckpt").hierarchy.num_levels == 1


def test_an_ensemble_has_the_hierarchy_of_its_members(trained_tree, tmp_path):
    dataset, _ = trained_tree
    flags = ("--members", dataset / "saved_dict" / "SVM.ckpt", "--dataset", dataset)
    done = inside("evaluation.ensemble", *flags, "--checkpoint", tmp_path / "e.ckpt", "--output", tmp_path / "log")
    assert "\nAccuracy at level 1: " in done.stdout
    assert checkpoint.load(tmp_path / "e.ckpt").hierarchy.num_levels == 2


def test_several_labels_a_row_have_no_hierarchy(tmp_path):
    rows = [("好天气", "天气/晴"), ("坏天气", "天气/雨"), ("好坏天气", "天气/晴,天气/雨")] * 4
    dataset = write_dataset(tmp_path / "d", ["天气/晴", "天气/雨"], rows)
    (dataset / "data" / "dataset.json").write_text('{"multi_label": true}')
    flags = ("--model", "SVM", "--dataset", dataset, "--device", "cpu")
    assert "Hierarchy" not in inside("run.py", *flags).stderr
    done = inside("run.py", *flags, "--hierarchy", check=False)
    assert done.returncode == 2
    assert "--hierarchy takes one label a row, and the rows of " in done.stderr
