"""What a text becomes: tokens (characters or words), their ids, and rows of ids in one flat array."""

import functools
import hashlib
import itertools
import json
import re

import numpy as np

from cli.console import UserError
from text.rows import Rows, ids_type, spans_of, texts_of

UNK, PAD = "<UNK>", "<PAD>"
SEGMENTERS = ("char", "space", "jieba")


def words(text, segmenter):
    """A text's words: split at spaces, or segmented by jieba."""
    if segmenter == "space":
        return text.split()
    text = text.encode(errors="replace").decode()  # half of a surrogate pair is no text to Rust
    return [word for word in _jieba().cut(text) if not word.isspace()]


@functools.cache
def _jieba():
    import rjieba  # loads its dictionary, which those who use characters need not wait for

    return rjieba


def choose_segmenter(texts):
    """`space` where the texts lie segmented already (three Chinese characters a piece or fewer), else `jieba`."""
    pieces = [piece for text in texts for piece in text.split()]
    chinese = [count for piece in pieces if (count := len(re.findall(r"[\u3400-\u9fff]", piece)))]
    return "space" if not chinese or sum(chinese) / len(chinese) <= 3 else "jieba"


class RawTokens:
    """Numbers the tokens of texts, characters or words, as they come, before there is a vocabulary of them."""

    def __init__(self, segmenter):
        self.segmenter, self.numbers, self.counts = segmenter, {}, np.zeros(1 << 16, np.int64)
        self.table = np.full(0x110000, -1, np.int32)  # the number of each code point, -1 before it was seen

    def look(self, texts):
        """What `add` needs to know of a `Rows` of code points; a thread may do this ahead of it."""
        if self.segmenter != "char":
            return [words(text, self.segmenter) for text in texts_of(texts)]
        return texts, self.table.take(texts.ids)

    def add(self, looked):
        """Takes a block of texts; returns it as a `Rows` of numbers."""
        if self.segmenter != "char":
            self._extend(itertools.chain.from_iterable(looked))
            rows = _word_rows(looked, self.numbers.__getitem__)
        else:
            texts, numbers = looked
            if numbers.min() < 0:  # the blocks before this one may have brought them since
                numbers = self.table.take(texts.ids)
                self._number(texts.ids[numbers < 0])
                numbers = self.table.take(texts.ids)
            rows = Rows(numbers, texts.offsets)
        found = np.bincount(rows.ids)
        if len(found) > len(self.counts):
            self.counts = np.append(self.counts, np.zeros(len(found), np.int64))
        self.counts[: len(found)] += found
        return Rows(rows.ids.astype(ids_type(len(self.numbers))), rows.offsets)

    def _number(self, codes):
        seen = np.zeros(codes.max(initial=0) + 1, bool)
        seen[codes] = True
        new = np.flatnonzero(seen)
        self.table[new] = np.arange(len(self.numbers), len(self.numbers) + len(new))
        self._extend(map(chr, new.tolist()))

    def _extend(self, tokens):
        for token in tokens:
            if token not in self.numbers:
                self.numbers[token] = len(self.numbers)

    def vocabulary(self, max_vocab):
        """At most `max_vocab` tokens, the most frequent first, equal ones as they came or are coded."""
        names, counts = list(self.numbers), self.counts[: len(self.numbers)]
        places = np.array(list(map(ord, names)) if self.segmenter == "char" else range(len(names)), np.int64)
        order = np.lexsort((places, -counts))[:max_vocab]
        return Vocabulary([names[i] for i in order], self.segmenter)

    def ids(self, vocabulary):
        """The vocabulary's id of each number."""
        return np.fromiter(map(vocabulary.id_of, self.numbers), ids_type(len(vocabulary)), len(self.numbers))


class Vocabulary:
    """Tokens by falling frequency, then the unknown token, then padding: a token's id is its place.

    segmenter: `char`, or `space` or `jieba` for words.
    """

    end = None  # the id that a row which is cut ends with: none of its own

    def __init__(self, tokens, segmenter="char"):
        if segmenter not in SEGMENTERS:
            raise UserError(f"segmenter {segmenter!r} is unknown, expected one of {', '.join(SEGMENTERS)}")
        self.tokens, self.segmenter = [*tokens, UNK, PAD], segmenter
        self.ids = {token: i for i, token in enumerate(tokens)}  # a word "<PAD>" in a text is no padding
        self.unk, self.pad = len(tokens), len(tokens) + 1

    def __len__(self):
        return len(self.tokens)

    @property
    def content(self):
        """What a checkpoint keeps: the arguments that make the same vocabulary."""
        return {"tokens": self.tokens[: self.unk], "segmenter": self.segmenter}

    @property
    def package(self):
        """The package that decides a text's tokens too."""
        return "rjieba" if self.segmenter == "jieba" else None

    @property
    def digest(self):
        return hashlib.sha256(json.dumps(self.content).encode()).hexdigest()[:16]

    def id_of(self, token):
        return self.ids.get(token, self.unk)

    @functools.cached_property
    def table(self):
        """The id of each code point, (0x110000,)."""
        table = np.full(0x110000, self.unk, ids_type(len(self)))
        characters = self.tokens[: self.unk]
        table[[ord(character) for character in characters]] = np.arange(len(characters))
        return table

    def encode(self, spans):
        """Texts, a `Rows` of code points, as a `Rows` of ids."""
        if self.segmenter == "char":
            return Rows(self.table.take(spans.ids), spans.offsets)
        return _word_rows([words(text, self.segmenter) for text in texts_of(spans)], self.id_of)

    def encode_texts(self, texts):
        """A list of texts as a `Rows` of ids."""
        return self.encode(spans_of(texts))


def _word_rows(tokens, number):
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    ids = np.fromiter(map(number, itertools.chain.from_iterable(tokens)), np.int32, lengths.sum())
    return Rows(ids, np.concatenate(([0], np.cumsum(lengths))))
