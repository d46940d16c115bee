"""Labelled files: class names, and the rows of a split, checked and as code points.

A labelled file is read without a Python loop over its rows, except to describe bad ones.
"""

import hashlib
import re
from codecs import BOM_UTF8
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.console import UserError, excerpt
from text.files import BLOCK, check_length, decode
from text.kind import COMMA, check_names, is_multi_label, kind_file
from text.rows import codepoints, hashes_of, text_of, texts_of
from text.spans import gather_ordered, span_hashes, split_at, trim

SPLITS = ("train", "dev", "test")
NEWLINE, TAB = 10, 9
LONGEST_NAME = 100  # characters of a class's name


def read_classes(path):
    """The class names in a class.txt. Raises UserError with the lines that are not the name of a class."""
    lines = decode(path, b"".join(_pieces(path)), 0, advise=True).rstrip().split("\n")
    classes = [line.strip() for line in lines]
    first = {name: i for i, name in reversed(list(enumerate(classes)))}
    problems = []
    for i, name in enumerate(classes):
        if not name:
            problems.append(f"  line {i + 1}: empty")
        elif "\t" in name:
            problems.append(f"  line {i + 1}: a tab in {excerpt(name)!r}")
        elif len(name) > LONGEST_NAME:
            problems.append(f"  line {i + 1}: {len(name)} characters, at most {LONGEST_NAME}: {excerpt(name)!r}")
        elif first[name] != i:
            problems.append(f"  line {i + 1}: {name!r} is already on line {first[name] + 1}")
    if problems:
        raise UserError(
            "\n".join([f"{path}: {len(problems)} bad lines, expected one class name a line", *problems[:10]])
        )
    return classes


def read_split(dataset, name):
    """A split's texts, and the index of each text's class, (N,), or its labels, (N, C) of 0 and 1."""
    blocks = list(split_file(dataset, name, read_classes(Path(dataset) / "data" / "class.txt")))
    texts = [text for rows, _ in blocks for text in texts_of(rows)]
    return texts, np.concatenate([labels for _, labels in blocks])


def split_file(dataset, name, classes):
    """The LabelledFile of a split."""
    data = Path(dataset) / "data"
    return LabelledFile(data / f"{name}.txt", classes, multi_label=is_multi_label(data))


def hashes_of_dataset(directory, classes):
    """The hashes of the texts of all splits, (N,) uint64."""
    blocks = (texts for name in SPLITS for texts, _ in split_file(directory, name, classes))
    return np.concatenate([hashes_of(texts_of(texts)) for texts in blocks])


def lines_with_rows(path):
    """The number, from 1, and the text of each line of a split's file that is not blank."""
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, line


class Block(NamedTuple):
    """What a block of a labelled file holds."""

    content: object  # its texts, a `Rows` of code points, or what `convert` made of them; None if there are none
    labels: np.ndarray  # (rows,) class indices, or (rows, C) uint8, 1 for the labels of a row
    lines: int
    blank: int  # lines
    bad: int  # lines
    problems: list  # (line in the block, what is wrong) of the first ten bad ones


class LabelledFile:
    """A split's file. Iterating yields, a block at a time, its texts, a `Rows` of code points, and their labels.

    convert: is applied to a block's texts, in the thread that reads them. multi_label: whether a row has any number of
    labels, between commas. At the end `digest` is the SHA-256 of the file's bytes, and `notes` are messages for the
    user, in which `{path}` stands for the file's path.
    Raises UserError at the end if rows were bad, with the first ten of them.
    """

    def __init__(self, path, classes, convert=lambda texts: texts, multi_label=False):
        self.path, self.classes, self.convert, self.multi_label = path, classes, convert, multi_label
        self.digest, self.notes = hashlib.sha256(), []
        if multi_label:
            check_names(path, classes)
        names = {label: i for i, label in enumerate(classes)}
        indices = {str(i): i for i in range(len(classes))}
        # if classes are themselves called by numbers, a number is a name: an index would be ambiguous
        self.takes_indices = not names.keys() & indices.keys()
        known = names | indices if self.takes_indices else names
        self.known, self.has_several = known.keys(), False  # the latter: whether a bad row has several known labels
        spelled = [codepoints(label) for label in known]
        lengths = np.array([len(label) for label in spelled])
        ends = np.cumsum(lengths)
        hashes = span_hashes(np.concatenate(spelled), ends - lengths, ends, max(lengths))
        order = np.argsort(hashes)
        self.hashes, self.values, self.lengths = hashes[order], np.array(list(known.values()))[order], lengths[order]
        self.spelled = np.zeros((len(order), max(lengths)), np.uint32)  # each label's code points, in that order
        for row, i in enumerate(order):
            self.spelled[row, : lengths[i]] = spelled[i]

    def __iter__(self):
        lines = blank = bad = 0
        problems, counts = [], np.zeros(len(self.classes), np.int64)
        for chunk, future in _ahead(self._read, _chunks(self.path, self.digest)):
            try:
                block = future.result()
            except UnicodeDecodeError:
                decode(self.path, chunk, lines, advise=True)  # raises an error with the line
                raise
            first = block.problems[: 10 - len(problems)]
            problems += [f"  line {lines + row}: {what}" for row, what in first]
            lines, blank, bad = lines + block.lines, blank + block.blank, bad + block.bad
            counts += self._count(block.labels)
            if block.content is not None:
                yield block.content, block.labels
        if bad:
            first = f", the first {len(problems)}" if bad > 10 else ""
            form = "text<TAB>labels between commas" if self.multi_label else "text<TAB>label"
            expected = f"expected {form}, a label being one of {self._label_range()}"
            if self.has_several:
                kind = kind_file(Path(self.path).parent)
                expected += f'; if a row may have several labels, write {{"multi_label": true}} to {kind}'
            raise UserError("\n".join([f"{self.path}: {bad} bad rows of {lines}; {expected}{first}:", *problems]))
        if blank == lines:
            raise UserError(f"{self.path} has no rows, only blank lines")
        if blank:
            self.notes.append(f"{{path}}: {blank} blank lines skipped")
        absent = [self.classes[i] for i in np.flatnonzero(counts == 0)]
        if absent:
            names = ", ".join(absent[:10])
            self.notes.append(f"Warning: {{path}} has no row of {len(absent)} classes: {names}")

    def _count(self, labels):
        """The rows of each class, (C,)."""
        if self.multi_label:
            return labels.sum(axis=0, dtype=np.int64)
        return np.bincount(labels, minlength=len(self.classes))

    def _read(self, chunk):
        """The Block of these whole lines, bytes."""
        codes = codepoints(chunk.decode("utf-8"))
        starts, ends, text_starts, text_ends, *label_spans = self._parse(codes)
        known, labels = self._label_sets(codes, *label_spans) if self.multi_label else self._labels(codes, *label_spans)
        good = (text_ends > text_starts) & known
        rest = np.flatnonzero(~good)
        solid_starts, solid_ends = trim(codes, starts[rest], ends[rest])
        bad = rest[solid_ends > solid_starts]
        problems = [(row + 1, self._what_is_wrong(text_of(codes[starts[row] : ends[row]]))) for row in bad[:10]]
        content = None
        if len(rest) < len(good):
            content = self.convert(gather_ordered(codes, text_starts[good], text_ends[good]))
        return Block(content, labels[good], len(ends), len(rest) - len(bad), len(bad), problems)

    def _parse(self, codes):
        """The start and end of each line, of its text and of its label.

        A line without exactly one tab has an empty text.
        """
        marks = np.flatnonzero(codes <= NEWLINE)
        is_end, is_tab = codes[marks] == NEWLINE, codes[marks] == TAB
        ends, tabs = marks[is_end], marks[is_tab]
        starts = np.concatenate(([0], ends[:-1] + 1))
        past = np.cumsum(is_tab)[is_end]  # tabs before each line's end
        one_tab = np.diff(past, prepend=0) == 1
        tab = np.where(one_tab, tabs[np.maximum(past, 1) - 1] if len(tabs) else 0, starts)
        return starts, ends, *trim(codes, starts, tab), *trim(codes, np.minimum(tab + 1, ends), ends)

    def _labels(self, codes, starts, ends):
        """Whether each span is a label, (rows,), and its class index."""
        labels = self._lookup(codes, starts, ends)
        return labels >= 0, labels

    def _label_sets(self, codes, starts, ends):
        """Whether each span has nothing but labels between commas, (rows,), and these labels, (rows, C) uint8."""
        rows, *parts = split_at(COMMA, codes, starts, ends)
        found = self._lookup(codes, *trim(codes, *parts))
        labels, known = np.zeros((len(starts), len(self.classes)), np.uint8), np.ones(len(starts), bool)
        known[rows[found < 0]] = False
        labels[rows[found >= 0], found[found >= 0]] = 1
        return known, labels

    def _lookup(self, codes, starts, ends):
        """The class index of each span, -1 if the span is no label."""
        hashes = span_hashes(codes, starts, ends, self.spelled.shape[1])
        row = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        lengths = ends - starts
        same = (self.hashes[row] == hashes) & (self.lengths[row] == lengths)
        for i in range(lengths[same].max(initial=0)):  # the code points too, since two spans may have the same hash
            code = codes[np.minimum(starts + i, len(codes) - 1)]
            same &= (code == self.spelled[row, i]) | (i >= lengths)
        return np.where(same, self.values[row], -1)

    def _label_range(self):
        shown_names = ", ".join(self.classes[:10]) + (", …" if len(self.classes) > 10 else "")
        indices = f"0 to {len(self.classes) - 1} or " if self.takes_indices else ""
        return f"{indices}{shown_names} (class.txt has {len(self.classes)})"

    def _what_is_wrong(self, line):
        fields = line.strip("\r").split("\t")
        start = repr(excerpt(line))
        if len(fields) == 1:
            return f"no tab in {start}"
        if len(fields) > 2:
            return f"{len(fields)} fields, not 2, in {start}"
        if not fields[0].strip():
            return f"an empty text in {start}"
        labels = [label.strip() for label in fields[1].split(",")]
        if self.multi_label:
            unknown = next(label for label in labels if label not in self.known)
        elif len(labels) > 1 and self.known >= set(labels):
            self.has_several = True
            return f"several labels, {excerpt(fields[1].strip())!r}"
        else:
            unknown = fields[1].strip()
        label = excerpt(unknown)
        if self.takes_indices and re.fullmatch("-?(0|[1-9][0-9]*)", label):
            return f"label {label} is out of range, 0 to {len(self.classes) - 1}"
        return f"label {label!r} is unknown" if label else f"an empty label in {start}"


def _pieces(path):
    """A file's bytes, `BLOCK` at a time."""
    empty = True
    try:
        with open(path, "rb") as file:
            while piece := file.read(BLOCK):
                yield piece
                empty = False
    except OSError as error:
        present = ", ".join(sorted(entry.name for entry in path.parent.glob("*"))) or "nothing"
        raise UserError(f"{path}: {error.strerror}; {path.parent} contains: {present}") from error
    if empty:
        raise UserError(f"{path} is empty")


def _chunks(path, digest):
    """A file's bytes as whole lines, each ended by a newline, without a byte-order mark; `digest` is updated."""
    parts, mark = [], BOM_UTF8
    for piece in _pieces(path):
        digest.update(piece)
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join((*parts, piece[:end])).removeprefix(mark)
            parts, mark = [], b""
        if end < len(piece):
            parts = [check_length(path, b"".join((*parts, piece[end:])))]
    if parts:
        yield b"".join((*parts, b"\n")).removeprefix(mark)


def _ahead(function, items):
    """Pairs of an item and the future of `function(item)`, in order; a thread computes up to two items ahead.

    (A second thread gains nothing: the two wait for each other at each call of NumPy.)
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = deque()
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > 2:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
