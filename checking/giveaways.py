"""Tokens that give the label away: nearly all rows of a class have them, and hardly any other row."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from text.grams import take
from text.rows import texts_of

ROWS, CHARACTERS = 20_000, 4_000_000  # that are examined, at most; the same number of rows of each class
EXAMINED = 10_000  # characters of a row
LEAST = 10  # rows of a class that is examined
LONGEST = 20  # characters of a token
OWN_SHARE = 0.9  # of the rows of the class that have the token
OTHER_SHARE = 0.01  # of the rows of other classes that may have it too
SHOWN = 5  # tokens of a class


class Giveaway(NamedTuple):
    """A token that nearly all rows of a class have, and hardly any other row."""

    label: int  # the class
    token: str
    own_share: float
    other_share: float


def giveaways(texts, labels, num_classes, seed=1):
    """The Giveaways in these rows, up to `SHOWN` of a class."""
    sample = _sample(texts, labels, num_classes, np.random.default_rng(seed))
    strings, found = _strings(texts, sample), []
    for label in np.unique(labels[sample]):
        has = labels[sample] == label
        found += _giveaways_of(int(label), strings[has], strings[~has])
    return found


def label_giveaways(texts, labels, members, seed=1):
    """The Giveaways of each label if rows may have any number: tokens of the rows with it, against those without it.

    labels: (N,) indices of sets of labels; members: (C, L), the labels of each set.
    """
    order, rows = np.random.default_rng(seed).permutation(len(labels)), _budget(texts)
    chosen = np.zeros(len(labels), bool)
    chosen[order[:rows]] = True
    for own in members.T:
        chosen[order[own[labels[order]] > 0][: rows // len(members.T)]] = True
    sample, found = np.flatnonzero(chosen), []
    strings = _strings(texts, sample)
    for label, own in enumerate(members.T):
        has = own[labels[sample]] > 0
        if has.sum() >= LEAST:
            found += _giveaways_of(label, strings[has], strings[~has])
    return found


def _strings(texts, rows):
    return np.array([text[:EXAMINED] for text in texts_of(take(texts, rows))], object)


def _giveaways_of(label, own, others):
    """The Giveaways of a class, from its texts and those of others."""
    found = []
    for token, count in _frequent(own, OWN_SHARE * len(own)):
        parts = {token[1:] or token, token[:-1] or token}
        if not len(others) or any(part in giveaway.token for part in parts for giveaway in found):
            continue
        share = sum(token in text for text in others) / len(others)
        if share <= OTHER_SHARE:
            found.append(Giveaway(label, token, count / len(own), share))
        if len(found) == SHOWN:
            break
    return found


def _frequent(strings, least):
    """The n-grams of characters that at least so many strings have, and how many, the longest first."""
    found, shorter = [], None
    for length in range(1, LONGEST + 1):
        counts = Counter()
        for text in strings:
            grams = {text[i : i + length] for i in range(len(text) - length + 1)}
            counts.update(gram for gram in grams if shorter is None or (gram[1:] in shorter and gram[:-1] in shorter))
        frequent = [(gram, count) for gram, count in counts.items() if count >= least]
        if not frequent:
            break
        shorter = {gram for gram, _ in frequent}
        found = sorted(pair for pair in frequent if pair[0].strip()) + found
    return found


def _sample(texts, labels, num_classes, rng):
    """Rows of the classes that have at least `LEAST`, the same number of each as far as it has them."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels, minlength=num_classes)
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = _budget(texts)
    most = max(LEAST, rows // max(1, int((counts >= LEAST).sum())))
    return order[(rank < most) & (counts[labels[order]] >= LEAST)]


def _budget(texts):
    """The number of rows that are examined, at most."""
    return min(ROWS, CHARACTERS // max(1, int(texts.lengths.mean())))
