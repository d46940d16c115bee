import itertools
from collections import defaultdict

import numpy as np
import pytest
import torch

from conftest import batches_of
from engine.counting import add_rows, count
from models import counts as module
from models.counts import Counter, Counts, own_counts
from models.tables import keys_of

PAD = 30


def random_rows(count, classes=3, seed=0):
    """Rows of tokens, most of which are frequent, and their labels."""
    rng = np.random.default_rng(seed)
    rows = [np.minimum(rng.geometric(0.2, rng.integers(1, 12)), PAD - 1) for _ in range(count)]
    return rows, rng.integers(0, classes, count)


def split_of(rows, labels, **options):
    return batches_of(np.concatenate(rows).astype(np.int32), [len(row) for row in rows], labels, pad=PAD, **options)


def parts_of(row, long):
    """What is read of a row of at most 14 tokens with a limit of 4: the head and the tail, or windows."""
    if len(row) <= 4:
        return [row]
    starts = range(0, len(row) - 1, 3)
    return [row[:1], row[-3:]] if long == "head_tail" else [row[min(i, len(row) - 4) :][:4] for i in starts]


def by_hand(rows, labels, longest, classes=3):
    """The rows of each class that have an n-gram, by its key; a label may also be an index array."""
    found = defaultdict(lambda: np.zeros(classes, int))
    for row, label in zip(rows, labels, strict=True):
        keys = keys_of(torch.tensor(row)[None], longest).flatten().tolist()
        for key in set(keys):
            found[key][label] += 1
    return found


def random_sets(count, classes=3, seed=1):
    """Any number of labels of each row, (N, C), and, with a last one that each row has, their indices."""
    labels = (np.random.default_rng(seed).random((count, classes)) < 0.4).astype(np.uint8)
    return labels, [np.append(np.flatnonzero(row), classes) for row in labels]


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


@pytest.mark.parametrize("long", ["head_tail", "windows"])
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_what_is_counted_of_long_rows_is_what_is_read(long, block, monkeypatch):
    for name in ("models.counts.BLOCK", "engine.counting.BLOCK"):
        monkeypatch.setattr(name, block)
    rows, labels = random_rows(200)
    expected = defaultdict(lambda: np.zeros(3, int))
    for row, label in zip(rows, labels, strict=True):
        for key in set().union(*(keys_of(torch.tensor(p)[None], 3).flatten().tolist() for p in parts_of(row, long))):
            expected[key][label] += 1
    assert_counted(count(split_of(rows, labels, limit=4, long=long), 3, 3), expected)


def test_no_n_gram_spans_a_joint():
    row = torch.tensor([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]])
    ends = torch.tensor([[True, False, False, True, True, False], [False, True, False, True, True, False]])
    for i, joint in enumerate((2, 0)):
        keys = keys_of(row, 3, torch.full((2,), joint), ends, 2)
        parts = [keys_of(row[:, part], 3, None, ends[:, part], 2) for part in (slice(joint), slice(joint, None))]
        assert torch.equal(keys, torch.cat(parts[i:], dim=1))


@pytest.mark.parametrize("min_rows", [1, 3])
def test_counts_of_earlier_rows_add_up_with_those_of_later_ones(min_rows):
    rows, labels = random_rows(200)
    index = np.array([3, -1, 0])  # the classes have other numbers later, one is lost
    now = index[labels]
    counter = Counter(4)
    counter.add_counts(count(split_of(rows[:120], labels[:120]), 3, 3), index)
    add_rows(counter, split_of(rows, np.maximum(now, 0)), 120 + np.flatnonzero(now[120:] >= 0), 3)
    kept = np.flatnonzero(now >= 0)
    expected = count(split_of([rows[i] for i in kept], now[kept]), 4, 3, min_rows)
    for found, wanted in zip(counter.finish(min_rows), expected, strict=True):
        assert np.array_equal(found, wanted)


def test_keys_of_words_are_those_of_their_tokens_wherever_they_are():
    """Each word, and each pair of words, has one key in all rows; a row's first word has none before it."""
    rng = np.random.default_rng(4)
    lengths = rng.integers(1, 30, 80)
    ids, ends = rng.integers(0, 3, lengths.sum()).astype(np.int32), rng.integers(0, 2, lengths.sum())
    batch = batches_of(ids, lengths, pad=3, ends=ends).cut(np.arange(80))
    found, keys = {}, keys_of(batch.tokens, 1, None, batch.word_ends, 2)[..., 1:]
    for i, length in enumerate(lengths):
        own, word, before = ends[lengths[:i].sum() :], (), ()
        for t in range(length):
            word += (batch.tokens[i, t].item(),)
            if not own[t]:
                assert keys[i, t].tolist() == [-1, -1]
                continue
            for name, key in zip((word, (before, word)), keys[i, t].tolist(), strict=True):
                assert found.setdefault(name, key) == key >= 0
            word, before = (), word
    assert len(set(found.values())) == len(found) > 300
    assert not {*keys_of(batch.tokens, 5).flatten().tolist()} & {*found.values()}


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
    assert Counts.unpacked(content).has_total is counts.has_total
    for found, expected in zip(Counts.unpacked(content)[:-1], counts[:-1], strict=True):
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


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
def test_rows_with_any_number_of_labels_count_for_each_and_for_all(block, monkeypatch):
    for name in ("models.counts.BLOCK", "engine.counting.BLOCK"):
        monkeypatch.setattr(name, block)
    rows, _ = random_rows(200)
    labels, indices = random_sets(200)
    counts = count(split_of(rows, labels), 3, 3)
    expected = by_hand(rows, indices, 3, 4)
    assert counts.keys.tolist() == sorted(expected)
    assert counts.counts.tolist() == [expected[key].tolist() for key in sorted(expected)]
    assert not len(counts.single_keys)
    assert counts.rows.tolist() == [*labels.sum(axis=0), 200]
    assert counts.class_rows.tolist() == labels.sum(axis=0).tolist() and counts.total_rows == 200
    unpacked = Counts.unpacked(counts.packed())
    assert unpacked.has_total and np.array_equal(unpacked.counts, counts.counts)


def test_min_rows_counts_rows_and_not_labels():
    rows, _ = random_rows(200)
    labels, indices = random_sets(200)
    counts = count(split_of(rows, labels), 3, 2, min_rows=4)
    assert counts.keys.tolist() == sorted(key for key, found in by_hand(rows, indices, 2, 4).items() if found[3] >= 4)


def test_a_row_whose_labels_are_not_known_adds_nothing_to_the_counts():
    assert own_counts(torch.tensor([1, -1]), 2).tolist() == [[False, True], [False, False]]
    labels = torch.tensor([[1, 0], [0, 0], [-1, -1]])
    assert own_counts(labels, 3).tolist() == [[True, False, True], [False, False, True], [False, False, False]]


@pytest.mark.parametrize("rows", [127, 128, 32_767, 32_768])
def test_counts_up_to_the_largest_of_a_type_are_kept(rows):
    counter = Counter(2)
    counter.add(np.full(rows, 7), np.arange(rows), np.zeros(rows, np.int64))
    counts = counter.finish()
    assert counts.counts.tolist() == Counts.unpacked(counts.packed()).counts.tolist() == [[rows, 0]]
    assert counts.table().tolist() == [[0, 0], [rows, 0], [1, 0], [0, 1]]
