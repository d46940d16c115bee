"""Corpora: unlabelled text, a text a line, encoded once into arrays that are mapped from files.

What follows a tab (a label) is ignored. A long text becomes several rows; a split has all rows of a text, or none.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tokenizers.implementations import BertWordPieceTokenizer

from cli.console import UserError, say
from cli.files import digest_of
from cli.installation import version_of
from text.cache import cached
from text.files import blocks_of, decode
from text.rows import Rows, codepoints, ids_dtype, offsets_of, text_of
from text.wordpiece_files import from_pieces
from text.wordpieces import SPECIAL, WordPieces

CHUNK = 1 << 20  # characters that are encoded together, which take some 300 MB
SEGMENT = 1 << 16  # characters of a text that are encoded at once
LONGEST_WORD = 100  # characters: the tokenizer takes longer ones for unknown
IDEOGRAPHS = 0x3400, 0x4DC0, 0x4E00, 0xA000  # ranges of Chinese characters, each of which is a word to the tokenizer
MOST_WORDS = 1 << 20  # that are counted at a time
DEV_SHARE, DEV_ROWS = 0.02, 10_000  # of the rows, for validation, and how many at most


class Corpus(NamedTuple):
    """An encoded corpus."""

    rows: Rows  # of at most so many ids, each with [CLS] and [SEP]; if words are marked, by `rows.marked`
    texts: np.ndarray  # (texts + 1,) the first row of each text, and the number of rows
    vocabulary: WordPieces
    unknown: float  # share of the pieces that are unknown
    digest: str  # of the files


class RowSpans:
    """Spans of rows of a `Rows`, one after the other, without a copy of them.

    ids, offsets: those of all rows. starts, ends: (spans,) row ids, in order.
    """

    def __init__(self, rows, starts, ends):
        solid = ends > starts
        self.ids, self.offsets = rows
        self.starts, self.ends = starts[solid], ends[solid]
        self.bounds = offsets_of(self.ends - self.starts)

    def row_ids(self, indices):
        """The row ids of the rows with these indices in the spans."""
        return indices + (self.starts - self.bounds[:-1])[np.searchsorted(self.bounds, indices, side="right") - 1]

    def length_blocks(self):
        """The lengths of the rows, a block at a time."""
        for start, end in zip(self.starts, self.ends, strict=True):
            yield from Rows(self.ids, self.offsets[start : end + 1]).length_blocks()


def hold_out(corpus, seed):
    """The RowSpans for training and for validation, which have whole texts, drawn at random."""
    texts, rng = corpus.texts, np.random.default_rng(seed)
    room = min(DEV_ROWS, max(1, round(DEV_SHARE * int(texts[-1]))))
    drawn = rng.choice(len(texts) - 1, min(len(texts) - 2, room), replace=False)  # needs no array of all texts
    sizes, chosen = texts[drawn + 1] - texts[drawn], []
    for text, size in zip(drawn, sizes, strict=True):
        if size <= room:
            chosen.append(text)
            room -= size
    chosen = np.sort(chosen or drawn[sizes.argmin(keepdims=True)])
    starts, ends = texts[chosen], texts[chosen + 1]
    train = RowSpans(corpus.rows, np.append(0, ends), np.append(starts, texts[-1]))
    return train, RowSpans(corpus.rows, starts, ends)


def read_corpus(paths, limit, marks_words, vocabulary=None, vocab_size=None):
    """The Corpus in files, from the cache beside the first of them if it is there.

    limit: the ids of a row, at most; longer texts are split. marks_words: whether the ends of jieba's words are marked.
    vocabulary: a `WordPieces`; None for one of at most `vocab_size` pieces that is built from the corpus.
    Raises UserError if a file is not text, or if there are less than two texts.
    """
    paths = [Path(path) for path in paths]
    for path in paths:
        if path.exists() and not path.is_file():
            raise UserError(f"--corpus {path} is not a file, expected a file of text; it is read more than once")
    others = [digest_of(path) for path in paths[1:]]
    key = {"others": others, "limit": limit, "tokenizers": version_of("tokenizers")}
    key |= {"vocabulary": vocabulary.digest} if vocabulary else {"vocab_size": vocab_size}
    key |= {"words": version_of("rjieba")} if marks_words else {}

    def fill(draft):
        digest = digest_of(paths[0])
        chosen = vocabulary or _build_vocabulary(paths, vocab_size, draft)
        notes, unknown = _encode(paths, chosen, limit, marks_words, draft)
        if [digest_of(path) for path in paths] != [digest, *others]:
            raise UserError(f"--corpus {_listed(paths)}: changed while it was read; start again")
        return {"digest": digest, "notes": notes, "unknown": unknown, "tokenizer": chosen.content}

    entry = cached(paths[0], key, fill, paths[0].parent, "corpus")
    vocabulary = vocabulary or WordPieces(**entry.meta["tokenizer"])
    digest = ",".join(file[:16] for file in [entry.meta["digest"], *others])
    return Corpus(entry.rows("rows"), entry.arrays["texts"], vocabulary, entry.meta["unknown"], digest)


def _build_vocabulary(paths, size, draft):
    say("Vocabulary: built from the corpus")
    with open(draft.directory / "counted", "wb", buffering=0) as progress:  # processes that wait see that it grows

        def chunks():
            for chunk in _Chunks(paths):
                yield "\n".join(segment for segment, _ in chunk)
                progress.write(b".")

        vocabulary = build_wordpieces(chunks(), size)
    (draft.directory / "counted").unlink()
    return vocabulary


def _encode(paths, vocabulary, limit, marks_words, draft):
    """Writes the rows of a corpus to a draft; returns notes for the user and the share of pieces that are unknown."""
    ids = draft.column("rows.ids", ids_dtype(len(vocabulary) << marks_words))
    offsets = draft.offsets("rows.offsets")
    texts, chunks = draft.column("texts", np.int64), _Chunks(paths)
    pieces = unknown = rows = seen = 0
    last = -1  # the text of the last row
    for chunk in chunks:
        segments, is_first = map(list, zip(*chunk, strict=True))
        part, counts = vocabulary.encode_split(segments, limit, marks_words)
        ids.append(part.ids)
        offsets.append(part.offsets)
        bounds = rows + offsets_of(counts)
        text_ids = seen + np.cumsum(is_first) - 1  # a text may continue in the next chunk
        solid = np.flatnonzero(counts > 0)
        found, first = np.unique(text_ids[solid], return_index=True)
        texts.append(bounds[:-1][solid[first[found > last]]])
        seen, last = text_ids[-1] + 1, found.max(initial=last)
        rows = bounds[-1]
        pieces += len(part.ids) - 2 * (len(part.offsets) - 1)
        unknown += np.count_nonzero(part.ids >> marks_words == vocabulary.unk)
    if texts.count < 2:
        raise UserError(f"--corpus {_listed(paths)}: {texts.count} texts, expected two or more, one a line")
    texts.append([rows])
    return [f"{chunks.blank} blank lines skipped"] if chunks.blank else [], unknown / pieces


class _Chunks:
    """The texts of a corpus up to their first tab, in lists of about `CHUNK` characters.

    An item is a segment of a text, and whether it is the text's first one. `blank` counts the lines without a text.
    """

    def __init__(self, paths):
        self.paths, self.blank = paths, 0

    def __iter__(self):
        chunk, size = [], 0
        for text in self._texts():
            self.blank += not text
            for start in range(0, len(text), SEGMENT):
                segment = text[start : start + SEGMENT]
                chunk.append((segment, start == 0))
                size += len(segment)
                if size >= CHUNK:
                    yield chunk
                    chunk, size = [], 0
        if chunk:
            yield chunk

    def _texts(self):
        for path in self.paths:
            lines = 0
            for block in blocks_of(path):
                texts = decode(path, block, lines, advise=True).removesuffix("\n").split("\n")
                lines += len(texts)
                yield from (text.split("\t", 1)[0].strip() for text in texts)


def build_wordpieces(texts, size):
    """The tokenizer of at most `size` pieces for an iterable of texts: its characters, then its most frequent words.

    The memory is bounded: whenever there are too many words, the rarer half is only counted as characters.
    (The library's own trainer gives the pieces other ids in each process.)
    """
    rules = BertWordPieceTokenizer()
    words, pieces, counts = Counter(), Counter(), np.zeros(IDEOGRAPHS[-1], np.int64)
    for text in texts:
        codes = codepoints(text)
        is_word = np.searchsorted(IDEOGRAPHS, codes, side="right") % 2 > 0  # of one character: counted without a loop
        counts += np.bincount(codes[is_word], minlength=len(counts))
        rest = text_of(np.where(is_word, ord(" "), codes))
        found = rules.pre_tokenizer.pre_tokenize_str(rules.normalizer.normalize_str(rest))
        words.update(word for word, _ in found if len(word) <= LONGEST_WORD)
        if len(words) > MOST_WORDS:
            least = sorted(words.values())[len(words) // 2]
            rare = {word: count for word, count in words.items() if count <= least}
            _count_characters(rare, pieces)
            for word in rare:
                del words[word]
    _count_characters(words, pieces)
    pieces.update({chr(code): int(counts[code]) for code in np.flatnonzero(counts)})
    order = sorted(pieces, key=lambda piece: (-pieces[piece], piece))
    whole = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    names = [*SPECIAL, *order, *(word for word in whole if words[word] > 1)][:size]
    return from_pieces("the corpus", names, {})


def _count_characters(words, pieces):
    """Adds the characters of words, a dict of counts, to the counts of pieces."""
    for word, count in words.items():
        pieces[word[0]] += count
        for character in word[1:]:
            pieces[f"##{character}"] += count


def _listed(paths):
    return " ".join(map(str, paths))
