"""Vocabularies: a text becomes tokens (characters or words), and tokens become ids."""

import functools
import hashlib
import itertools
import json
import re

import numpy as np

from cli.console import UserError
from text.rows import Rows, ids_dtype, rows_of_tokens, spans_of, texts_of

UNK, PAD = "<UNK>", "<PAD>"
SEGMENTERS = ("char", "space", "jieba")


def words(text, segmenter):
    """A text's words: split at spaces, or segmented by jieba."""
    if segmenter == "space":
        return text.split()
    text = text.encode(errors="replace").decode()  # Rust accepts no half of a surrogate pair
    return [word for word in _jieba().cut(text) if not word.isspace()]


@functools.cache
def _jieba():
    import rjieba  # loads its dictionary, which character models do not need

    return rjieba


def choose_segmenter(texts):
    """`space` if the texts are segmented already (at most three Chinese characters a piece), otherwise `jieba`."""
    pieces = [piece for text in texts for piece in text.split()]
    chinese = [count for piece in pieces if (count := len(re.findall(r"[\u3400-\u9fff]", piece)))]
    return "space" if not chinese or sum(chinese) / len(chinese) <= 3 else "jieba"


class TokenCounter:
    """Counts the tokens of texts, characters or words, and gives each a provisional id, in order of appearance."""

    def __init__(self, segmenter):
        self.segmenter, self.ids, self.counts = segmenter, {}, np.zeros(1 << 16, np.int64)
        self.table = np.full(0x110000, -1, np.int32)  # the provisional id of each code point, -1 before it appears

    def prepare(self, texts):
        """What `add` needs of a `Rows` of code points; a thread may do this in advance."""
        if self.segmenter != "char":
            return [words(text, self.segmenter) for text in texts_of(texts)]
        return texts, self.table.take(texts.ids)

    def add(self, prepared):
        """Counts a block of texts; returns it as a `Rows` of provisional ids."""
        if self.segmenter != "char":
            self._extend(itertools.chain.from_iterable(prepared))
            rows = rows_of_tokens(prepared, self.ids.__getitem__)
        else:
            texts, ids = prepared
            if ids.min() < 0:  # earlier blocks may have added these characters in the meantime
                ids = self.table.take(texts.ids)
                self._extend_characters(texts.ids[ids < 0])
                ids = self.table.take(texts.ids)
            rows = Rows(ids, texts.offsets)
        found = np.bincount(rows.ids)
        if len(found) > len(self.counts):
            self.counts = np.append(self.counts, np.zeros(len(found), np.int64))
        self.counts[: len(found)] += found
        return Rows(rows.ids.astype(ids_dtype(len(self.ids))), rows.offsets)

    def _extend_characters(self, codes):
        seen = np.zeros(codes.max(initial=0) + 1, bool)
        seen[codes] = True
        new = np.flatnonzero(seen)
        self.table[new] = np.arange(len(self.ids), len(self.ids) + len(new))
        self._extend(map(chr, new.tolist()))

    def _extend(self, tokens):
        for token in tokens:
            if token not in self.ids:
                self.ids[token] = len(self.ids)

    def vocabulary(self, max_vocab):
        """The vocabulary of the `max_vocab` most frequent tokens; among equals by code point, words by appearance."""
        names, counts = list(self.ids), self.counts[: len(self.ids)]
        rank = np.array(list(map(ord, names)) if self.segmenter == "char" else range(len(names)), np.int64)
        order = np.lexsort((rank, -counts))[:max_vocab]
        return Vocabulary([names[i] for i in order], self.segmenter)

    def final_ids(self, vocabulary):
        """The vocabulary's id of each provisional id."""
        return np.fromiter(map(vocabulary.id_of, self.ids), ids_dtype(len(vocabulary)), len(self.ids))


class Vocabulary:
    """Tokens by falling frequency, then the unknown token, then padding: a token's id is its index.

    segmenter: `char`, or `space` or `jieba` for words. Raises UserError if tokens are not what the segmenter makes.
    """

    end = None  # the id at the end of a row that is cut: encoders have one

    def __init__(self, tokens, segmenter="char"):
        if segmenter not in SEGMENTERS:
            raise UserError(f"segmenter {segmenter!r} is unknown, expected one of {', '.join(SEGMENTERS)}")
        if not all(isinstance(token, str) and (segmenter != "char" or len(token) == 1) for token in tokens):
            raise UserError("a token of the vocabulary is not text, or not a single character")
        self.tokens, self.segmenter = [*tokens, UNK, PAD], segmenter
        self.ids = {token: i for i, token in enumerate(tokens)}  # a word "<PAD>" in a text is not padding
        self.unk, self.pad = len(tokens), len(tokens) + 1

    def __len__(self):
        return len(self.tokens)

    @property
    def content(self):
        """What a checkpoint keeps: the arguments that make the same vocabulary."""
        return {"tokens": self.tokens[: self.unk], "segmenter": self.segmenter}

    @property
    def package(self):
        """The package that a text's tokens depend on; None if there is none."""
        return "rjieba" if self.segmenter == "jieba" else None

    @property
    def digest(self):
        return hashlib.sha256(json.dumps(self.content).encode()).hexdigest()[:16]

    def id_of(self, token):
        return self.ids.get(token, self.unk)

    @functools.cached_property
    def table(self):
        """The id of each code point, (0x110000,)."""
        table = np.full(0x110000, self.unk, ids_dtype(len(self)))
        characters = self.tokens[: self.unk]
        table[[ord(character) for character in characters]] = np.arange(len(characters))
        return table

    def encode(self, spans):
        """Texts, a `Rows` of code points, as a `Rows` of ids."""
        if self.segmenter == "char":
            return Rows(self.table.take(spans.ids), spans.offsets)
        return rows_of_tokens([words(text, self.segmenter) for text in texts_of(spans)], self.id_of)

    def encode_texts(self, texts):
        """A list of texts as a `Rows` of ids."""
        return self.encode(spans_of(texts))
