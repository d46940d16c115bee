"""Rows of different lengths in one flat array: texts as code points, or encoded as token ids."""

import hashlib
import itertools
from typing import NamedTuple

import numpy as np

BLOCK = 1 << 20  # entries of an array that may be larger than the memory
GATHERED = 1 << 16  # rows that are gathered together


class Rows(NamedTuple):
    """Rows of different lengths: row i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray  # (tokens,)
    offsets: np.ndarray  # (rows + 1,) int64

    @property
    def lengths(self):
        return np.diff(self.offsets)

    def length_blocks(self):
        """The lengths, a block at a time: those of a hundred million rows take most of a gigabyte."""
        for start in range(0, len(self.offsets) - 1, BLOCK):
            yield np.diff(self.offsets[start : start + BLOCK + 1])


def blocks(array):
    """A large array, a block at a time."""
    return (array[start : start + BLOCK] for start in range(0, len(array), BLOCK))


def ids_dtype(count):
    """The smallest dtype that is used for ids below `count`."""
    return np.uint16 if count <= 1 << 16 else np.int32


def sample_of(row_ids, most):
    """These row ids in order, or a random sample of so many of them, at least one; the same each time."""
    most = max(1, most)
    return row_ids if len(row_ids) <= most else np.sort(np.random.default_rng(0).choice(row_ids, most, replace=False))


def drawn(total, most, seed):
    """The ids of all of `total` rows, or of a random sample of `most` of them, in random order."""
    rng = np.random.default_rng(seed)
    if total <= max(most, BLOCK):  # the draw of earlier versions, so that a seed gives the same model
        return rng.permutation(total)[:most]
    return rng.choice(total, most, replace=False)  # a permutation of 100 million ids takes 800 MB


def offsets_of(lengths):
    """The offsets of rows of these lengths, (N,) -> (N + 1,)."""
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))


def gather(flat, starts, lengths):
    """Rows of the spans `flat[starts[i]:starts[i] + lengths[i]]`."""
    offsets = offsets_of(lengths)
    if offsets[-1] == len(flat) and np.array_equal(starts, offsets[:-1]):
        return Rows(flat, offsets)
    ids = np.empty(offsets[-1], flat.dtype)
    for start in range(0, len(lengths), GATHERED):  # the indices take more memory than the ids
        part = slice(start, start + GATHERED)
        own = ids[offsets[start] : offsets[min(start + GATHERED, len(lengths))]]
        shift = np.repeat(starts[part] - offsets[start:-1][:GATHERED], lengths[part])
        shift += np.arange(offsets[start], offsets[start] + len(own))
        own[:] = flat[shift]
    return Rows(ids, offsets)


def concatenate(parts):
    """One `Rows` of several."""
    lengths = np.concatenate([part.lengths for part in parts])
    return Rows(np.concatenate([part.ids for part in parts]), offsets_of(lengths))


def parts_of(rows, size):
    """Rows in parts of about `size` ids, at least one part, without a copy."""
    marks = np.arange(size, len(rows.ids), size)
    bounds = np.unique(np.append(np.searchsorted(rows.offsets, marks), len(rows.offsets) - 1))
    for start, end in itertools.pairwise([0, *bounds.tolist()]):
        offsets = rows.offsets[start : end + 1]
        yield Rows(rows.ids[offsets[0] : offsets[-1]], offsets - offsets[0])


def marked(ids, marks):
    """Token ids with a mark each, 0 or 1, as one array."""
    return 2 * ids.astype(np.int32) + marks


def rows_of_tokens(tokens, id_of):
    """Lists of tokens as a `Rows` of the ids that `id_of` gives them."""
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    ids = np.fromiter(map(id_of, itertools.chain.from_iterable(tokens)), np.int32, lengths.sum())
    return Rows(ids, offsets_of(lengths))


def codepoints(text):
    """A text's characters as an array of Unicode code points, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def text_of(codes):
    """The inverse of `codepoints`."""
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def hashes_of(texts):
    """A hash of each text, (N,) uint64, the same in all processes."""
    encoded = (text.encode("utf-8", "surrogatepass") for text in texts)
    return np.frombuffer(b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in encoded), np.uint64)


def spans_of(texts):
    """A list of texts as a `Rows` of code points."""
    return Rows(codepoints("".join(texts)), offsets_of(np.fromiter(map(len, texts), np.int64, len(texts))))


def texts_of(spans):
    """The inverse of `spans_of`."""
    text = text_of(spans.ids)
    return [text[start:end] for start, end in itertools.pairwise(spans.offsets.tolist())]
