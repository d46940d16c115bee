"""An encoder's tokenizer: texts become rows of word pieces, with [CLS] before and [SEP] after each row."""

import contextlib
import functools
import hashlib
import re

import numpy as np
from tokenizers import Tokenizer

from cli.console import UserError, reason
from text.aliases import Aliases, aliases_of, forms
from text.rows import Rows, blocks, concatenate, ids_dtype, marked, offsets_of, parts_of, spans_of, texts_of
from text.stretches import Pieces, can_cut, flattened
from text.vocabulary import word_ends

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
SPECIAL_NAME = re.compile(r"\[.+\]")  # of these and of unused ones
CHUNK = 1 << 20  # characters of texts that are encoded together
FEW = 1 << 6  # characters that take less time as they are than cut
LARGEST = 10**7  # size of a vocabulary


class WordPieces:
    """A vocabulary of word pieces, with the methods of `vocabulary.Vocabulary`.

    tokenizer: the content of a tokenizer.json. aliases: as of a `Vocabulary`.
    """

    package = "tokenizers"  # on which a text's tokens depend
    marks_words = False

    def __init__(self, tokenizer, aliases=None):
        self.aliases = None if aliases is None else Aliases(aliases)
        with _reporting("no tokenizer", "expected the content of a tokenizer.json"):
            self.tokenizer = Tokenizer.from_str(tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True  # a "[SEP]" in a text is text
        ids = [self.tokenizer.token_to_id(token) for token in SPECIAL]
        missing = [token for token, i in zip(SPECIAL, ids, strict=True) if i is None]
        if missing:
            raise UserError(f"the tokenizer has no {', '.join(missing)}; expected a vocabulary of BERT's kind")
        self.pad, self.unk, self.cls, self.sep, self.mask = ids
        self.end = self.sep  # also of a row that is cut
        if len(self) > LARGEST:  # the library takes memory for each id below the largest
            raise UserError(f"the tokenizer has the id {len(self) - 1}, expected at most {LARGEST}")

    def __len__(self):
        return max(self.tokenizer.get_vocab().values()) + 1

    @property
    def content(self):
        """What a checkpoint keeps: the arguments that make the same vocabulary."""
        content = {"tokenizer": self.tokenizer.to_str()}
        return content | ({"aliases": self.aliases.pairs} if self.aliases else {})

    @property
    def dtype(self):
        """That of encoded ids."""
        return ids_dtype(len(self))

    @property
    def digest(self):
        return hashlib.sha256("".join(self.content.values()).encode()).hexdigest()[:16]

    def with_aliases(self):
        """The same vocabulary with aliases, of the characters that its pieces have, if it has none."""
        if self.aliases:
            return self
        known = set("".join(piece for piece in self.tokenizer.get_vocab() if not SPECIAL_NAME.fullmatch(piece)))
        normalizer = self.tokenizer.normalizer
        characters = sorted(forms(), key=lambda character: forms()[character] != character)  # folded ones first
        read = normalizer.normalize_str if normalizer else str
        characters = [character for character in characters if known.issuperset(read(character).strip())]
        return WordPieces(self.tokenizer.to_str(), aliases_of(characters))

    def encode(self, spans):
        """Texts, a `Rows` of code points, as a `Rows` of ids; an empty text stays empty."""
        spans = self.aliases.read(spans) if self.aliases else spans
        parts = [self._frame(*self._pieces(part)[:2], part.lengths > 0) for part in parts_of(spans, CHUNK)]
        return concatenate(parts)

    def _pieces(self, spans):
        """The ids of texts' pieces, their number in each text, and the index of each one's first character."""
        halves = spans.ids >> 11 == 0x1B  # of surrogate pairs, which the library does not accept
        spans = Rows(np.where(halves, ord("?"), spans.ids), spans.offsets) if halves.any() else spans
        if self._cut_pieces and len(spans.ids) > FEW:
            return self._cut_pieces.of(spans)
        ids, lengths, places = flattened(self._encodings(texts_of(spans)))
        return ids, lengths, places + spans.offsets[:-1].repeat(lengths)

    @functools.cached_property
    def _cut_pieces(self):
        """The `Pieces` of this tokenizer; None if it is not of BERT's kind."""
        return Pieces(self.tokenizer, self._encodings) if can_cut(self.tokenizer) else None

    def _encodings(self, texts):
        with _reporting("the tokenizer cannot encode", "fetch the encoder's files again"):
            return self.tokenizer.encode_batch(texts, add_special_tokens=False)

    def _frame(self, flat, lengths, framed, marks_words=False):
        """Rows of these lengths, with [CLS] before and [SEP] after those for which `framed` is true."""
        offsets = offsets_of(lengths + 2 * framed)
        ids = np.empty(offsets[-1], np.int32)
        inner = np.ones(len(ids), bool)
        first, last = offsets[:-1][framed], offsets[1:][framed] - 1
        inner[first] = inner[last] = False
        cls, sep = marked(np.array([self.cls, self.sep]), 1) if marks_words else (self.cls, self.sep)
        ids[first], ids[last], ids[inner] = cls, sep, flat
        return Rows(ids, offsets)

    def encode_texts(self, texts):
        """A list of texts as a `Rows` of ids."""
        return self.encode(spans_of(texts))

    def encode_split(self, spans, limit, marks_words=False):
        """Texts, of which none is empty, as rows of at most `limit` ids, and the number of rows of each text.

        spans: a `Rows` of code points. Each row has its own [CLS] and [SEP]. A text has no row if it has no pieces.
        marks_words: whether ids are marked, as by `rows.marked`, where a word of jieba ends.
        """
        ids, lengths, places = self._pieces(spans)
        most = limit - 2
        counts = -(-lengths // most)
        text_ids = np.repeat(np.arange(len(lengths)), counts)
        starts = (np.arange(len(text_ids)) - np.repeat(np.cumsum(counts) - counts, counts)) * most
        sizes, framed = np.minimum(most, lengths[text_ids] - starts), np.ones(len(text_ids), bool)
        ids = marked(ids, self._word_ends(spans, ids, places)) if marks_words else ids
        return self._frame(ids, sizes, framed, marks_words), counts

    def _word_ends(self, spans, ids, places):
        """Whether a word ends at each piece of texts, (pieces,): the word of jieba of the piece's first character.

        No word ends before a piece that begins with "##".
        """
        ends = word_ends(spans)
        words = (ends.cumsum(dtype=np.int64) - ends)[places]
        return np.append((words[1:] != words[:-1]) & ~self._continues[ids[1:]], [True] * bool(len(ids)))

    @functools.cached_property
    def _continues(self):
        """Whether each id's piece continues a word, (ids,)."""
        return np.array([piece.startswith("##") for piece in self.pieces()])

    def unknown(self, rows):
        """The share of the texts' pieces that are unknown."""
        unknown = sum(np.count_nonzero(ids == self.unk) for ids in blocks(rows.ids))
        framed = sum(np.count_nonzero(lengths) for lengths in rows.length_blocks())
        return unknown / max(1, len(rows.ids) - 2 * framed)

    def pieces(self):
        """Each id's piece, as a vocab.txt lists them; an id without a piece gets a unique name."""
        names = {i: token for token, i in self.tokenizer.get_vocab().items()}
        return [names.get(i, f"[unused id {i}]") for i in range(len(self))]


@contextlib.contextmanager
def _reporting(what, advice):
    """Turns whatever the library raises, which includes panics that are no Exception, into a UserError."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise UserError(f"{what} ({reason(error)}); {advice}") from error
