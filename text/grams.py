"""Texts as sets of character n-grams, and texts folded: without what makes no difference to a reader.

Folding maps full-width to half-width characters, capitals to small letters and traditional to simplified characters,
and drops white space, punctuation and characters that are not shown.
"""

import itertools
import unicodedata

import numpy as np

from text.chinese import SIMPLIFIED
from text.rows import Rows, gather, offsets_of

BLOCK = 1 << 18  # characters or n-grams that are processed together
MOST_CHARACTERS = (1 << 16) - 1  # that have an id of their own; beyond, those with the highest code points share one


def fold(texts):
    """The folded texts, a `Rows` of code points; a text of which nothing would be left stays as it is."""
    table = np.zeros(0x110000, np.uint32)
    used = np.unique(texts.ids)
    table[used] = [_folded(chr(code)) for code in used.tolist()]
    codes = table[texts.ids]
    empty = np.maximum.reduceat(codes, texts.offsets[:-1]) == 0
    codes = np.where(np.repeat(empty, texts.lengths), texts.ids, codes)
    kept = codes > 0
    return Rows(codes[kept], np.concatenate(([0], np.cumsum(kept)))[texts.offsets])


def _folded(character):
    """The code point of a character after folding, 0 if it is dropped."""
    normal = unicodedata.normalize("NFKC", character).lower()
    if len(normal) != 1:
        return ord(character)
    return 0 if unicodedata.category(normal)[0] in "PZC" else ord(SIMPLIFIED.get(normal, normal))


def gram_sets(texts, single):
    """The different n-grams of each text, sorted: a `Rows` of uint32, bigrams of the ids of two characters.

    single: whether single characters are n-grams too. Otherwise only a text of one character has one.
    """
    size = len(texts.offsets) - 1
    table = np.zeros(0x110000, np.uint32)
    used = np.unique(texts.ids)
    table[used] = np.minimum(np.arange(1, len(used) + 1), MOST_CHARACTERS)
    parts, counts = [], np.zeros(size, np.int64)
    for start, end in blocks_of(texts.offsets):
        lengths = np.diff(texts.offsets[start : end + 1])
        ids = table[texts.ids[texts.offsets[start] : texts.offsets[end]]].astype(np.uint64)
        rows = np.repeat(np.arange(end - start, dtype=np.uint64), lengths)
        same = rows[1:] == rows[:-1]
        bigrams = (rows[1:] << 32 | ids[:-1] << 16 | ids[1:])[same]
        alone = slice(None) if single else np.repeat(lengths == 1, lengths)
        keys = np.sort(np.concatenate((bigrams, (rows << 32 | ids)[alone])))
        keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
        parts.append(keys.astype(np.uint32))  # the lower half
        counts[start:end] = np.bincount((keys >> 32).astype(np.int64), minlength=end - start)
    return Rows(np.concatenate(parts) if parts else np.zeros(0, np.uint32), offsets_of(counts))


def blocks_of(offsets):
    """The start and end of blocks of rows, of about `BLOCK` elements together, and of one row at least."""
    starts = np.searchsorted(offsets, np.arange(0, offsets[-1], BLOCK))
    return itertools.pairwise(np.unique([*starts, len(offsets) - 1]).tolist())


def take(rows, index):
    """The rows at these indices, (M,)."""
    return gather(rows.ids, rows.offsets[index], rows.lengths[index])
