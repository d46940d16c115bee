"""Predictions as JSON objects."""

import json
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.predictions import Lines
from serving.formatting import Formatter
from text.hierarchy import Hierarchy

NAMES = ["商业/财经", '商业/"房产"', "教育"]
ROWS = np.array([[0.5, 0.3, 0.2], [0.1, 0.15, 0.75], [0, 0, 0]], np.float32)


def formatted(probabilities=ROWS, names=NAMES, hierarchical=False, multi_label=False, **options):
    predictor = SimpleNamespace(hierarchy=Hierarchy(names, hierarchical), multi_label=multi_label)
    predictor.predicted = lambda probabilities: probabilities >= 0.3
    return [json.loads(row) for row in Formatter(predictor)(probabilities, **options)]


def pair(label, probability):
    return {"label": label, "probability": probability}


def test_the_most_probable_class():
    assert formatted() == [pair(NAMES[0], 0.5), pair(NAMES[2], 0.75), pair(None, 0.0)]


def test_the_most_probable_classes():
    first, second, empty = (row["top_k"] for row in formatted(top_k=2))
    assert first == [pair(NAMES[0], 0.5), pair(NAMES[1], 0.3)]
    assert second == [pair(NAMES[2], 0.75), pair(NAMES[1], 0.15)]
    assert empty == []
    assert len(formatted(top_k=99)[0]["top_k"]) == 3


def test_a_class_that_is_not_probable_enough():
    assert formatted(min_confidence=0.6) == [pair("?", 0.5), pair(NAMES[2], 0.75), pair(None, 0.0)]
    assert formatted(hierarchical=True, min_confidence=0.6)[0] == pair("商业", 0.8)


def test_the_labels_of_a_text_with_any_number_of_them():
    first, second, empty = formatted(multi_label=True, min_confidence=0.4, top_k=1)
    assert first == {"labels": [pair(NAMES[0], 0.5), pair("?", 0.3)], "top_k": [pair(NAMES[0], 0.5)]}
    assert second == {"labels": [pair(NAMES[2], 0.75)], "top_k": [pair(NAMES[2], 0.75)]}
    assert empty == {"labels": [], "top_k": []}


def test_weights_are_those_of_each_text():
    weights = [np.array([0.123456, -2]), np.zeros(1), np.zeros(0)]
    assert [row["weights"] for row in formatted(weights=weights)] == [[0.1235, -2.0], [0.0], []]


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_probabilities_are_those_that_predict_py_prints(values):
    probabilities = np.array([values], np.float32)
    line = json.loads(Lines("jsonl", NAMES, None)(["文"], probabilities))
    assert formatted(probabilities)[0] == {key: line[key] for key in ("label", "probability")}
