"""What a check finds in a dataset, as arrays of row indices."""

from typing import NamedTuple

import numpy as np

from checking.drift import drift
from checking.giveaways import giveaways, label_giveaways
from checking.label_suspects import LabelSuspects, label_out_of_fold, label_suspects
from checking.splits import Splits
from checking.suspects import MOST_CLASSES, Suspects, features, most_similar, out_of_fold, suspects
from text import hygiene
from text.duplicates import NEAR, Near, exact_groups, near_duplicates, nearest
from text.grams import take
from text.labelled import SPLITS

EVIDENCE = 1000  # suspects to which the most similar training rows are looked up


class Copies(NamedTuple):
    """The rows of a split that another split has too, or nearly so; the most similar first."""

    rows: np.ndarray  # (M,)
    sources: np.ndarray  # (M,), the row of the other split that is most similar
    similarity: np.ndarray  # (M,), 1 if they are the same


class Findings(NamedTuple):
    """What a check has found."""

    splits: Splits
    near: Near
    copies: dict  # Copies of dev and of test in train, and of test in dev, by the names of the two splits
    conflicts: list  # index arrays: rows of the same text that have different labels
    dirty: dict  # the rows of each kind of `text.hygiene`
    giveaways: list
    drift: dict  # the Drift between train and dev, and between train and test, or None, by the name of the latter
    suspects: Suspects | LabelSuspects | None
    evidence: list  # of the first suspects, the most similar training rows
    unchecked: str  # why labels were not checked; empty if they were


def rows_of(splits, name):
    """The rows of a split, an index array."""
    return np.flatnonzero(splits.split == SPLITS.index(name))


def examine(splits):
    """The Findings in a dataset."""
    near = near_duplicates(splits.texts)
    train = rows_of(splits, "train")
    found, evidence, unchecked = _suspects(splits, near.groups, train)
    return Findings(
        splits,
        near,
        {pair: copies(splits, near, *pair) for pair in (("dev", "train"), ("test", "train"), ("test", "dev"))},
        conflicts(splits),
        hygiene.find(splits.texts),
        _giveaways(splits, train),
        {
            name: drift(splits.texts, splits.labels, train, rows_of(splits, name), splits.members)
            for name in ("dev", "test")
        },
        found,
        evidence,
        unchecked,
    )


def copies(splits, near, name, source):
    """The Copies of rows of the split `source` in the split `name`."""
    rows = rows_of(splits, name)
    found, similarity = nearest(near, rows_of(splits, source))
    groups = near.groups[rows]
    index = np.flatnonzero(similarity[groups] >= NEAR)
    index = index[np.argsort(-similarity[groups[index]], kind="stable")]
    return Copies(rows[index], found[groups[index]], similarity[groups[index]])


def conflicts(splits):
    """The rows of each text that has different labels: index arrays."""
    groups = exact_groups(splits.texts)
    order = np.lexsort((splits.labels, groups))
    ends = np.cumsum(np.bincount(groups))
    starts = np.concatenate(([0], ends[:-1]))
    labels = splits.labels[order]
    differ = np.flatnonzero(labels[starts] != labels[ends - 1])
    return [np.sort(order[starts[i] : ends[i]]) for i in differ]


def _giveaways(splits, train):
    texts, labels = take(splits.texts, train), splits.labels[train]
    if splits.members is not None:
        return label_giveaways(texts, labels, splits.members)
    return giveaways(texts, labels, len(splits.classes))


def _suspects(splits, groups, train):
    """The Suspects, the evidence for them, and why there are none."""
    count = len(splits.names)
    if count > MOST_CLASSES:
        return None, [], f"it has {count} classes, and labels are checked with up to {MOST_CLASSES}"
    matrix = features(splits.texts, count)
    if splits.members is None:
        probabilities = out_of_fold(matrix, splits.labels, groups, count)
        found = None if probabilities is None else suspects(splits.labels, probabilities)
    else:
        has = splits.members.astype(bool)[splits.labels]
        probabilities = label_out_of_fold(matrix, has, groups)
        found = None if np.isnan(probabilities).all() else label_suspects(has, probabilities)
    if found is None:
        return None, [], "it has too few rows, or rows of one class alone"
    return found, most_similar(matrix, found.rows[:EVIDENCE], train), ""
