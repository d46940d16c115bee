"""Aliases: rare and unknown characters are read as known forms of them, and invisible ones are not read.

A known form of a character is one that is equal to it after folding: full-width forms become half-width ones
(Unicode's NFKC, of single characters), traditional characters simplified ones. So a model of simplified texts reads
traditional ones, and the other way round.
"""

import functools
import math
import re
import unicodedata
from collections import Counter

import numpy as np

from cli.console import UserError, listing
from text.rows import Rows, codepoints, offsets_of
from text.variants import ALL_SIMPLIFIED

ZERO_WIDTH = (  # zero-width and other characters that are not shown, except the joiner
    "\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
JOINER = "\u200d"  # of two emoji, which is not shown either
NOTHING = "\0"  # instead of a character that is not read
UNREAD = ZERO_WIDTH + JOINER + NOTHING
HIDDEN = "".join(character + NOTHING for character in UNREAD)  # the aliases that all vocabularies have
RARER = 20  # a form that is more than so many times rarer than another one is read as it
SHOWN = 3  # aliases in a message
HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair
UNKNOWN = 0xFFFD  # stands for a text of which nothing would be left
COMPATIBLE = (  # blocks with characters that NFKC maps to other single ones
    *(range(0xA0, 0x3400), range(0xF900, 0x10000)),  # ² ① Ａ ㎡
    *(range(0x1D400, 0x1D800), range(0x1F100, 0x1F200), range(0x2F800, 0x2FA20)),  # 𝐀 🄰 and ideographs
)


def folded(character):
    """A character after folding."""
    normal = unicodedata.normalize("NFKC", character)
    normal = normal if len(normal) == 1 else character
    return ALL_SIMPLIFIED.get(normal, normal)


@functools.cache
def forms():
    """The characters that share their folded form with others, each with that form, as a dict."""
    candidates = [chr(code) for block in COMPATIBLE for code in block]
    found = {character: folded(character) for character in (*candidates, *ALL_SIMPLIFIED)}
    found = {character: form for character, form in found.items() if form != character}
    return found | {form: form for form in found.values()}


def count_characters(texts, counts):
    """Adds to counts, (0x110000,), how often texts, a `Rows` of code points, have each code point."""
    found = np.bincount(texts.ids)
    counts[: len(found)] += found


def most_frequent(counts):
    """The indices of the counts above 0, the highest count first; among equals the lowest index."""
    found = np.flatnonzero(counts)
    return found[np.argsort(-counts[found], kind="stable")]


def aliases_of(known, counts=None):
    """The aliases for a vocabulary, as the string that an `Aliases` takes.

    known: characters that stay as they are, the most frequent first. counts: how often training has each code point,
    (0x110000,); other characters stay unless another form of them is more than `RARER` times as frequent.
    """
    frequency = dict.fromkeys(known, math.inf)
    for code in [] if counts is None else most_frequent(counts).tolist():
        frequency.setdefault(chr(code), counts[code])
    best = {}
    for character in frequency:
        best.setdefault(folded(character), character)
    new = [
        character + best[form]
        for character, form in forms().items()
        if form in best and RARER * frequency.get(character, 0) < frequency[best[form]]
    ]
    return "".join(new) + HIDDEN


class Aliases:
    """How texts are read before they are split into tokens.

    pairs: a string in which each character is followed by that which is read instead, or by `NOTHING`. Raises UserError
    for anything else.
    """

    def __init__(self, pairs):
        if type(pairs) is not str or len(pairs) % 2 or HALF.search(pairs):
            raise UserError("the aliases are no pairs of characters")
        self.pairs = pairs

    @property
    def codes(self):
        """The code points that have another form, and those of their forms, two arrays, (P,) each."""
        return codepoints(self.pairs).reshape(-1, 2).T

    @functools.cached_property
    def table(self):
        """The code point that is read instead of each one, (0x110000,)."""
        table = np.arange(0x110000, dtype=np.uint32)
        sources, instead = self.codes
        table[sources] = instead
        return table

    def read(self, spans):
        """What is read of texts, a `Rows` of code points."""
        return without(Rows(self.table.take(spans.ids), spans.offsets), ord(NOTHING), UNKNOWN)

    def replaced(self, counts):
        """How often characters are not read as themselves, a Counter by pairs of the character and its form.

        counts: how often texts have each code point, (0x110000,).
        """
        found = [(code, form) for code, form in self.codes.T.tolist() if counts[code]]
        return Counter({(chr(code), chr(form)): int(counts[code]) for code, form in found})


def notes_on(replaced):
    """Messages for the user about what is `replaced` in a file; `{path}` stands for the file's path."""
    unread = sum(count for (_, form), count in replaced.items() if form == NOTHING)
    read, notes = replaced.total() - unread, []
    if read:
        found = [pair for pair, _ in replaced.most_common() if pair[1] != NOTHING]
        pairs = listing([" as ".join(map(_shown, pair)) for pair in found], SHOWN)
        notes.append(f"{{path}}: {read} rare or unknown characters are read as known forms of them ({pairs})")
    if unread:
        notes.append(f"{{path}}: {unread} invisible characters are not read")
    return notes


def _shown(character):
    return repr(character) if character.isspace() else character


def without(rows, dropped, instead):
    """The rows without the ids that are `dropped`; a row of nothing else keeps one, as `instead`."""
    kept = rows.ids != dropped
    if kept.all():
        return rows
    count = offsets_of(kept)[rows.offsets]
    hollow = rows.offsets[:-1][(np.diff(count) == 0) & (rows.lengths > 0)]
    ids = rows.ids.copy()
    ids[hollow], kept[hollow] = instead, True
    return Rows(ids[kept], offsets_of(kept)[rows.offsets])
