"""Texts that are the same or nearly so.

Candidates are found by locality-sensitive hashing, Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900: each text
has `BANDS` keys of `HASHES` minima of hashes of its bigrams, and two texts with a key in common are candidates. They
are then compared exactly, by the Jaccard similarity of their sets of bigrams. A pair of similarity s is a candidate
with probability 1 - (1 - s^HASHES)^BANDS: 0.92 for 0.5, 0.996 for 0.6. Before that, sketches of the sets exclude most
candidates that cannot be similar.
"""

from typing import NamedTuple

import numpy as np

from text.grams import blocks_of, fold, gram_sets, take
from text.rows import hashes_of, offsets_of, texts_of

NEAR = 0.5  # similarity from which on texts are near duplicates
BANDS, HASHES = 40, 4
SKETCH_WORDS = 4  # of 64 bits, of a set's sketch
NEIGHBOURS = 16  # candidates that a text has in a band, at most on each side: a band may hold a million texts

LOW = np.uint64(0xFFFFFFFF)


class Near(NamedTuple):
    """Which texts are the same after folding, and which of the others are similar."""

    groups: np.ndarray  # (N,), the number of each text, from 0: those that are the same have the same
    first: np.ndarray  # (M,) numbers of similar texts, each pair once
    second: np.ndarray  # (M,), above `first`
    similarity: np.ndarray  # (M,) float32


def exact_groups(texts):
    """The number of each text, (N,), from 0: the same texts have the same."""
    hashes = [hashes_of(texts_of(take(texts, np.arange(*block)))) for block in blocks_of(texts.offsets)]
    return np.unique(np.concatenate(hashes), return_inverse=True)[1]


def near_duplicates(texts, threshold=NEAR, seed=1):
    """The Near of texts whose bigrams, folded, have at least this similarity."""
    folded = fold(texts)
    groups = exact_groups(folded)
    sets = gram_sets(take(folded, np.unique(groups, return_index=True)[1]), single=False)
    pairs, similarity = _similar(sets, threshold, seed)
    return Near(groups, pairs[:, 0], pairs[:, 1], similarity)


def nearest(near, rows):
    """Of each number in `groups` the most similar of these rows, -1 if there is none, and the similarity."""
    found = np.full(near.groups.max() + 1, -1)
    found[near.groups[rows[::-1]]] = rows[::-1]
    similarity = (found >= 0).astype(np.float32)
    own = np.concatenate((near.first, near.second))
    other = found[np.concatenate((near.second, near.first))]
    values = np.tile(near.similarity, 2)
    use = np.flatnonzero((found[own] < 0) & (other >= 0))
    use = use[np.argsort(values[use], kind="stable")]  # the highest is assigned last
    similarity[own[use]], found[own[use]] = values[use], other[use]
    return found, similarity


def _similar(sets, threshold, seed):
    """The pairs of similar sets, (M, 2), the lower index first, and their similarity, (M,)."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sets.offsets) - 1)  # so that the neighbours in a large band are a random sample
    sets = take(sets, order)
    sketches, lengths = _sketches(sets), sets.lengths
    known, similarity = np.zeros(0, np.uint64), np.zeros(0, np.float32)
    for _ in range(BANDS):
        candidates = np.setdiff1d(_candidates(_band(sets, rng)), known, assume_unique=True)
        candidates = candidates[_may_share(sketches, lengths, candidates, threshold)]
        new = _jaccard(sets, candidates)
        similar = new >= threshold
        known = np.concatenate((known, candidates[similar]))
        similarity = np.concatenate((similarity, new[similar]))
    pairs = order[np.stack((known >> 32, known & LOW), axis=1).astype(np.int64)]
    return np.sort(pairs, axis=1), similarity


def _band(sets, rng):
    """A band's key of each set, (N,) uint64."""
    keys = np.zeros(len(sets.offsets) - 1, np.uint64)
    for multiplier, shift in rng.integers(0, 1 << 32, (HASHES, 2), dtype=np.uint32):
        for start, end in blocks_of(sets.offsets):
            offsets = sets.offsets[start : end + 1]
            hashes = _mixed(sets.ids[offsets[0] : offsets[-1]] * (multiplier | 1) + shift)
            block = keys[start:end]
            block += np.minimum.reduceat(hashes, offsets[:-1] - offsets[0])
            block *= np.uint64(0x9E3779B97F4A7C15)
    return keys


def _mixed(hashes):
    """Numbers, (M,) uint32, after the last steps of MurmurHash3."""
    hashes ^= hashes >> 15
    hashes *= np.uint32(0x85EBCA6B)
    hashes ^= hashes >> 13
    hashes *= np.uint32(0xC2B2AE35)
    return hashes


def _candidates(keys):
    """The pairs of neighbours among the rows of each key, first << 32 | second, (M,) uint64, sorted.

    Keys with the same upper 32 bits count as the same: what these add is compared exactly later.
    """
    keys = np.sort(keys & ~LOW | np.arange(len(keys), dtype=np.uint64))
    order, keys = keys & LOW, keys >> 32
    shared = np.zeros(len(keys), bool)
    shared[1:] = keys[1:] == keys[:-1]
    shared[:-1] |= shared[1:]
    order, keys = order[shared], keys[shared]
    pairs = [np.zeros(0, np.uint64)]
    for distance in range(1, NEIGHBOURS + 1):
        same = keys[distance:] == keys[:-distance]
        pairs.append((order[:-distance] << 32 | order[distance:])[same])
    return np.sort(np.concatenate(pairs))


def _sketches(sets):
    """A bit for each n-gram of each set, (N, SKETCH_WORDS) uint64. Several n-grams may have the same bit."""
    sketches = np.zeros((len(sets.offsets) - 1, SKETCH_WORDS), np.uint64)
    for start, end in blocks_of(sets.offsets):
        offsets = sets.offsets[start : end + 1]
        hashes = _mixed(sets.ids[offsets[0] : offsets[-1]].copy())
        words, bits = (hashes >> 6) % SKETCH_WORDS, np.uint64(1) << (hashes & 63).astype(np.uint64)
        for word in range(SKETCH_WORDS):
            own = np.where(words == word, bits, 0)
            sketches[start:end, word] = np.bitwise_or.reduceat(own, offsets[:-1] - offsets[0])
    return sketches


def _may_share(sketches, lengths, pairs, threshold):
    """Whether the two sets of each pair may have at least this similarity, (M,) bool.

    A bit that one set has alone is at least one n-gram that it has alone.
    """
    rows = (pairs >> 32).astype(np.int64), (pairs & LOW).astype(np.int64)
    (first, second), sizes = (sketches[row] for row in rows), [lengths[row] for row in rows]
    alone = [np.bitwise_count(a & ~b).sum(axis=1, dtype=np.int64) for a, b in ((first, second), (second, first))]
    shared = np.minimum(sizes[0] - alone[0], sizes[1] - alone[1])
    return shared * (1 + threshold) >= (sizes[0] + sizes[1]) * threshold - 1e-3


def _jaccard(sets, pairs):
    """The Jaccard similarity of the two sets of each pair, (M,) float32."""
    found = np.zeros(len(pairs), np.float32)
    lengths = sets.lengths[(pairs >> 32).astype(np.int64)] + sets.lengths[(pairs & LOW).astype(np.int64)]
    for start, end in blocks_of(offsets_of(lengths)):
        block = pairs[start:end]
        keys, total = [], 0
        for rows in (block >> 32, block & LOW):
            own = take(sets, rows.astype(np.int64))
            keys.append(np.repeat(np.arange(len(block), dtype=np.uint64), own.lengths) << 32 | own.ids)
            total = total + own.lengths
        keys = np.sort(np.concatenate(keys))
        common = (keys[1:][keys[1:] == keys[:-1]] >> 32).astype(np.int64)
        shared = np.bincount(common, minlength=len(block))
        found[start:end] = shared / (total - shared)
    return found
