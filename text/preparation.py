"""Rows of labelled tables, cleaned, divided into splits and written as a dataset."""

import contextlib
import hashlib
import re
from array import array
from pathlib import Path

import numpy as np

from cli.console import UserError, listing, one_line
from cli.files import replacing
from text.encodings import UNDECODED
from text.hierarchy import SEPARATOR, Hierarchy
from text.kind import kind_file
from text.labelled import LONGEST_NAME, SPLITS
from text.splitting import assign, units_of
from text.tables import as_text

SEVERAL = "more than one label"  # a reason to reject a row
MOST_CLASSES, MANY_CLASSES = 100_000, 1000
LONG = 100_000  # characters of a text that is probably several
LINES = 1 << 40  # a place is a file's index times `LINES`, plus a line
CONTINUOUS = re.compile(r"-?\d*\.\d{2,}|\d{4}[-/.]\d\d?[-/.]\d\d?.*|\d\d?:\d\d.*")  # long floats, dates, times


class Preparation:
    """Rows on their way into a dataset: their lines in a temporary file, an index of them in memory.

    spool: a temporary file; seed: of the splits, which depend on nothing else but the texts, labels and groups.
    """

    takes_paths = True  # whether the names of classes may be paths

    def __init__(self, spool, seed):
        self.spool, self.key = spool, str(seed).encode()
        self.files, self.fixed = [], []  # names, and the index of the split that all rows of a file are for, or -1
        self.places, self.labels, self.reasons = array("q"), array("i"), array("i")
        self.texts, self.groups = bytearray(), bytearray()  # hashes of 8 bytes
        self.classes, self.known = [], {}  # names, and the index of a name or of a cell
        self.causes = {"": 0}  # why a row is rejected
        self.blank = self.joined = 0
        self.long, self.rare, self.connected = [], [], 0.0  # for the summary

    def add(self, table, columns, split=None):
        """Adds the rows of a table, to a split if one is named, otherwise to those that are divided."""
        first = len(self.files) * LINES
        self.files.append(str(table.name))
        self.fixed.append(SPLITS.index(split) if split else -1)
        for row in table.rows(columns.has_header):
            if not row.cells and not row.problem:
                self.blank += 1
                continue
            text, label, group, reason = b"", -1, b"", 0
            try:
                if row.problem:
                    raise UserError(row.problem)
                label = self._label(columns.label_of(row.cells))
                text = self._text([row.cells[i] for i in columns.texts], f"{table.name}, line {row.line}")
                group = b"" if columns.group is None else _encoded(as_text(row.cells[columns.group]).strip())
                self.spool.write(b"%b\t%b\n" % (text, self._field(label).encode()))
            except UserError as error:
                reason = self.causes.setdefault(str(error), len(self.causes))
                self.spool.write(b"\n")
            self.places.append(first + row.line)
            self.labels.append(label)
            self.reasons.append(reason)
            self.texts += self._hash(text)
            if columns.group is not None:
                self.groups += self._hash(group) if group else self.texts[-8:]
            if len(self.classes) > MOST_CLASSES:
                values = listing(self.classes, 3)
                raise UserError(f"{table.name} has more than {MOST_CLASSES} labels: {values}; --label names a column")

    def _hash(self, content):
        return hashlib.blake2b(content, digest_size=8, key=self.key).digest()

    def _text(self, cells, place):
        """A row's text as bytes. Raises UserError if it has none."""
        text = " ".join(filter(None, [_stripped(as_text(cell)) for cell in cells]))
        if not text:
            raise UserError("no text")
        if "\t" in text or len(text.splitlines()) > 1:
            text = " ".join(text.split())
            self.joined += 1
        if len(text) > LONG and len(self.long) < 10:
            self.long.append(f"Warning: {place}: a text of {len(text):,} characters; is a quote not closed?")
        return _encoded(text)

    def _label(self, cell):
        """The index of a row's class. Raises UserError if it has none or several."""
        if type(cell) is str and cell in self.known:
            return self.known[cell]
        names = names_of(cell if isinstance(cell, list) else [cell])
        if len(names) != 1:
            raise UserError(SEVERAL if names else "no label")
        index = self._class(names[0])
        if type(cell) is str:
            self.known[cell] = index
        return index

    def _class(self, name):
        """The index of a class. Raises UserError if it cannot be one."""
        if len(name) > LONGEST_NAME:
            raise UserError(f"a label of more than {LONGEST_NAME} characters")
        _encoded(name)
        if name not in self.known:
            self.known[name] = len(self.classes)
            self.classes.append(name)
        return self.known[name]

    def _field(self, label):
        """What a row's line has after the tab."""
        return self.classes[label]

    def divide(self, shares):
        """Chooses the split of each row, `splits`, -1 if it is rejected, and counts them, `counts` (splits, classes).

        shares: of the splits among which the rows without one are divided, {name: positive number}. Rows of other
        splits whose text or group is in test, or in dev, are rejected, and rows of classes with fewer texts than there
        are shares. Raises UserError if a split would be empty or there is one class.
        """
        self.places, self.labels, self.reasons = map(np.array, (self.places, self.labels, self.reasons))
        self.texts, self.groups = np.frombuffer(self.texts, np.uint64), np.frombuffer(self.groups, np.uint64)
        self.splits = np.array(self.fixed, np.int8)[self.places // LINES]
        self._check_labels()
        self._reject_shared()
        self._reject_rare(len(shares))
        free = self._free()
        if len(free):
            units = units_of(self.texts[free], self.groups[free] if len(self.groups) else None)
            self.connected = np.bincount(units).max() / len(units)
            chosen = assign(units, self._strata(free), list(shares.values()))
            self.splits[free] = np.array([SPLITS.index(name) for name in shares])[chosen]
        self.splits[self.reasons > 0] = -1
        self.counts = np.stack([self._rows_of_class(self.splits == i) for i in range(len(SPLITS))])
        self.sizes = np.bincount(self.splits[self.splits >= 0], minlength=len(SPLITS))
        empty = [name for name, count in zip(SPLITS, self.sizes, strict=True) if not count]
        if empty:
            raise UserError("\n".join([f"no row is left for {', '.join(empty)}", *self.summary()]))
        if np.count_nonzero(self.counts.sum(axis=0)) == 1:
            raise UserError(
                f"all rows have one label, {self.classes[self.counts.sum(axis=0).argmax()]!r}; expected more"
            )

    def _reject_shared(self):
        """Rejects rows whose text or group is also in a split with files of its own that is later in `SPLITS`."""
        for split in (2, 1):
            for what, hashes in (("text", self.texts), ("group", self.groups)):
                if len(hashes):
                    own = hashes[(self.splits == split) & (self.reasons == 0)]
                    rows = np.flatnonzero((self.splits < split) & np.isin(hashes, own))
                    self._reject(rows, f"its {what} is also in {SPLITS[split]}")

    def _reject_rare(self, least):
        """Rejects rows of classes with fewer texts than `least`."""
        free = self._free()
        texts = self._texts_of_class(free)
        self.rare = [self.classes[i] for i in np.flatnonzero((texts > 0) & (texts < least))]
        self._reject(free[self._has_one_of(free, texts < least)], f"its class has fewer than {least} different texts")

    def _free(self):
        """The rows that are not rejected and have no split yet."""
        return np.flatnonzero((self.splits < 0) & (self.reasons == 0))

    def _strata(self, rows):
        """What the splits are stratified by, an index for each of these rows."""
        return self.labels[rows]

    def _has_one_of(self, rows, chosen):
        """Whether each of these rows is of one of the chosen classes, (C,) bool."""
        return chosen[self.labels[rows]]

    def _rows_of_class(self, rows):
        return np.bincount(self.labels[rows], minlength=len(self.classes))

    def _texts_of_class(self, rows):
        """The number of different texts that these rows have in each class."""
        rows = rows[np.lexsort((self.texts[rows], self.labels[rows]))]
        texts, labels = self.texts[rows], self.labels[rows]
        new = np.concatenate(([True], (texts[1:] != texts[:-1]) | (labels[1:] != labels[:-1])))[: len(rows)]
        return self._rows_of_class(rows[new])

    def _reject(self, rows, why):
        self.reasons[rows[self.reasons[rows] == 0]] = self.causes.setdefault(why, len(self.causes))

    def _check_labels(self):
        """Raises UserError if the labels are no classes."""
        rows = np.flatnonzero(self.reasons == 0)
        count = np.count_nonzero(self._rows_of_class(rows))
        if len(rows) >= 20 and count > len(rows) / 2:
            raise UserError(
                f"{count} different labels in {len(rows)} rows, such as {listing(self.classes, 3)}; expected several "
                "rows of each label; --label names another column"
            )

    def write(self, directory):
        """Writes class.txt, the splits, and rejected.tsv."""
        names = [self.classes[i] for i in np.flatnonzero(self.counts.any(axis=0))]
        causes, data = list(self.causes), Path(directory) / "data"
        with contextlib.ExitStack() as stack:  # all are moved into place at the end
            files = [stack.enter_context(replacing(data / f"{name}.txt")) for name in SPLITS]
            self.spool.seek(0)
            for line, split in zip(self.spool, self.splits.view(np.uint8).tobytes(), strict=True):
                if split < len(files):
                    files[split].write(line)
            classes = stack.enter_context(replacing(data / "class.txt"))
            classes.writelines(f"{name}\n".encode() for name in sorted(names, key=_order))
            self._write_kind(stack, data)
            rejected = stack.enter_context(replacing(Path(directory) / "rejected.tsv"))
            rejected.write(b"file\trow\treason\n")
            for i in np.flatnonzero(self.reasons).tolist():
                file, line = divmod(int(self.places[i]), LINES)
                row = f"{one_line(self.files[file])}\t{line}\t{causes[self.reasons[i]]}\n"
                rejected.write(row.encode(errors="backslashreplace"))

    def _write_kind(self, stack, data):
        """Writes dataset.json, or removes that of a dataset which is replaced."""
        kind_file(data).unlink(missing_ok=True)

    def summary(self):
        """What was done with the rows, and what may be wrong with them, as messages."""
        causes, rejected = list(self.causes), np.bincount(self.reasons, minlength=1)
        rejected[0] = 0
        messages = [f"{len(self.labels):,} rows read, {rejected.sum():,} rejected"]
        messages += [
            f"  {rejected[i]:,} rows: {causes[i]}" for i in np.argsort(-rejected, kind="stable")[:10] if rejected[i]
        ]
        if SEVERAL in self.causes:
            messages.append("--multi_label keeps rows with more than one label")
        if self.rare:
            messages.append(f"Classes left out: {listing(self.rare)}")
        if self.blank:
            messages.append(f"{self.blank:,} blank rows skipped")
        if self.joined:
            messages.append(f"{self.joined:,} texts had tabs or line ends and are now one line")
        kept = self.texts[self.splits >= 0]
        repeated = len(kept) - len(np.unique(kept))
        if repeated:
            messages.append(f"{repeated:,} rows repeat the text of another row; all rows of a text are in one split")
        if self.connected > 0.5:
            messages.append(
                f"Warning: {self.connected:.0%} of the rows are in one split, as texts or groups connect them"
            )
        for name, count in zip(SPLITS, self.counts, strict=True):
            absent = [self.classes[i] for i in np.flatnonzero((count == 0) & self.counts.any(axis=0))]
            if absent:
                messages.append(f"Warning: {name} has no row of {len(absent)} classes: {listing(absent)}")
        return messages + self.long + self._label_messages()

    def _label_messages(self):
        names, messages = [self.classes[i] for i in np.flatnonzero(self.counts.any(axis=0))], []
        if len(names) > MANY_CLASSES or (len(names) > 20 and all(map(CONTINUOUS.fullmatch, names))):
            messages.append(
                f"Warning: {len(names):,} classes, such as {listing(names, 3)}; does --label name a column of classes?"
            )
        marks = [(",", "comma"), (SEPARATOR, "slash")]
        if names and self.takes_paths and (tree := Hierarchy(names, True)).shares_prefixes:
            messages.append(f"The labels are paths: {tree.description}")
            marks.pop()
        for mark, what in marks:
            holding = [name for name in names if mark in name]
            if holding:
                messages.append(
                    f"{len(holding)} classes have a {what} in the name; each is one class: {listing(holding, 3)}"
                )
        return messages


def names_of(values):
    """The labels among the values of cells, without white space around."""
    return list(filter(None, [_stripped(" ".join(as_text(value).split())) for value in values]))


def _stripped(text):
    """Without white space at its ends, and without a byte-order mark, which would be one of the file."""
    return text.strip().lstrip("\ufeff").lstrip()


def _encoded(text):
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        where = "bytes that are not in the encoding of the file" if UNDECODED.search(text) else "half a surrogate pair"
        raise UserError(where) from error


def _order(name):
    """Sorts numbers by value, before other names."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)
