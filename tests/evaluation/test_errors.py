"""`predict.py --evaluate`: the report of a labelled file and its errors."""

import re

import numpy as np
import pytest

from conftest import TREE, inside, sample_rows
from engine.predictor import Predict
from evaluation.errors import confusions
from text.labelled import read_split


def evaluate(dataset, file, *flags, **options):
    return inside("predict.py", "--dataset", dataset, "--device", "cpu", "--evaluate", file, *flags, **options)


def test_the_report_and_the_errors(trained_svm, tmp_path):
    file = tmp_path / "own.txt"
    rows = [*sample_rows("test", {0, 1, 2}, 75), ("北京二手房\u3000价格上涨", 0)]
    file.write_text("".join(f"{text}\t{['财经', '房产', '股票'][label]}\n" for text, label in rows), encoding="utf-8")
    done = evaluate(trained_svm, file, "--min_confidence", 0.6, "--coverage", 0.9)
    errors = [line.split("\t") for line in (tmp_path / "own.errors.tsv").read_text(encoding="utf-8").splitlines()]
    assert errors[0] == ["count", "label", "predicted", "probability", "text"]
    assert f"{len(errors) - 1} errors of 76 rows" in done.stderr
    assert f"Acc: {1 - (len(errors) - 1) / 76:.2%},  ECE: 0." in done.stdout
    assert "macro avg" in done.stdout
    assert "Probability at least 0.6000: " in done.stdout
    assert "% have the label, " in done.stdout
    assert ["财经", "房产"] in [row[1:3] for row in errors]
    counts = [int(row[0]) for row in errors[1:]]
    assert counts == sorted(counts, reverse=True)
    for count, label, predicted, *_ in errors[1:]:
        own = [row for row in errors[1:] if row[1:3] == [label, predicted]]
        assert len(own) == int(count)
        assert [row[3] for row in own] == sorted((row[3] for row in own), reverse=True)
        assert f"{count:>6} rows of {label} predicted as {predicted}" in done.stdout


def test_a_hierarchy_is_reported_by_level(trained_tree, tmp_path):
    dataset, run = trained_tree
    file = dataset / "data" / "test.txt"
    done = evaluate(dataset, file, "--min_confidence", 0.8, "--output", tmp_path / "e.tsv")
    for line in ("Accuracy at level 1: ", "Hierarchical precision: "):
        (shown,) = [text for text in run.stdout.splitlines() if text.startswith(line)]
        assert shown in done.stdout.splitlines()
    form = r"Probability at least 0.8000: ([\d.]+)% of the rows, ([\d.]+)% of them right\n"
    form += "".join(rf"  at level {i}: ([\d.]+)% of the rows, ([\d.]+)% of them right\n" for i in (1, 2))
    whole, right, *levels = map(float, re.search(form, done.stdout).groups())
    assert levels[0] + levels[2] == pytest.approx(whole, abs=0.02)
    assert levels[0] * levels[1] + levels[2] * levels[3] == pytest.approx(whole * right, abs=2)
    predictor = Predict("SVM", dataset=dataset, device="cpu")
    texts, labels = read_split(dataset, "test")
    pairs = [(found, TREE[label]) for found, label in zip(predictor.predict_list(texts, 0.8), labels, strict=True)]
    answered = [own.startswith(found) for found, own in pairs if found != "?"]
    assert (whole, right) == pytest.approx((100 * len(answered) / 90, 100 * np.mean(answered)), abs=0.01)


def test_no_errors(trained_svm, tmp_path):
    (tmp_path / "own.txt").write_text("北京二手房价格上涨\t房产\n\n", encoding="utf-8")
    done = evaluate(trained_svm, tmp_path / "own.txt", "--output", tmp_path / "e.tsv")
    assert (tmp_path / "e.tsv").read_text(encoding="utf-8").count("\n") == 1
    assert "0 errors of 1 rows, 0 pairs of classes" in done.stderr
    assert "1 blank lines skipped" in done.stderr
    assert "predicted as" not in done.stdout


def test_bad_rows_and_files_are_a_line(trained_svm, tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("好\t体育\n", encoding="utf-8")
    done = evaluate(trained_svm, path, check=False)
    assert done.returncode == 2
    assert "own.txt: 1 bad rows of 1; expected text<TAB>label" in done.stderr
    path.write_text("好\t财经\n", encoding="utf-8")
    done = evaluate(trained_svm, path, "--output", path, check=False)
    assert done.returncode == 2
    assert "is the file to evaluate; expected another one" in done.stderr
    assert path.read_text(encoding="utf-8") == "好\t财经\n"
    done = evaluate(trained_svm, tmp_path / "absent.txt", check=False)
    assert done.returncode == 2
    assert "absent.txt: No such file" in done.stderr


def test_confusions_are_grouped_the_largest_first():
    labels, predicted = np.array([0, 1, 1, 2, 1, 0]), np.array([0, 2, 0, 1, 2, 2])
    confidences = np.array([0.9, 0.5, 0.6, 0.7, 0.8, 0.9])
    assert [rows.tolist() for rows in confusions(labels, predicted, confidences)] == [[4, 1], [5], [2], [3]]
    assert confusions(labels, labels, confidences) == []
