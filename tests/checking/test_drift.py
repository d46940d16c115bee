import numpy as np
import pytest

from checking.drift import drift
from conftest import sample_rows
from text.rows import spans_of

ROWS = sample_rows("train", {0, 1, 2, 3}, 400)
LABELS = np.array([label for _, label in ROWS])


def compared(texts, first, second):
    return drift(spans_of(texts), LABELS[: len(texts)], first, second)


def test_halves_drawn_at_random_cannot_be_told_apart():
    order = np.random.default_rng(1).permutation(len(ROWS))
    found = compared([text for text, _ in ROWS], order[:200], order[200:])
    assert abs(found.auc - 0.5) < 3 * found.error
    assert found.p_value > 0.01


def test_texts_from_another_source_are_told_apart_by_what_is_typical():
    texts = [f"{text}【转载】" if i >= 200 else text for i, (text, _) in enumerate(ROWS)]
    found = compared(texts, np.arange(200), np.arange(200, 400))
    assert found.auc > 0.95
    assert {"转载", "【转"} <= set(found.second)
    assert not {"转载", "【转"} & set(found.first)


def test_other_shares_of_the_classes_have_a_distance():
    order = np.argsort(LABELS, kind="stable")
    found = compared([text for text, _ in ROWS], order[:200], order[200:])
    assert found.distance > 0.9
    assert found.p_value < 1e-6
    shares = [np.bincount(LABELS[rows], minlength=4) / 200 for rows in (order[:200], order[200:])]
    assert found.distance == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)


def test_few_rows_are_not_compared():
    assert compared([text for text, _ in ROWS], np.arange(49), np.arange(49, 400)) is None


def test_labels_that_more_rows_have_in_one_split_have_a_distance():
    members, texts = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]), [text for text, _ in ROWS]
    halves = np.arange(200), np.arange(200, 400)
    sets = np.random.default_rng(1).integers(0, 4, 400)
    found = drift(spans_of(texts), sets, *halves, members)
    assert found.distance < 0.1 and found.p_value > 0.01
    sets[200:] = np.where(sets[200:] == 1, 0, sets[200:])  # no label in place of the first one
    found = drift(spans_of(texts), sets, *halves, members)
    counts = np.stack(
        [np.bincount(sets[rows], minlength=4) @ [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0]] for rows in halves]
    )
    shares = counts / counts.sum(axis=1, keepdims=True)
    assert found.distance == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    assert found.distance > 0.1 and found.p_value < 0.001
    sets[:] = 3  # all rows have all labels: nothing to test
    assert drift(spans_of(texts), sets, *halves, members)[-2:] == (0, 1)
