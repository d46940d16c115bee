import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch

from conftest import batches_of
from engine.counting import count
from models import counts as module
from models.counts import Counter, Counts
from models.tables import keys_of

PAD = 30


def random_rows(count, classes=3, seed=0):
    """Rows of tokens, most of which are frequent, and their labels."""
    rng = np.random.default_rng(seed)
    rows = [np.minimum(rng.geometric(0.2, rng.integers(1, 12)), PAD - 1) for _ in range(count)]
    return rows, rng.integers(0, classes, count)


def split_of(rows, labels):
    return batches_of(np.concatenate(rows).astype(np.int32), [len(row) for row in rows], labels, pad=PAD)


def by_hand(rows, labels, longest, classes=3):
    """The rows of each class that have an n-gram, by its key."""
    found = defaultdict(lambda: np.zeros(classes, int))
    for row, label in zip(rows, labels, strict=True):
        keys = keys_of(torch.tensor(row)[None], longest).flatten().tolist()
        for key in set(keys):
            found[key][label] += 1
    return found


def assert_counted(counts, expected):
    several = {key: found for key, found in expected.items() if found.sum() > 1}
    assert counts.keys.tolist() == sorted(several)
    assert counts.counts.tolist() == [several[key].tolist() for key in sorted(several)]
    single = {key: found.argmax() for key, found in expected.items() if found.sum() == 1}
    assert dict(zip(counts.single_keys.tolist(), counts.single_classes.tolist(), strict=True)) == single


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_each_row_counts_once_for_each_of_its_n_grams(block, monkeypatch):
    for name in ("models.counts.BLOCK", "engine.counting.BLOCK"):
        monkeypatch.setattr(name, block)
    rows, labels = random_rows(200)
    counts = count(split_of(rows, labels), 3, 3)
    assert_counted(counts, by_hand(rows, labels, 3))
    assert counts.rows.tolist() == np.bincount(labels).tolist()


def test_keys_differ_where_n_grams_differ():
    grams = [torch.tensor([gram]) for n in (1, 2, 3) for gram in itertools.product(range(20), repeat=n)]
    keys = [keys_of(gram, gram.shape[1])[0, -1, -1].item() for gram in grams]
    assert len(set(keys)) == len(keys)
    assert min(keys) >= 0 and max(keys) < 1 << 40
    assert np.histogram(keys, 8, (0, 1 << 40))[0].min() > 900  # of 8,420: they fill the buckets of a dictionary evenly


@pytest.mark.parametrize("classes", [1, 2, 300])
def test_what_is_packed_comes_back(classes):
    rows, labels = random_rows(700, classes)
    counts = count(split_of(rows, labels), classes, 2)
    content = counts.packed()
    assert all(isinstance(tensor, torch.Tensor) for tensor in content.values())
    for found, expected in zip(Counts.unpacked(content), counts, strict=True):
        assert np.array_equal(found, expected) and found.dtype == expected.dtype
    assert classes > 1 or len(content["large"])  # counts above a byte


def test_an_n_gram_takes_few_bytes():
    rows, labels = random_rows(2000, 3)
    counts = count(split_of(rows, labels), 3, 4)
    size = sum(tensor.numel() * tensor.element_size() for tensor in counts.packed().values())
    assert size < 12 * len(counts.keys) + 6 * len(counts.single_keys) + 1000


def test_the_rarest_are_dropped_if_there_are_too_many(monkeypatch):
    rows, labels = random_rows(300)
    whole = count(split_of(rows, labels), 3, 3)
    monkeypatch.setattr(module, "MOST_COUNTS", 300)
    monkeypatch.setattr(module, "MOST_SINGLES", 10)
    counts = count(split_of(rows, labels), 3, 3)
    kept = whole.counts[np.isin(whole.keys, counts.keys)].sum(axis=1)
    assert 0 < len(counts.keys) <= 100
    assert kept.min() > np.delete(whole.counts, np.isin(whole.keys, counts.keys).nonzero()[0], 0).sum(axis=1).max()
    assert len(counts.single_keys) == 0


def test_memory_is_bounded_while_rows_are_counted(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 200)
    monkeypatch.setattr(module, "BLOCK", 1)
    counter = Counter(2)
    for seed in range(50):
        rng = np.random.default_rng(seed)
        keys = rng.integers(10, 10_000, 100)
        keys[:10] = np.arange(10)
        counter.add(keys, np.arange(100) // 10, np.arange(10) % 2)
        assert len(counter.found) <= 200
    counts = counter.finish()
    assert counts.counts[np.searchsorted(counts.keys, np.arange(10))].sum(axis=1).tolist() == [50] * 10


def test_a_split_without_n_grams():
    counts = Counter(2).finish()
    assert (len(counts.keys), len(counts.single_keys), counts.rows.tolist()) == (0, 0, [0, 0])
    for found, expected in zip(Counts.unpacked(counts.packed()), counts, strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("name", ["keys", "sizes", "classes", "counts", "large", "single_keys", "single_classes"])
def test_other_content_is_refused(name):
    rows, labels = random_rows(2000)
    content = count(split_of(rows, labels), 3, 2).packed()
    content[name] = content[name][1:].flip(0) if name == "keys" else torch.cat((content[name], content[name][:1] + 1))
    with pytest.raises((ValueError, IndexError)):
        Counts.unpacked(content)
