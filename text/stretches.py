"""Texts cut where BERT's tokenizers always cut, so that only the stretches between need the tokenizers library.

A Chinese character, a punctuation mark or white space is apart from what stands beside it. Nothing acts across it:
BERT's normalizer changes each character by itself, except that it sorts combining marks between two other characters.
"""

import itertools
import json
import threading
from typing import NamedTuple

import numpy as np

from text.rows import gather, offsets_of, text_of

LOOSE, EMPTY, UNSEEN = -1, -2, -3  # in place of a character's value: part of a stretch, no token, not known yet
REMEMBERED = 1 << 18  # characters of stretches whose pieces are remembered


def can_cut(tokenizer):
    """Whether a `tokenizers.Tokenizer` works as BERT's does."""
    content = json.loads(tokenizer.to_str())
    parts = [(content[name] or {}).get("type") for name in ("normalizer", "pre_tokenizer", "model")]
    special = all(token["special"] for token in content["added_tokens"])  # others are tokens within a text
    return parts == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and special


class Cutter:
    """Cuts texts into characters that are apart from those beside them, each with a value, and the stretches between.

    tokenizer: one for which `can_cut` is true. values_of: returns a list of int, such as ids of pieces, for each
    character of a list; one without any is `EMPTY`, one with several is left in its stretch.
    """

    def __init__(self, tokenizer, values_of):
        self.normalizer, self.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
        self.values_of, self.values = values_of, np.full(0x110000, UNSEEN, np.int32)

    def words(self, text):
        """The words of a text, normalized."""
        return [word for word, _ in self.pre_tokenizer.pre_tokenize_str(self.normalizer.normalize_str(text))]

    def cut(self, spans):
        """Cuts texts, a `Rows` of code points.

        Returns each character's value, `EMPTY` or `LOOSE`, (characters,); the index of the first character of each
        stretch, (stretches,); and the stretches, a list.
        """
        codes = spans.ids
        tokens = self.values.take(codes)
        if tokens.min(initial=0) == UNSEEN:
            self._learn(np.unique(codes[tokens == UNSEEN]))
            tokens = self.values.take(codes)
        loose, begins = tokens == LOOSE, np.zeros(len(codes) + 1, bool)
        begins[spans.offsets] = True
        joined = loose[1:] & loose[:-1] & ~begins[1:-1]  # to the character before
        starts = np.flatnonzero(loose & ~np.append(False, joined))
        ends = np.flatnonzero(loose & ~np.append(joined, False)) + 1
        text = text_of(codes)
        return tokens, starts, [text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _learn(self, codes):
        characters = [character for character in map(chr, codes.tolist()) if self._is_apart(character)]
        found = dict(zip(characters, self.values_of(characters), strict=True))
        own = [found.get(chr(code), (LOOSE,)) for code in codes.tolist()]
        self.values[codes] = [LOOSE if len(tokens) > 1 else (*tokens, EMPTY)[0] for tokens in own]

    def _is_apart(self, character):
        words = self.words(f"a{character}a")
        return len(words) > 1 and words[0] == words[-1] == "a"


class Remembered(NamedTuple):
    """The pieces of the stretches that are remembered."""

    ids: np.ndarray  # (pieces,)
    places: np.ndarray  # (pieces,) the index of each one's first character in the stretch
    offsets: np.ndarray  # (stretches + 1,)


class Pieces:
    """The pieces of texts; each distinct stretch is encoded once, as long as it is remembered. Threads may share it.

    encode: gives each of a list of texts its `tokenizers.Encoding`, with offsets.
    """

    def __init__(self, tokenizer, encode):
        self.encode, self.lock = encode, threading.Lock()
        self.cutter = Cutter(tokenizer, lambda characters: [encoding.ids for encoding in encode(characters)])
        self._forget()

    def _forget(self):
        self.numbers, self.size = {}, 0  # of the stretches, by text; and of their characters
        self.known = Remembered(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(1, np.int64))

    def of(self, spans):
        """The pieces of texts, a `Rows` of code points.

        Returns their ids, (pieces,); their number in each text, (texts,); and the index of each one's first character,
        (pieces,).
        """
        tokens, starts, stretches = self.cutter.cut(spans)
        own, known = self._look_up(stretches)
        lengths = np.diff(known.offsets)[own]
        counts = (tokens >= 0).astype(np.int64)
        counts[starts] = lengths
        ids, places = tokens.repeat(counts), np.arange(len(tokens)).repeat(counts)
        loose = ids == LOOSE
        ids[loose] = gather(known.ids, known.offsets[own], lengths).ids
        places[loose] += gather(known.places, known.offsets[own], lengths).ids
        return ids, np.diff(offsets_of(counts)[spans.offsets]), places

    def _look_up(self, stretches):
        """The number of each stretch, (stretches,), and the `Remembered` in which it has this number."""
        with self.lock:
            if self.size > REMEMBERED:
                self._forget()
            new = [stretch for stretch in dict.fromkeys(stretches) if stretch not in self.numbers]
            if new:
                ids, lengths, places = flattened(self.encode(new))
                self.numbers |= zip(new, range(len(self.numbers), len(self.numbers) + len(new)), strict=True)
                self.size += sum(map(len, new))
                offsets = self.known.offsets[-1] + offsets_of(lengths)
                parts = zip(self.known, (ids, places, offsets[1:]), strict=True)
                self.known = Remembered(*map(np.concatenate, parts))
            return np.fromiter(map(self.numbers.__getitem__, stretches), np.int64, len(stretches)), self.known


def flattened(encodings):
    """The ids of encodings in one array, the number of each, and the index of each id's first character in its text."""
    pieces = [encoding.ids for encoding in encodings]
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    places = (start for encoding in encodings for start, _ in encoding.offsets)
    ids = np.fromiter(itertools.chain.from_iterable(pieces), np.int32, lengths.sum())
    return ids, lengths, np.fromiter(places, np.int64, len(ids))
