"""The splits of a dataset together, with the lines of their files.

With any number of labels a row, each set of labels that rows have is a class here.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.console import UserError, say
from text.labelled import SPLITS, lines_with_rows, read_classes, split_file
from text.rows import Rows, concatenate, text_of


class Splits(NamedTuple):
    """The rows of all splits, those of train first."""

    directory: Path
    classes: list
    texts: Rows  # code points
    labels: np.ndarray  # (N,) class indices
    split: np.ndarray  # (N,) indices into SPLITS
    lines: np.ndarray  # (N,), the number of each row's line in its file, from 1
    names: list  # of the labels: the classes, or, if rows have any number of labels, the L labels
    members: np.ndarray | None = None  # (C, L) of 0 and 1, the labels of each class, in the latter case

    def text(self, row):
        return text_of(self.texts.ids[self.texts.offsets[row] : self.texts.offsets[row + 1]])

    def place(self, row):
        """A row's file and line, for a message."""
        return f"{SPLITS[self.split[row]]}.txt:{self.lines[row]}"

    def class_of(self, row):
        return self.classes[self.labels[row]]

    def counts(self, rows):
        """The number of these rows with each label, (C,) or (L,)."""
        counts = np.bincount(self.labels[rows], minlength=len(self.classes))
        return counts if self.members is None else counts @ self.members


def read_splits(directory):
    """Reads the dataset. Raises UserError if anything is wrong with its files."""
    directory = Path(directory)
    if not directory.is_dir():
        raise UserError(f"{directory}: no such directory; expected one with data/class.txt")
    classes = read_classes(directory / "data" / "class.txt")
    texts, labels, lines, sizes = [], [], [], []
    for name in SPLITS:
        file = split_file(directory, name, classes)
        blocks = list(file)
        for note in file.notes:
            say(note.replace("{path}", str(file.path)))
        texts += [rows for rows, _ in blocks]
        labels += [values for _, values in blocks]
        lines += [np.fromiter((number for number, _ in lines_with_rows(file.path)), np.int64)]
        sizes.append(len(lines[-1]))
    split = np.repeat(np.arange(len(SPLITS), dtype=np.int8), sizes)
    names, members, labels = classes, None, np.concatenate(labels)
    if labels.ndim == 2:
        members, labels = np.unique(labels, axis=0, return_inverse=True)
        members, labels = members.astype(np.int64), labels.ravel()
        classes = [",".join(names[i] for i in np.flatnonzero(row)) for row in members]
    return Splits(directory, classes, concatenate(texts), labels, split, np.concatenate(lines), names, members)
