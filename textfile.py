"""Files of text: labelled rows in blocks, checked and as code points; other files as lines.

A labelled file is read without a Python loop over its rows, but for the telling of bad ones.
"""

import bz2
import gzip
import hashlib
import io
import zlib
from pathlib import Path

import numpy as np

from console import UserError, bar, say
from vocabulary import codepoints, gather, text_of

BLOCK = 1 << 24  # bytes of a labelled file that are read at a time
LINES = 1 << 18  # bytes of another file
NEWLINE, TAB = 10, 9
SPACE = np.zeros(0x110000, bool)
SPACE[[code for code in range(0x3001) if chr(code).isspace()]] = True


def read_classes(path):
    """The class names in a class.txt."""
    classes = [line.strip() for line in "".join(_blocks(path, hashlib.sha256())).rstrip().split("\n")]
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


class LabelledFile:
    """A split's file. Iterating yields its texts, a `Rows` of code points a block; after that `labels` are known.

    Raises UserError at the end where rows were bad, naming the first ten of them.
    """

    def __init__(self, path, classes):
        self.path, self.classes = path, classes
        self.digest, self.label_parts = hashlib.sha256(), []
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

    def labels(self):
        return np.concatenate(self.label_parts)

    def __iter__(self):
        lines = blank = count = 0
        problems = []
        for text in _blocks(self.path, self.digest):
            codes = codepoints(text)
            ends = np.flatnonzero(codes == NEWLINE)
            starts = np.concatenate(([0], ends[:-1] + 1))
            text_starts, text_ends, labels, solid = self._parse(codes, starts, ends)
            good = (text_ends > text_starts) & (labels >= 0)
            bad = np.flatnonzero(solid & ~good)
            for row in bad[: 10 - min(10, len(problems))]:
                line = text_of(codes[starts[row] : ends[row]])
                problems.append(f"  line {lines + row + 1}: {self._what_is_wrong(line)}")
            count += len(bad)
            blank += len(solid) - np.count_nonzero(solid)
            lines += len(ends)
            self.label_parts.append(labels[good])
            if good.any():
                yield gather(codes, text_starts[good], (text_ends - text_starts)[good])
        if count:
            first = f", the first {len(problems)}" if count > len(problems) else ""
            expected = f"expected text<TAB>label, a label being one of {self._label_range()}"
            raise UserError("\n".join([f"{self.path}: {count} bad rows of {lines}; {expected}{first}:", *problems]))
        if blank == lines:
            raise UserError(f"{self.path} has no rows, only blank lines")
        if blank:
            say(f"{self.path}: {blank} blank lines skipped")
        self._warn_of_absent_classes()

    def _parse(self, codes, starts, ends):
        """Where each line's text starts and ends, its label (-1 where it has none), and whether it is not blank.

        A line without exactly one tab has an empty text.
        """
        tabs = np.flatnonzero(codes == TAB)
        past = np.searchsorted(tabs, ends)
        one_tab = np.diff(past, prepend=0) == 1
        tab = np.where(one_tab, tabs[np.maximum(past, 1) - 1] if len(tabs) else 0, starts)
        trim = _Trimmer(codes)
        labels = self._lookup(codes, *trim(np.minimum(tab + 1, ends), ends))
        solid = np.diff(trim(starts, ends), axis=0)[0] > 0
        return *trim(starts, tab), labels, solid

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

    def _warn_of_absent_classes(self):
        counts = np.bincount(self.labels(), minlength=len(self.classes))
        absent = [self.classes[i] for i in np.flatnonzero(counts == 0)]
        if absent:
            say(f"Warning: {self.path} has no row of {len(absent)} classes: {', '.join(absent[:10])}")


class _Trimmer:
    """Shortens spans by the white space at their ends."""

    def __init__(self, codes):
        solid = ~SPACE[codes]
        self.before = np.concatenate(([0], np.cumsum(solid)))  # solid characters before each place
        self.places = np.append(np.flatnonzero(solid), 0)

    def __call__(self, starts, ends):
        low, high = self.before[starts], self.before[ends]
        empty = low == high
        return np.where(empty, starts, self.places[low]), np.where(empty, starts, self.places[high - 1] + 1)


def _hashes(codes, starts, ends, longest):
    """A 64-bit hash of each span; those longer than `longest` are hashed as if they were cut there and one more."""
    lengths = np.minimum(ends - starts, longest + 1)
    hashes = lengths.astype(np.uint64)
    for place in range(lengths.max(initial=0)):
        code = codes[np.minimum(starts + place, len(codes) - 1)]
        hashes = np.where(place < lengths, hashes * np.uint64(0x9E3779B97F4A7C15) + code, hashes)
    return hashes


def _blocks(path, digest):
    """A UTF-8 file as texts of whole lines, the last line ended by a newline too; a byte-order mark is left out."""
    lines, rest = 0, b""
    try:
        with open(path, "rb") as file:
            while chunk := file.read(BLOCK):
                digest.update(chunk)
                chunk = rest + chunk
                end = chunk.rfind(b"\n") + 1
                chunk, rest = chunk[:end], chunk[end:]
                if chunk:
                    yield decode(path, chunk, lines, advise=True)
                    lines += chunk.count(b"\n")
    except OSError as error:
        present = ", ".join(sorted(entry.name for entry in path.parent.glob("*"))) or "nothing"
        raise UserError(f"{path}: {error.strerror}; in {path.parent} there is: {present}") from error
    if rest:
        yield decode(path, rest + b"\n", lines, advise=True)
    elif not lines:
        raise UserError(f"{path} is empty")


def lines_of(path, show=True):
    """A file's lines as bytes, plain or out of a .gz or .bz2, never more than a few in memory; with `show` a bar."""
    for block in blocks_of(path, show):
        yield from io.BytesIO(block)


def blocks_of(path, show=True):
    """A file's bytes, plain or out of a .gz or .bz2, some whole lines at a time; with `show` a bar."""
    path = Path(path)
    opener = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix.lower(), lambda file: file)
    try:
        with open(path, "rb") as raw, opener(raw) as file:
            size = path.stat().st_size or None  # a pipe has none
            with bar(total=size, unit="B", unit_scale=True, desc=path.name, shown=show) as progress:
                for block in whole_lines(file):
                    if size:
                        progress.update(raw.tell() - progress.n)
                    yield block
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def whole_lines(file):
    """The bytes of a file that is open, some whole lines at a time."""
    while block := file.read(LINES):
        yield block + file.readline()


def decode(path, content, lines, advise=False):
    """A file's bytes as text. Raises UserError with the line, counted from `lines` before, where they are no UTF-8.

    With `advise` it tells the command that converts the file.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = lines + content[: error.start].count(b"\n") + 1
        advice = _encoding_advice(path, content) if advise else "Save it as UTF-8"
        raise UserError(f"{path}, line {line}: not UTF-8. {advice}") from error
    return text.removeprefix("\ufeff") if lines == 0 else text


def _encoding_advice(path, content):
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "gb18030"
    if encoding == "gb18030":
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            return "Save it as UTF-8"
    command = f"from pathlib import Path; p = Path({str(path)!r}); p.write_text(p.read_text('{encoding}'), 'utf-8')"
    return f'It reads as {encoding.upper()}; to convert it: python -c "{command}"'
