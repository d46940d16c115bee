"""Vocabularies: a text becomes tokens (characters or words), and tokens become ids."""

import functools
import hashlib
import itertools
import json
import re
from collections import Counter

import numpy as np

from cli.console import UserError
from text.aliases import HIDDEN, NOTHING, UNKNOWN, Aliases, aliases_of, without
from text.rows import Rows, ids_dtype, marked, rows_of_tokens, spans_of, texts_of

UNK, PAD = "<UNK>", "<PAD>"
SEGMENTERS = ("char", "space", "jieba")


def words(text, segmenter):
    """A text's words: split at spaces, or segmented by jieba."""
    if segmenter == "space":
        return text.split()
    return [word for word in cut(text) if not word.isspace()]


def cut(text):
    """A text's words by jieba, with its white space: together they are the text."""
    return _jieba().cut(text.encode(errors="replace").decode())  # Rust accepts no half of a surrogate pair


def word_ends(spans):
    """Whether a word of jieba ends at each character of texts, a `Rows` of code points, (characters,) of 0 and 1."""
    lengths = np.fromiter((len(word) for text in texts_of(spans) for word in cut(text)), np.int64)
    ends = np.zeros(len(spans.ids), np.uint8)
    ends[lengths.cumsum() - 1] = 1
    return ends


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
    """Counts the tokens of texts, characters or words, and gives each a provisional id, in order of appearance.

    marks_words: whether characters are marked where words end, as by a `Vocabulary`.
    """

    def __init__(self, segmenter, marks_words=False):
        self.segmenter, self.marks_words = segmenter, marks_words
        self.aliases, self.replaced = Aliases(HIDDEN), Counter()
        self.ids, self.counts = {}, np.zeros(1 << 16, np.int64)
        self.table = np.full(0x110000, -1, np.int32)  # the provisional id of each code point, -1 before it appears

    def prepare(self, texts):
        """What `add` needs of a `Rows` of code points; a thread may do this in advance."""
        self.replaced.update(self.aliases.replaced(texts))
        texts = self.aliases.read(texts)
        if self.segmenter != "char":
            return [words(text, self.segmenter) for text in texts_of(texts)]
        return texts, self.table.take(texts.ids), word_ends(texts) if self.marks_words else None

    def add(self, prepared):
        """Counts a block of texts; returns it as a `Rows` of provisional ids."""
        if self.segmenter != "char":
            self._extend(itertools.chain.from_iterable(prepared))
            rows = rows_of_tokens(prepared, self.ids.__getitem__)
        else:
            texts, ids, ends = prepared
            if ids.min() < 0:  # earlier blocks may have added these characters in the meantime
                ids = self.table.take(texts.ids)
                self._extend_characters(texts.ids[ids < 0])
                ids = self.table.take(texts.ids)
            rows = Rows(ids, texts.offsets)
        found = np.bincount(rows.ids)
        if len(found) > len(self.counts):
            self.counts = np.append(self.counts, np.zeros(len(found), np.int64))
        self.counts[: len(found)] += found
        ids = marked(rows.ids, ends) if self.marks_words else rows.ids
        return Rows(ids.astype(ids_dtype(len(self.ids) << self.marks_words)), rows.offsets)

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
        tokens = [names[i] for i in order]
        aliases = aliases_of(itertools.chain.from_iterable([*tokens, *names]))  # not of what training has seen
        return Vocabulary(tokens, self.segmenter, marks_words=self.marks_words, aliases=aliases)

    def final_ids(self, vocabulary):
        """The vocabulary's id of each provisional id, with and without a mark if there are marks."""
        if self.segmenter == "char":
            ids = vocabulary.table[list(map(ord, self.ids))]
        else:
            names = texts_of(vocabulary.aliases.read(spans_of(list(self.ids))))  # known ones may be other forms
            ids = np.fromiter(map(vocabulary.id_of, names), vocabulary.dtype, len(names))
        return marked(ids.repeat(2), np.tile([0, 1], len(ids))).astype(vocabulary.dtype) if self.marks_words else ids


class Vocabulary:
    """Tokens by falling frequency, then the unknown token, then padding: a token's id is its index.

    segmenter: `char`, or `space` or `jieba` for words. unk: the id of the unknown token, if tokens come after it: those
    by which a vocabulary was `extended`. marks_words: whether encoded characters are marked, as by `rows.marked`, where
    a word of jieba ends. aliases: as an `Aliases` takes them; None if texts are read as they are, as by earlier
    versions. Raises UserError if tokens are not what the segmenter makes.
    """

    end = None  # the id at the end of a row that is cut: encoders have one

    def __init__(self, tokens, segmenter="char", unk=None, marks_words=False, aliases=None):
        if segmenter not in SEGMENTERS:
            raise UserError(f"segmenter {segmenter!r} is unknown, expected one of {', '.join(SEGMENTERS)}")
        if not all(isinstance(token, str) and (segmenter != "char" or len(token) == 1) for token in tokens):
            raise UserError("a token of the vocabulary is not text, or not a single character")
        if type(marks_words) is not bool or (marks_words and segmenter != "char"):
            raise UserError("marks of words are for a vocabulary of characters")
        self.marks_words, self.aliases = marks_words, None if aliases is None else Aliases(aliases)
        self.unk, self.pad = len(tokens) if unk is None else unk, len(tokens) + 1
        if type(self.unk) is not int or not 0 <= self.unk <= len(tokens):
            raise UserError("the id of the unknown token is out of range")
        self.tokens, self.segmenter = [*tokens[: self.unk], UNK, *tokens[self.unk :], PAD], segmenter
        # a word "<PAD>" in a text is not padding
        self.ids = {token: i + (i >= self.unk) for i, token in enumerate(tokens)}

    def __len__(self):
        return len(self.tokens)

    @property
    def content(self):
        """What a checkpoint keeps: the arguments that make the same vocabulary."""
        content = {"tokens": list(self.ids), "segmenter": self.segmenter}
        content |= {"unk": self.unk} if self.unk < len(self.ids) else {}
        content |= {"aliases": self.aliases.pairs} if self.aliases else {}
        return content | ({"marks_words": True} if self.marks_words else {})

    @property
    def package(self):
        """The package that a text's tokens depend on; None if there is none."""
        return "rjieba" if self.marks_words or self.segmenter == "jieba" else None

    @property
    def dtype(self):
        """That of encoded ids."""
        return ids_dtype(len(self) << self.marks_words)

    @property
    def digest(self):
        return hashlib.sha256(json.dumps(self.content).encode()).hexdigest()[:16]

    def extended(self, other):
        """This vocabulary with the tokens of another one that it does not have, and aliases of all its tokens.

        All ids but that of padding stay.
        """
        tokens = [*self.ids, *(token for token in other.ids if token not in self.ids)]
        aliases = aliases_of(itertools.chain.from_iterable(tokens))
        return Vocabulary(tokens, self.segmenter, self.unk, self.marks_words, aliases)

    def id_of(self, token):
        return self.ids.get(token, self.unk)

    @functools.cached_property
    def table(self):
        """The id of each code point, (0x110000,), that of padding if it is not read."""
        table = np.full(0x110000, self.unk, self.dtype)
        table[[ord(character) for character in self.ids]] = list(self.ids.values())
        if self.aliases:
            sources, instead = self.aliases.codes
            table[sources] = np.where(instead == ord(NOTHING), self.pad, table[instead])
        return table

    def encode(self, spans):
        """Texts, a `Rows` of code points, as a `Rows` of ids."""
        if self.segmenter == "char" and not self.marks_words:
            return without(Rows(self.table.take(spans.ids), spans.offsets), self.pad, self.table[UNKNOWN])
        spans = self.aliases.read(spans) if self.aliases else spans  # before words are cut
        if self.marks_words:
            return Rows(marked(self.table.take(spans.ids), word_ends(spans)), spans.offsets)
        return rows_of_tokens([words(text, self.segmenter) for text in texts_of(spans)], self.id_of)

    def encode_texts(self, texts):
        """A list of texts as a `Rows` of ids."""
        return self.encode(spans_of(texts))
