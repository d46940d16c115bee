"""Vocabularies: a text becomes tokens (characters or words), and tokens become ids."""

import functools
import hashlib
import itertools
import json
import re

import numpy as np

from cli.console import UserError
from text.aliases import NOTHING, UNKNOWN, Aliases, most_frequent, without
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


def character_vocabulary(counts, aliases, max_vocab, marks_words=False):
    """The Vocabulary of the `max_vocab` most frequent characters of texts; among equals by code point.

    counts: how often the texts have each code point, (0x110000,). aliases, marks_words: as of a `Vocabulary`.
    """
    read = np.bincount(Aliases(aliases).table, counts)
    read[ord(NOTHING)] = 0
    return Vocabulary(list(map(chr, most_frequent(read)[:max_vocab].tolist())), "char", None, marks_words, aliases)


class WordCounter:
    """Counts the words of texts, and gives each a provisional id, in order of appearance.

    segmenter, aliases: as of a `Vocabulary`.
    """

    def __init__(self, segmenter, aliases):
        self.segmenter, self.aliases = segmenter, Aliases(aliases)
        self.ids, self.counts = {}, np.zeros(0, np.int64)

    def add(self, texts):
        """Counts a block of texts, a `Rows` of code points; returns it as a `Rows` of provisional ids."""
        tokens = [words(text, self.segmenter) for text in texts_of(self.aliases.read(texts))]
        for word in itertools.chain.from_iterable(tokens):
            self.ids.setdefault(word, len(self.ids))
        rows = rows_of_tokens(tokens, self.ids.__getitem__)
        counts = np.bincount(rows.ids, minlength=len(self.ids))
        counts[: len(self.counts)] += self.counts
        self.counts = counts
        return rows

    def vocabulary(self, max_vocab):
        """The Vocabulary of the `max_vocab` most frequent words; among equals by appearance."""
        found = list(self.ids)
        tokens = [found[i] for i in most_frequent(self.counts)[:max_vocab]]
        return Vocabulary(tokens, self.segmenter, aliases=self.aliases.pairs)

    def final_ids(self, vocabulary):
        """The vocabulary's id of each provisional id."""
        return np.fromiter(map(vocabulary.id_of, self.ids), vocabulary.dtype, len(self.ids))


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
        """This vocabulary with the tokens of another one that it does not have, and with the aliases of that one.

        All ids but that of padding stay.
        """
        tokens = [*self.ids, *(token for token in other.ids if token not in self.ids)]
        return Vocabulary(tokens, self.segmenter, self.unk, self.marks_words, other.aliases.pairs)

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
