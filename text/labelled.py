"""Labelled files: class names, and the rows of a split, checked and as code points.

A labelled file is read without a Python loop over its rows, except to describe bad ones.
"""

import hashlib
from codecs import BOM_UTF8
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.console import UserError
from text.files import _pieces, decode
from text.rows import Rows, codepoints, text_of, texts_of

NEWLINE, TAB = 10, 9
SPACE = np.zeros(0x110000, bool)
SPACE[[code for code in range(0x3001) if chr(code).isspace()]] = True


def read_classes(path):
    """The class names in a class.txt."""
    classes = [line.strip() for line in decode(path, b"".join(_pieces(path)), 0, advise=True).rstrip().split("\n")]
    first = {name: i for i, name in reversed(list(enumerate(classes)))}
    problems = [
        f"  line {i + 1}: {name!r} stands at line {first[name] + 1} already" if name else f"  line {i + 1}: empty"
        for i, name in enumerate(classes)
        if not name or first[name] != i
    ]
    if problems:
        raise UserError(
            "\n".join([f"{path}: {len(problems)} bad lines, expected one class name a line", *problems[:10]])
        )
    return classes


class Block(NamedTuple):
    """What a block of a labelled file holds."""

    content: object  # its texts, a `Rows` of code points, or what `convert` made of them; None where there are none
    labels: np.ndarray  # (rows,) class indices
    lines: int
    blank: int  # lines
    bad: int  # lines
    problems: list  # (line in the block, what is wrong) of the first ten bad ones


class LabelledFile:
    """A split's file. Iterating yields, a block at a time, its texts, a `Rows` of code points, and their labels.

    convert: what is to become of a block's texts, in the thread that reads them. When all was read, `digest` is the
    sha256 of the file's bytes, and `notes` are what the user should be told, `{path}` standing for the file's path.
    Raises UserError at the end where rows were bad, naming the first ten of them.
    """

    def __init__(self, path, classes, convert=lambda texts: texts):
        self.path, self.classes, self.convert = path, classes, convert
        self.digest, self.notes = hashlib.sha256(), []
        names = {label: i for i, label in enumerate(classes)}
        indices = {str(i): i for i in range(len(classes))}
        # where classes are themselves called by numbers, a number is a name: an index would be ambiguous
        self.takes_indices = not names.keys() & indices.keys()
        self.known = names | indices if self.takes_indices else names
        spelled = [codepoints(label) for label in self.known]
        lengths = np.array([len(label) for label in spelled])
        starts = np.cumsum(lengths) - lengths
        hashes = _hashes(np.concatenate(spelled), starts, starts + lengths, max(lengths))
        order = np.argsort(hashes)
        self.hashes, self.values = hashes[order], np.array(list(self.known.values()))[order]
        self.longest = max(lengths)

    def __iter__(self):
        lines = blank = bad = 0
        problems, counts = [], np.zeros(len(self.classes), np.int64)
        for chunk, future in _ahead(self._read, _chunks(self.path, self.digest)):
            try:
                block = future.result()
            except UnicodeDecodeError:
                decode(self.path, chunk, lines, advise=True)  # tells the line
                raise
            told = block.problems[: 10 - len(problems)]
            problems += [f"  line {lines + row}: {what}" for row, what in told]
            lines, blank, bad = lines + block.lines, blank + block.blank, bad + block.bad
            counts += np.bincount(block.labels, minlength=len(counts))
            if block.content is not None:
                yield block.content, block.labels
        if bad:
            first = f", the first {len(problems)}" if bad > 10 else ""
            expected = f"expected text<TAB>label, a label being one of {self._label_range()}"
            raise UserError("\n".join([f"{self.path}: {bad} bad rows of {lines}; {expected}{first}:", *problems]))
        if blank == lines:
            raise UserError(f"{self.path} has no rows, only blank lines")
        if blank:
            self.notes.append(f"{{path}}: {blank} blank lines skipped")
        absent = [self.classes[i] for i in np.flatnonzero(counts == 0)]
        if absent:
            names = ", ".join(absent[:10])
            self.notes.append(f"Warning: {{path}} has no row of {len(absent)} classes: {names}")

    def _read(self, chunk):
        """The Block of these whole lines, bytes."""
        codes = codepoints(chunk.decode("utf-8"))
        starts, ends, text_starts, text_ends, labels = self._parse(codes)
        good = (text_ends > text_starts) & (labels >= 0)
        rest = np.flatnonzero(~good)
        solid_starts, solid_ends = _trim(codes, starts[rest], ends[rest])
        bad = rest[solid_ends > solid_starts]
        problems = [(row + 1, self._what_is_wrong(text_of(codes[starts[row] : ends[row]]))) for row in bad[:10]]
        content = None
        if len(rest) < len(good):
            content = self.convert(_gather_ordered(codes, text_starts[good], text_ends[good]))
        return Block(content, labels[good], len(ends), len(rest) - len(bad), len(bad), problems)

    def _parse(self, codes):
        """Where each line and its text start and end, and its label, -1 where it has none.

        A line without exactly one tab has an empty text.
        """
        marks = np.flatnonzero(codes <= NEWLINE)
        kinds = codes[marks]
        is_end, is_tab = kinds == NEWLINE, kinds == TAB
        ends, tabs = marks[is_end], marks[is_tab]
        starts = np.concatenate(([0], ends[:-1] + 1))
        past = np.cumsum(is_tab)[is_end]  # tabs before each line's end
        one_tab = np.diff(past, prepend=0) == 1
        tab = np.where(one_tab, tabs[np.maximum(past, 1) - 1] if len(tabs) else 0, starts)
        labels = self._lookup(codes, *_trim(codes, np.minimum(tab + 1, ends), ends))
        return starts, ends, *_trim(codes, starts, tab), labels

    def _lookup(self, codes, starts, ends):
        """The class index of each span, -1 where the span is no label."""
        hashes = _hashes(codes, starts, ends, self.longest)
        place = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[place] == hashes, self.values[place], -1)

    def _label_range(self):
        shown_names = ", ".join(self.classes[:10]) + (", …" if len(self.classes) > 10 else "")
        indices = f"0 to {len(self.classes) - 1} or " if self.takes_indices else ""
        return f"{indices}{shown_names} (class.txt has {len(self.classes)})"

    def _what_is_wrong(self, line):
        fields = line.strip("\r").split("\t")
        excerpt = repr(line if len(line) <= 40 else line[:40] + "…")
        if len(fields) == 1:
            return f"no tab in {excerpt}"
        if len(fields) > 2:
            return f"{len(fields)} fields, not 2, in {excerpt}"
        if not fields[0].strip():
            return f"an empty text in {excerpt}"
        label = fields[1].strip()
        if label.lstrip("-").isdecimal() and str(int(label)) == label and self.takes_indices:
            return f"label {label} is out of range, 0 to {len(self.classes) - 1}"
        return f"label {label!r} is unknown" if label else f"an empty label in {excerpt}"


def _trim(codes, starts, ends):
    """The spans without the white space at their ends; of one that is nothing else nothing stays."""
    for _ in range(2):  # a space, the \r of Windows
        inside = starts < ends
        before = inside & SPACE[codes[np.minimum(starts, len(codes) - 1)]]
        after = inside & SPACE[codes[ends - 1]]
        starts, ends = starts + before, np.maximum(ends - after, starts + before)
    for row in np.flatnonzero(before | after):
        text = text_of(codes[starts[row] : ends[row]])
        starts[row] += len(text) - len(text.lstrip())
        ends[row] = starts[row] + len(text.strip())
    return starts, ends


def _gather_ordered(codes, starts, ends):
    """Rows of spans that are not empty and lie one after the other, something between each two."""
    edges = np.zeros(len(codes), np.int8)
    edges[starts], edges[ends] = 1, -1
    inside = np.cumsum(edges, dtype=np.int8, out=edges).view(bool)
    return Rows(codes[inside], np.concatenate(([0], np.cumsum(ends - starts))))


def _hashes(codes, starts, ends, longest):
    """A 64-bit hash of each span; those longer than `longest` are hashed as if they were cut there and one more."""
    lengths = np.minimum(ends - starts, longest + 1)
    hashes = lengths.astype(np.uint64)
    for place in range(lengths.max(initial=0)):
        code = codes[np.minimum(starts + place, len(codes) - 1)]
        hashes = np.where(place < lengths, hashes * np.uint64(0x9E3779B97F4A7C15) + code, hashes)
    return hashes


def _chunks(path, digest):
    """A file's bytes as whole lines, the last one ended by a newline too; a byte-order mark is left out."""
    parts, mark = [], BOM_UTF8
    for piece in _pieces(path):
        digest.update(piece)
        end = piece.rfind(b"\n") + 1
        if end:
            yield b"".join((*parts, piece[:end])).removeprefix(mark)
            parts, mark = [], b""
        if end < len(piece):
            parts.append(piece[end:])
    if parts:
        yield b"".join((*parts, b"\n")).removeprefix(mark)


def _ahead(function, items):
    """Pairs of an item and the future of `function(item)`, in order, while a thread works on those to come.

    (A second thread gains nothing: they wait for each other at each of NumPy's calls.)
    """
    with ThreadPoolExecutor(1) as pool:
        waiting = deque()
        for item in items:
            waiting.append((item, pool.submit(function, item)))
            if len(waiting) > 2:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()


def read_split(dataset, name):
    """A split as a person reads it: its texts, and the index of each one's class, (N,)."""
    data = Path(dataset) / "data"
    blocks = list(LabelledFile(data / f"{name}.txt", read_classes(data / "class.txt")))
    texts = [text for rows, _ in blocks for text in texts_of(rows)]
    return texts, np.concatenate([labels for _, labels in blocks])
