"""Counts of n-grams: how many rows of each class have each of them.

If rows have any number of labels, the counts of the classes do not add up to those of all rows. The latter are then one
more column, the last, as if all rows had one more class.
"""

from typing import NamedTuple

import numpy as np
import torch

from models.tables import KEY_BITS
from text.rows import offsets_of

ROW_BITS = 63 - KEY_BITS  # of a row's index in a block, beside the key of an n-gram
MOST_ROWS = 1 << ROW_BITS  # of a block
BLOCK = 1 << 22  # pairs of an n-gram and a row that are counted together, at least
MOST_PAIRS = 1 << 26  # pairs of an n-gram and a class that are kept; beyond, the rarest n-grams are dropped
MOST_SINGLES = 1 << 22  # n-grams of one row in a table; if there are more, none is kept
MOST_COUNTS = 1 << 27  # n-grams times classes in a table; beyond, the rarest n-grams are dropped


class Counts(NamedTuple):
    """The rows of each class in a training split, and those that have each n-gram."""

    rows: np.ndarray  # (C,) int64, the rows of each class
    keys: np.ndarray  # (F,) int64, sorted: the n-grams that several rows have
    counts: np.ndarray  # (F, C), the rows of each class that have them
    single_keys: np.ndarray  # (G,) int64, sorted: the n-grams that one row has
    single_classes: np.ndarray  # (G,) int64, the class of that row
    has_total: bool = False  # whether the last of the C columns has all rows, which then have any number of labels

    @property
    def class_rows(self):
        """The rows of each class."""
        return self.rows[:-1] if self.has_total else self.rows

    @property
    def total_rows(self):
        return int(self.rows[-1] if self.has_total else self.rows.sum())

    def dictionary(self):
        """All n-grams: their keys, (F + G,), sorted, and the row of `table` that each has, (F + G,)."""
        keys = np.concatenate((self.keys, self.single_keys))
        rows = np.concatenate((1 + np.arange(len(self.keys)), 1 + len(self.keys) + self.single_classes))
        order = np.argsort(keys, kind="stable")  # which merges sorted parts
        return keys[order], rows[order]

    def table(self):
        """The counts of unknown n-grams, of those that several rows have, and of those of one row by class.

        (1 + F + C, C)
        """
        none, one = np.zeros((1, len(self.rows))), np.eye(len(self.rows))
        return np.concatenate((none, self.counts, one), dtype=self.counts.dtype, casting="unsafe")

    def packed(self):
        """The same as plain tensors, in few bytes: most n-grams have rows of one class or two."""
        index, classes = self.counts.nonzero()
        values = self.counts[index, classes]
        content = {
            "rows": self.rows,
            "keys": keys_as_bytes(self.keys),
            "sizes": _small(np.bincount(index, minlength=len(self.keys))),
            "classes": _small(classes),
            "counts": np.where(values < 256, values, 0).astype(np.uint8),
            "large": values[values > 255].astype(np.int64),  # those that do not fit, in order
            "single_keys": keys_as_bytes(self.single_keys),
            "single_classes": _small(self.single_classes),
        }
        total = {"has_total": torch.tensor(True)} if self.has_total else {}
        return {name: torch.from_numpy(array) for name, array in content.items()} | total

    @classmethod
    def unpacked(cls, content):
        """The inverse of `packed`. Raises an exception for any other content."""
        content = {name: tensor.cpu().numpy() for name, tensor in content.items()}
        keys, single_keys = (keys_from_bytes(content[name]) for name in ("keys", "single_keys"))
        rows = content["rows"]
        values, classes = content["counts"].astype(np.int64), content["classes"].astype(np.int64)
        if len(content["large"]) != np.count_nonzero(values == 0):
            raise ValueError("other counts")
        values[values == 0] = content["large"]
        counts = np.zeros((len(keys), len(rows)), _count_dtype(values))
        counts[np.arange(len(keys)).repeat(content["sizes"].astype(np.int64)), classes] = values
        single_classes = content["single_classes"].astype(np.int64)
        if len(single_classes) != len(single_keys) or not (single_classes < len(rows)).all():
            raise ValueError("other classes")
        return cls(rows, keys, counts, single_keys, single_classes, bool(content.get("has_total", False)))


def own_counts(labels, num_columns):
    """What rows add to the counts of their n-grams, (B, columns) bool.

    labels: class indices, (B,), or, (B, columns - 1), 0 and 1, of any number of labels; -1 for a row that is not known.
    """
    if labels.dim() == 2:
        return torch.cat((labels > 0, labels[:, :1] >= 0), dim=1)
    return torch.arange(num_columns, device=labels.device) == labels[:, None]


def keys_as_bytes(keys):
    """Keys of 40 bits, (F,), as (F, 5) bytes."""
    return keys.astype("<i8").view(np.uint8).reshape(-1, 8)[:, : KEY_BITS // 8].copy()


def keys_from_bytes(content):
    """The inverse of `keys_as_bytes`."""
    keys = np.zeros((len(content), 8), np.uint8)
    keys[:, : KEY_BITS // 8] = content
    keys = keys.view("<i8")[:, 0].astype(np.int64)
    if not (np.diff(keys) > 0).all():
        raise ValueError("keys that are not sorted")
    return keys


def _small(values):
    """Numbers from 0 on in few bytes."""
    return values.astype(np.uint8 if values.max(initial=0) < 256 else np.int32)


def _count_dtype(values):
    """The smallest signed type for these counts; torch has the unsigned ones for few operations."""
    return np.min_scalar_type(-int(values.max(initial=1)) - 1)  # the least number of a type is further from 0


class Counter:
    """Counts, for each n-gram and class, the training rows that have it, a block of rows after the other.

    has_total: whether rows have any number of labels, and all rows are counted in one more column. The memory is
    bounded: beyond `MOST_PAIRS` the rarest n-grams are forgotten, and counted from zero if they return.
    """

    def __init__(self, num_classes, has_total=False):
        self.num_classes, self.has_total = num_classes + has_total, has_total  # the former: of columns
        self.rows = np.zeros(self.num_classes, np.int64)  # of each class
        self.found, self.counts = np.zeros(0, np.int64), np.zeros(0, np.int64)  # sorted key * C + class, and its count
        self.blocks, self.pending = [], 0

    def add(self, keys, rows, labels):
        """Counts a block of rows. keys: (M,); rows: (M,), the row of each key, an index into labels, (R,) or (R, C)."""
        pairs = np.sort(keys << ROW_BITS | rows)
        pairs = pairs[starts_of(pairs)]  # an n-gram counts once a row
        keys, rows = pairs >> ROW_BITS, pairs & ((1 << ROW_BITS) - 1)
        if self.has_total:
            columns = np.append(labels > 0, np.ones((len(labels), 1), bool), axis=1)
            sizes, labels = columns.sum(axis=1), columns.nonzero()[1]
            offsets = offsets_of(sizes[rows])
            index = np.arange(offsets[-1]) - offsets[:-1].repeat(sizes[rows])  # of a label in its row
            keys, rows = keys.repeat(sizes[rows]), offsets_of(sizes)[rows].repeat(sizes[rows]) + index
        found = np.sort(keys * self.num_classes + labels[rows])
        starts = starts_of(found)
        self.blocks.append((found[starts], np.diff(starts, append=len(found))))
        self.rows += np.bincount(labels, minlength=self.num_classes)
        self.pending += len(starts)
        if self.pending > max(len(self.found), BLOCK):
            self._merge()

    def add_counts(self, counts, index):
        """Adds the rows of some Counts. index: (C,), the class here of each of theirs, -1 for a class to leave out."""
        index = np.append(index, self.num_classes - 1) if self.has_total else index
        kept = index >= 0
        self.rows[index[kept]] += counts.rows[kept]
        rows, classes = counts.counts.nonzero()
        values = np.concatenate((counts.counts[rows, classes].astype(np.int64), np.ones(len(counts.single_keys), int)))
        keys = np.concatenate((counts.keys[rows], counts.single_keys))
        classes = index[np.concatenate((classes, counts.single_classes))]
        found, values = (keys * self.num_classes + classes)[classes >= 0], values[classes >= 0]
        order = np.argsort(found)
        self.blocks.append((found[order], values[order]))

    def finish(self, min_rows=1):
        """The Counts of what was added, of the n-grams that at least `min_rows` rows have."""
        self._merge()
        starts = starts_of(self.found // self.num_classes)
        single = self._rows_of(starts) == 1
        singles, least = self.found[starts[single]], max(1 if self.has_total else 2, min_rows)
        if len(singles) > MOST_SINGLES or min_rows > 1 or self.has_total:
            singles = singles[:0]
        while self._forget(least) * self.num_classes > MOST_COUNTS:
            least += 1
        starts = starts_of(self.found // self.num_classes)
        keys = self.found[starts] // self.num_classes
        counts = np.zeros((len(keys), self.num_classes), _count_dtype(self.counts))
        index = np.arange(len(keys)).repeat(np.diff(starts, append=len(self.found)))
        counts[index, self.found % self.num_classes] = self.counts
        singles = singles // self.num_classes, singles % self.num_classes
        return Counts(self.rows, keys, counts, *singles, self.has_total)

    def _rows_of(self, starts):
        """How many rows have each n-gram, whose pairs begin at `starts`."""
        if not len(starts):
            return np.zeros(0, np.int64)
        counts = self.counts
        if self.has_total:
            counts = counts * (self.found % self.num_classes == self.num_classes - 1)
        return np.add.reduceat(counts, starts)

    def _merge(self):
        blocks = [(self.found, self.counts), *self.blocks]
        found, counts = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        order = np.argsort(found, kind="stable")  # which merges sorted blocks
        found = found[order]
        starts = starts_of(found)
        self.found, self.counts = found[starts], np.add.reduceat(counts[order], starts) if len(starts) else counts
        self.blocks, self.pending, least = [], 0, 2
        while len(self.found) > MOST_PAIRS:
            self._forget(least)
            least += 1

    def _forget(self, least):
        """Drops the n-grams of fewer rows than `least`; returns how many n-grams remain."""
        if not len(self.found):
            return 0
        starts = starts_of(self.found // self.num_classes)
        kept = self._rows_of(starts) >= least
        pairs = kept.repeat(np.diff(starts, append=len(self.found)))
        self.found, self.counts = self.found[pairs], self.counts[pairs]
        return int(kept.sum())


def starts_of(values):
    """The index of the first of each run of equal values, of sorted ones, (M,)."""
    return np.flatnonzero(np.diff(values, prepend=values[:1] - 1))
