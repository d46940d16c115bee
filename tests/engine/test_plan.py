import hashlib

import numpy as np
import pytest

from engine import plan
from engine.plan import Plan


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(plan, "CHUNK", 1000)


def lengths_of(count):
    return np.random.default_rng(0).integers(1, 33, count).astype(np.uint8)


def digest_of(batches):
    return hashlib.sha256(np.concatenate(list(batches)).astype("<i8")).hexdigest()[:8]


@pytest.mark.parametrize("count", [0, 1, 5, 127, 128, 129, 1000, 1999, 2000, 2001, 8193, 20_000])
@pytest.mark.parametrize("batch_size", [1, 128, 3000])
def test_each_epoch_has_each_row_once(small_chunks, count, batch_size):
    found = Plan(lengths_of(count), batch_size, seed=1, epoch=0)
    batches = list(found)
    assert len(found) == len(batches) == -(-count // batch_size)
    assert sorted(row for rows in batches for row in rows.tolist()) == list(range(count))
    assert sorted(len(rows) for rows in batches)[1:] == [batch_size] * (len(batches) - 1)


def test_the_plan_of_a_seed_is_the_same_in_each_version(monkeypatch):
    """Published figures depend on it, and so does --resume."""
    lengths = np.minimum(np.random.default_rng(5).integers(1, 40, 20_000), 32)
    assert [digest_of(Plan(lengths, *of)) for of in ((128, 1, 0), (33, 7, 3))] == ["7efff4cc", "9df878fd"]
    assert [len(rows) for rows in Plan(lengths, 33, 7, 3)].index(20_000 % 33) == 84
    monkeypatch.setattr(plan, "CHUNK", 1000)
    assert [digest_of(Plan(lengths, *of)) for of in ((128, 1, 0), (33, 7, 3))] == ["2e921b5f", "45e79b76"]


@pytest.mark.parametrize("count", [300, 5000])
def test_epochs_and_seeds_differ_and_repeat(small_chunks, count):
    lengths = np.full(count, 5, np.uint8)
    first, again, later, other = (digest_of(Plan(lengths, 32, *of)) for of in ((1, 0), (1, 0), (1, 1), (2, 0)))
    assert first == again
    assert len({first, later, other}) == 3


@pytest.mark.parametrize("count", [1000, 50_000])
def test_sorted_data_is_shuffled(small_chunks, count):
    labels = np.repeat(np.arange(10), count // 10)
    for rows in Plan(np.full(count, 5, np.uint8), 100, 1, 0):
        assert len(set(labels[rows])) > 5
        assert np.bincount(labels[rows]).max() < 40


def test_each_chunk_is_a_sample_of_the_whole_file(small_chunks):
    found = Plan(np.full(50_000, 5, np.uint8), 100, 1, 0)
    chunks = [np.concatenate(list(found[start : start + 10])) for start in range(0, len(found), 10)]
    assert found.chunks == len(chunks) == 50
    for rows in chunks:
        assert np.array_equal(np.sort(rows) // 50, np.arange(1000))  # one of each strip of 50 rows
        assert np.bincount(rows % 50, minlength=50).max() < 45  # and not always the same one
    plans = [Plan(found.lengths, 1000, 1, epoch) for epoch in range(9)]
    assert len({next(i for i, rows in enumerate(each) if 0 in rows) for each in plans}) > 4


def test_chunks_do_not_add_padding(monkeypatch):
    lengths = lengths_of(200_000)

    def padded():
        return sum(len(rows) * int(lengths[rows].max()) for rows in Plan(lengths, 32, 1, 0))

    whole = padded()
    monkeypatch.setattr(plan, "CHUNK", 20_000)
    assert padded() < 1.01 * whole


@pytest.mark.parametrize("start", [0, 5, 15, 16, 31, 32, 78, 79])
def test_a_plan_goes_on_from_a_step(small_chunks, start):
    found = Plan(lengths_of(5000), 64, 1, 0)
    assert len(found) == 79
    assert [rows.tolist() for rows in found[start:]] == [rows.tolist() for rows in found][start:]
    assert len(found[start:]) == 79 - start


def test_a_chunk_is_ordered_when_it_is_needed(small_chunks, monkeypatch):
    ordered, made = Plan.ordered, []
    monkeypatch.setattr(Plan, "ordered", lambda self, chunk: made.append(chunk) or ordered(self, chunk))
    found = Plan(lengths_of(5000), 100, 1, 0)
    assert made == []
    assert len(list(found[20:])) == 30
    assert made == [2, 3, 4]
