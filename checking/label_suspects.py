"""Labels that are probably missing or wrong if rows have any number of them.

Confident learning decides about each label on its own, the rows with it against those without it, as in Thyagarajan et
al. 2023, https://arxiv.org/abs/2211.13895. Rows are ordered by the probability of all their labels together, which puts
more rows with changed labels first than the order of the paper.
"""

from typing import NamedTuple

import numpy as np

from checking.suspects import out_of_fold

TINY = 1e-9  # the least probability that counts for the order


class LabelSuspects(NamedTuple):
    """Rows whose labels are probably wrong, the most suspicious first."""

    rows: np.ndarray  # (M,)
    missing: list  # of each row the labels that it probably should have, an array of ids
    wrong: list  # of each row the labels that it probably should not have
    probabilities: np.ndarray  # (M, L), of all labels
    agreement: float  # micro F1 of the labels that are more probable than not

    columns = ("labels", "missing", "wrong", "missing_probabilities", "wrong_probabilities")
    measure = "micro F1"

    def cells(self, number, splits):
        """What `columns` have for a row."""
        parts = self.missing[number], self.wrong[number]
        names = [",".join(splits.names[c] for c in part) for part in parts]
        values = [",".join(f"{self.probabilities[number, c]:.4f}" for c in part) for part in parts]
        return [splits.class_of(self.rows[number]), *names, *values]


def label_out_of_fold(matrix, has, groups):
    """The probability of each label for each row by models that have not seen the row, (N, L) float32.

    has: (N, L) bool; the others are those of `out_of_fold`. A label that all or no rows of a part's training have is
    not a number.
    """
    probabilities = np.full(has.shape, np.nan, np.float32)
    for c, own in enumerate(has.T):
        found = out_of_fold(matrix, own.astype(np.int64), groups, 2)
        if found is not None:
            probabilities[:, c] = found[:, 1]
    return probabilities


def label_suspects(has, probabilities):
    """The LabelSuspects by out-of-fold probabilities. has: (N, L) bool. Labels without probabilities are left out.

    A decision about a label looks wrong if the opposite one is at least as probable as it is on average for the rows
    with the opposite label (cleanlab calls this `confident_learning`).
    """
    checked = np.flatnonzero(~np.isnan(probabilities).any(axis=0))
    given, found = has[:, checked], probabilities[:, checked]
    own = np.where(given, found, 1 - found)
    with_label, without = (np.mean(own, axis=0, where=rows) for rows in (given, ~given))
    marked = (1 - own >= np.where(given, without, with_label) - 1e-6) & (own < 0.5)
    rows = np.flatnonzero(marked.any(axis=1))
    rows = rows[np.argsort(np.log(np.maximum(own[rows], TINY)).sum(axis=1), kind="stable")]
    missing = [checked[marked[row] & ~given[row]] for row in rows]
    wrong = [checked[marked[row] & given[row]] for row in rows]
    agreement = 2 * (given & (own > 0.5)).sum() / (given.sum() + (found > 0.5).sum())
    return LabelSuspects(rows, missing, wrong, probabilities[rows], float(agreement))
