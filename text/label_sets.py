"""Rows with any number of labels, divided into splits and written as a dataset."""

import json
from array import array

import numpy as np

from cli.console import UserError
from cli.files import replacing
from text.kind import MULTI_LABEL, kind_file
from text.preparation import Preparation, names_of
from text.rows import gather, offsets_of
from text.tables import as_text


class MultiLabelPreparation(Preparation):
    """A Preparation whose rows have any number of labels. Its `labels` are indices of sets of classes.

    A row is in the stratum of its rarest label, or in that of the rows without one.
    """

    takes_paths = False

    def __init__(self, spool, seed):
        super().__init__(spool, seed)
        self.known_sets, self.members, self.sizes_of_sets = {}, array("i"), array("i")  # the classes of all sets
        self.starts = array("q")  # of each set in `members`

    def _label(self, cell):
        """The index of a row's set of classes. Raises UserError if a label cannot be one."""
        if type(cell) is str and cell in self.known_sets:
            return self.known_sets[cell]
        names = names_of(cell if isinstance(cell, list) else as_text(cell).split(","))
        if any("," in name for name in names):
            raise UserError("a comma in a label")
        members = tuple(dict.fromkeys(map(self._class, names)))
        if members not in self.known_sets:
            self.known_sets[members] = len(self.starts)
            self.starts.append(len(self.members))
            self.sizes_of_sets.append(len(members))
            self.members.extend(members)
        if type(cell) is str:
            self.known_sets[cell] = self.known_sets[members]
        return self.known_sets[members]

    def _field(self, label):
        start = self.starts[label]
        return ",".join(self.classes[c] for c in self.members[start : start + self.sizes_of_sets[label]])

    def _classes_of(self, rows):
        """The classes of each of these rows, a `Rows`."""
        members, starts = np.array(self.members, np.int64), np.array(self.starts, np.int64)
        return gather(members, starts[self.labels[rows]], np.array(self.sizes_of_sets, np.int64)[self.labels[rows]])

    def _rows_of_class(self, rows):
        return np.bincount(self._classes_of(rows).ids, minlength=len(self.classes))

    def _texts_of_class(self, rows):
        found = self._classes_of(rows)
        pairs = np.stack((found.ids.astype(np.uint64), self.texts[rows].repeat(found.lengths)))
        return np.bincount(np.unique(pairs, axis=1)[0].astype(np.int64), minlength=len(self.classes))

    def _has_one_of(self, rows, chosen):
        found = self._classes_of(rows)
        return np.diff(offsets_of(chosen[found.ids])[found.offsets]) > 0

    def _strata(self, rows):
        found, counts = self._classes_of(rows), self._rows_of_class(rows)
        rank = np.argsort(np.argsort(counts, kind="stable"))  # of each class, the rarest first
        strata = np.full(len(rows), len(counts))
        np.minimum.at(strata, np.arange(len(rows)).repeat(found.lengths), rank[found.ids])
        return strata

    def _write_kind(self, stack, data):
        file = stack.enter_context(replacing(kind_file(data), "w", encoding="utf-8"))
        file.write(json.dumps(MULTI_LABEL) + "\n")

    def summary(self):
        messages = super().summary()
        kept = self.labels[self.splits >= 0]
        bare = int((np.array(self.sizes_of_sets, np.int64)[kept] == 0).sum())
        return messages + ([f"{bare:,} rows have no label"] if bare else [])
