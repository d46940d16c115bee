import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text.splitting import assign, units_of


def spread(keys, splits):
    """The largest number of splits in which one key is."""
    return max(len(set(splits[keys == key])) for key in set(keys))


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    groups=st.lists(st.integers(0, 9), min_size=60, max_size=60),
    grouped=st.booleans(),
    labels=st.lists(st.integers(0, 4), min_size=60, max_size=60),
)
def test_rows_of_a_text_or_group_are_in_one_split(texts, groups, grouped, labels):
    size = len(texts)
    texts, groups, labels = (np.array(values[:size], np.uint64) for values in (texts, groups, labels))
    splits = assign(units_of(texts, groups if grouped else None), labels.astype(np.int32), [80, 10, 10])
    assert len(splits) == size
    assert spread(texts, splits) == 1
    assert not grouped or spread(groups, splits) == 1


def test_rows_that_are_connected_through_others_are_one_unit():
    units = units_of(np.array([1, 1, 2, 3, 4], np.uint64), np.array([7, 8, 8, 9, 9], np.uint64))
    assert units[0] == units[1] == units[2] != units[3] == units[4]


@pytest.mark.parametrize("shares", [[80, 10, 10], [8, 1, 1], [60, 20, 20], [1, 1, 1], [90, 10]])
def test_splits_are_stratified(shares):
    rng = np.random.default_rng(1)
    labels = rng.choice(5, 5000, p=[0.5, 0.3, 0.15, 0.04, 0.01]).astype(np.int32)
    splits = assign(units_of(rng.permutation(5000).astype(np.uint64)), labels, shares)
    for label in range(5):
        rows = splits[labels == label]
        expected = len(rows) * np.array(shares) / sum(shares)
        assert np.abs(np.bincount(rows, minlength=len(shares)) - expected).max() <= len(shares)


@pytest.mark.parametrize(
    ("count", "sizes"), [(7, [5, 1, 1]), (13, [11, 1, 1]), (57, [45, 6, 6]), (60, [48, 6, 6]), (103, [83, 10, 10])]
)
def test_sizes_are_rounded_to_the_nearest_row(count, sizes):
    splits = assign(units_of(np.arange(count, dtype=np.uint64)), np.zeros(count, np.int32), [80, 10, 10])
    assert np.bincount(splits).tolist() == sizes


@pytest.mark.parametrize("count", range(3, 12))
def test_a_class_with_few_rows_is_in_each_split(count):
    splits = assign(units_of(np.arange(count, dtype=np.uint64)), np.zeros(count, np.int32), [80, 10, 10])
    assert set(splits) == {0, 1, 2}


def test_large_groups_leave_the_sizes_of_the_splits_as_they_should_be():
    sizes = [500, 100, 100, *[10] * 30]
    groups = np.repeat(np.arange(len(sizes)), sizes).astype(np.uint64)
    labels = np.random.default_rng(1).integers(0, 3, len(groups)).astype(np.int32)
    splits = assign(units_of(np.arange(len(groups), dtype=np.uint64), groups), labels, [80, 10, 10])
    assert np.abs(np.bincount(splits) - [800, 100, 100]).max() <= 20
