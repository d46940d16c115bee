"""What a text becomes: tokens (characters or words), their ids, and rows of ids in one flat array."""

import functools
import itertools
import re
from typing import NamedTuple

import numpy as np

from console import UserError

UNK, PAD = "<UNK>", "<PAD>"
SEGMENTERS = ("char", "space", "jieba")


class Rows(NamedTuple):
    """Rows of different lengths: row i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: np.ndarray  # (tokens,)
    offsets: np.ndarray  # (rows + 1,) int64

    @property
    def lengths(self):
        return np.diff(self.offsets)

    def cut(self, limit):
        """The same rows, each shortened to its first `limit` ids."""
        lengths = np.minimum(self.lengths, limit)
        return gather(self.ids, self.offsets[:-1], lengths)


def gather(flat, starts, lengths):
    """Rows of the spans `flat[starts[i]:starts[i] + lengths[i]]`."""
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    if offsets[-1] == len(flat) and np.array_equal(starts, offsets[:-1]):
        return Rows(flat, offsets)
    shift = np.repeat(starts - offsets[:-1], lengths)
    shift += np.arange(offsets[-1])
    return Rows(flat[shift], offsets)


def concatenate(parts):
    """One `Rows` of several."""
    lengths = np.concatenate([part.lengths for part in parts])
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return Rows(np.concatenate([part.ids for part in parts]), offsets)


def codepoints(text):
    """A text's characters as an array of Unicode code points, uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def text_of(codes):
    """The inverse of `codepoints`."""
    return codes.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


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
    """Collects the tokens of texts before there is a vocabulary: characters are their code points, words are numbered
    as they come. `count` then makes the vocabulary, and `encode` turns the collected numbers into its ids."""

    def __init__(self, segmenter):
        self.segmenter, self.parts, self.numbers = segmenter, [], {}

    def add(self, spans):
        """Takes a block of texts, a `Rows` of code points."""
        if self.segmenter != "char":
            counter = itertools.count(len(self.numbers))
            tokens = [words(text, self.segmenter) for text in texts_of(spans)]
            for word in itertools.chain.from_iterable(tokens):
                if word not in self.numbers:
                    self.numbers[word] = next(counter)
            spans = _word_rows(tokens, self.numbers.__getitem__)
        self.parts.append(spans)

    def count(self, max_vocab):
        """The vocabulary: at most `max_vocab` tokens, the most frequent first, equal ones as they came or are coded."""
        total = np.zeros(0x110000 if self.segmenter == "char" else len(self.numbers), np.int64)
        for part in self.parts:
            total += np.bincount(part.ids, minlength=len(total))
        seen = np.flatnonzero(total)
        order = seen[np.argsort(-total[seen], kind="stable")][:max_vocab]
        names = list(self.numbers)
        tokens = [chr(i) if self.segmenter == "char" else names[i] for i in order]
        return Vocabulary(tokens, self.segmenter)

    def encode(self, vocabulary):
        """All collected rows as the vocabulary's ids."""
        if self.segmenter == "char":
            table = vocabulary.table
        else:
            table = np.fromiter(map(vocabulary.id_of, self.numbers), np.int32, len(self.numbers))
        return concatenate([Rows(table[part.ids], part.offsets) for part in self.parts])


class Vocabulary:
    """Tokens by falling frequency, then the unknown token, then padding: a token's id is its place.

    segmenter: `char`, or `space` or `jieba` for words.
    """

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

    def id_of(self, token):
        return self.ids.get(token, self.unk)

    @functools.cached_property
    def table(self):
        """The id of each code point, (0x110000,) int32."""
        table = np.full(0x110000, self.unk, np.int32)
        characters = self.tokens[: self.unk]
        table[[ord(character) for character in characters]] = np.arange(len(characters))
        return table

    def encode(self, spans):
        """Texts, a `Rows` of code points, as a `Rows` of ids."""
        if self.segmenter == "char":
            return Rows(self.table[spans.ids], spans.offsets)
        return _word_rows([words(text, self.segmenter) for text in texts_of(spans)], self.id_of)

    def encode_texts(self, texts):
        """A list of texts as a `Rows` of ids."""
        return self.encode(spans_of(texts))

    def cut(self, rows, limit):
        """The same rows, each shortened to `limit` ids."""
        return rows.cut(limit)


def spans_of(texts):
    """A list of texts as a `Rows` of code points."""
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return Rows(codepoints("".join(texts)), np.concatenate(([0], np.cumsum(lengths))))


def texts_of(spans):
    """The inverse of `spans_of`."""
    text = text_of(spans.ids)
    ends = spans.offsets.tolist()
    return [text[start:end] for start, end in itertools.pairwise(ends)]


def _word_rows(tokens, number):
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    ids = np.fromiter(map(number, itertools.chain.from_iterable(tokens)), np.int32, lengths.sum())
    return Rows(ids, np.concatenate(([0], np.cumsum(lengths))))
