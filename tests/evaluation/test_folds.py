import numpy as np
import pytest

from cli.console import UserError
from engine.distillation import mean_of
from evaluation.folds import HeldOut, parts_of, strata_of


def test_equal_texts_are_in_one_part_and_classes_in_all():
    texts = np.array([5, 1, 2, 3, 5, 4, 6, 7, 8, 1], np.uint64)
    labels = np.array([0, 1, 0, 0, 0, 1, 0, 1, 1, 1])
    parts = parts_of(texts, labels, 2, seed=3)
    assert parts[0] == parts[4]
    assert parts[1] == parts[9]
    first = np.unique(texts, return_index=True)[1]
    for label in (0, 1):
        assert np.bincount(parts[first][labels[first] == label]).tolist() == [2, 2]
    assert (parts == parts_of(texts, labels, 2, seed=3)).all()
    assert any((parts != parts_of(texts, labels, 2, seed=seed)).any() for seed in range(4, 9))
    with pytest.raises(UserError, match=r"--folds 9, but train\.txt has 8 different texts"):
        parts_of(texts, labels, 9, seed=3)


def test_probabilities_come_in_the_order_of_the_rows_whatever_the_parts():
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 3, 50)
    rows = rng.random((2, 50, 4)).astype(np.float16)
    rows /= rows.sum(axis=2, keepdims=True)
    arrays = [[member[parts == part] for part in range(3)] for member in rows]
    expected = 0.25 * rows[0].astype(np.float32) + 0.75 * rows[1].astype(np.float32)
    for teachers in ([[(0.25, arrays[0]), (0.75, arrays[1])]], [[(1.0, arrays[0])], *[[(1.0, arrays[1])]] * 3]):
        for size in (7, 50, 64):
            blocks = list(HeldOut(parts, teachers, "").blocks(size))
            assert len(blocks) == -(-50 // size)
            np.testing.assert_allclose(np.concatenate(blocks), expected, atol=2e-3)


def test_the_stratum_of_a_row_is_its_rarest_label():
    labels = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0], [1, 0, 1], [1, 1, 1]], np.uint8)
    assert strata_of(labels).tolist() == [1, 0, 2, 3, 2, 1]
    assert strata_of(np.array([2, 0, 1])).tolist() == [2, 0, 1]


def test_the_mean_of_any_number_of_labels_leaves_out_teachers_without_tokens():
    first = np.array([[0.2, 0.9], [0.0, 0.0], [0.0, 0.0], [1e-9, 1e-9]], np.float32)
    second = np.array([[0.4, 0.7], [0.3, 0.1], [0.0, 0.0], [1e-9, 1e-9]], np.float32)
    found = mean_of([first, second])
    np.testing.assert_allclose(found[:3], [[0.3, 0.8], [0.3, 0.1], [0, 0]], atol=1e-6)
    assert found[3].astype(np.float16).all()  # a row with teachers is not all 0
    assert not found[2].any()
