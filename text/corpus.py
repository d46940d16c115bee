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
from text.rows import Rows, codepoints, ids_dtype, offsets_of, parts_of
from text.spans import gather_ordered, trim
from text.stretches import Cutter
from text.wordpiece_files import from_pieces
from text.wordpieces import SPECIAL, WordPieces

CHUNK = 1 << 20  # characters that are encoded together, about, at most
SEGMENT = 1 << 16  # characters of a text that are encoded at once
LONGEST_WORD = 100  # characters: the tokenizer takes longer ones for unknown
NEWLINE, TAB = 10, 9
MOST_WORDS = 1 << 20  # or stretches of text with words, that are counted at a time
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
            for segments, _ in _Chunks(paths):
                yield segments
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
    for segments, is_first in chunks:
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
    """The texts of a corpus up to their first tab, a block of a file at a time.

    An item has segments of texts, a `Rows` of code points, and whether each is the first one of its text, (segments,).
    `blank` counts the lines without a text.
    """

    def __init__(self, paths):
        self.paths, self.blank = paths, 0

    def __iter__(self):
        for path in self.paths:
            lines = 0
            for block in blocks_of(path):
                codes = codepoints(decode(path, block, lines, advise=True).removesuffix("\n") + "\n")
                ends = np.flatnonzero(codes == NEWLINE)
                lines += len(ends)
                texts = self._texts(codes, ends)
                if len(texts.ids):
                    yield from _segments(texts)

    def _texts(self, codes, ends):
        """The texts of lines that end at these code points, a `Rows`."""
        starts, tabs = np.append(0, ends[:-1] + 1), np.append(np.flatnonzero(codes == TAB), len(codes))
        starts, ends = trim(codes, starts, np.minimum(ends, tabs[np.searchsorted(tabs, starts)]))
        solid = ends > starts
        self.blank += np.count_nonzero(~solid)
        return gather_ordered(codes, starts[solid], ends[solid])


def _segments(texts):
    """Texts, a `Rows`, as items of `_Chunks`."""
    counts = -(-texts.lengths // SEGMENT)
    text_ids = np.arange(len(counts)).repeat(counts)
    index = np.arange(len(text_ids)) - offsets_of(counts)[text_ids]  # of a segment in its text
    done, offsets = 0, np.append(texts.offsets[text_ids] + index * SEGMENT, len(texts.ids))
    for part in parts_of(Rows(texts.ids, offsets), CHUNK):
        first, done = done, done + len(part.offsets) - 1
        yield part, index[first:done] == 0


def build_wordpieces(texts, size):
    """The tokenizer of at most `size` pieces for an iterable of texts: its characters, then its most frequent words.

    texts: each is a `Rows` of code points. The memory is bounded: whenever there are too many words, the rarer half is
    only counted as characters. (The library's own trainer gives the pieces other ids in each process.)
    """

    def codes_of(characters):
        return [list(map(ord, "".join(cutter.words(character)))) for character in characters]

    cutter = Cutter(BertWordPieceTokenizer(), codes_of)
    stretches, pieces, counts = Counter(), Counter(), np.zeros(0x110000, np.int64)
    for spans in texts:
        codes, _, found = cutter.cut(spans)
        own = np.bincount(codes[codes >= 0])  # words of one character: counted without a loop
        counts[: len(own)] += own
        if max(map(len, found), default=0) > LONGEST_WORD:
            found = [word for stretch in found for word in _words(cutter, stretch)]
        stretches.update(found)
        if len(stretches) > MOST_WORDS:
            least = sorted(stretches.values())[len(stretches) // 2]
            rare = {stretch: count for stretch, count in stretches.items() if count <= least}
            _count_characters(_count_words(cutter, rare), pieces)
            for stretch in rare:
                del stretches[stretch]
    words = _count_words(cutter, stretches)
    _count_characters(words, pieces)
    pieces.update({chr(code): int(counts[code]) for code in np.flatnonzero(counts)})
    order = sorted(pieces, key=lambda piece: (-pieces[piece], piece))
    whole = sorted((word for word in words if len(word) > 1), key=lambda word: (-words[word], word))
    names = [*SPECIAL, *order, *(word for word in whole if words[word] > 1)][:size]
    return from_pieces("the corpus", names, {})


def _words(cutter, stretch):
    """The words of a stretch; the tokenizer takes longer ones than these for unknown."""
    return [word for word in cutter.words(stretch) if len(word) <= LONGEST_WORD]


def _count_words(cutter, stretches):
    """The words in stretches, a dict of counts, as a Counter."""
    words = Counter()
    for stretch, count in stretches.items():
        for word in _words(cutter, stretch):
            words[word] += count
    return words


def _count_characters(words, pieces):
    """Adds the characters of words, a dict of counts, to the counts of pieces."""
    for word, count in words.items():
        pieces[word[0]] += count
        for character in word[1:]:
            pieces[f"##{character}"] += count


def _listed(paths):
    return " ".join(map(str, paths))
