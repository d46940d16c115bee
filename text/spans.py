"""Spans of a text's code points: where they start and end, without a Python loop over them."""

import numpy as np

from text.rows import Rows, offsets_of, text_of

SPACE = np.zeros(0x110000, bool)
SPACE[[code for code in range(0x3001) if chr(code).isspace()]] = True


def trim(codes, starts, ends):
    """The spans without the white space at their ends; a span of white space alone becomes empty."""
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


def gather_ordered(codes, starts, ends):
    """Rows of spans that are in order, not empty, and separated from each other by at least one code point."""
    edges = np.zeros(len(codes), np.int8)
    edges[starts], edges[ends] = 1, -1
    inside = np.cumsum(edges, dtype=np.int8, out=edges).view(bool)
    return Rows(codes[inside], offsets_of(ends - starts))


def span_hashes(codes, starts, ends, longest):
    """A 64-bit hash of each span, of at most `longest` code points and of the length up to one more."""
    lengths = np.minimum(ends - starts, longest + 1)
    hashes = lengths.astype(np.uint64)
    for i in range(lengths.max(initial=0)):
        code = codes[np.minimum(starts + i, len(codes) - 1)]
        hashes = np.where(i < lengths, hashes * np.uint64(0x9E3779B97F4A7C15) + code, hashes)
    return hashes


def split_at(mark, codes, starts, ends):
    """The parts of each span that is not empty between code points `mark`: the span's index, and starts and ends."""
    marks = np.append(np.flatnonzero(codes == mark), len(codes))
    first = np.searchsorted(marks, starts)
    counts = np.where(ends > starts, np.searchsorted(marks, ends) - first + 1, 0)
    rows = np.arange(len(starts)).repeat(counts)
    index = np.arange(len(rows)) - offsets_of(counts)[rows]  # of a part in its span
    after = first[rows] + index  # the mark after it
    part_starts = np.where(index > 0, marks[after - 1] + 1, starts[rows])
    part_ends = np.where(index < counts[rows] - 1, marks[after], ends[rows])
    return rows, part_starts, part_ends
