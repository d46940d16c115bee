"""Statistical tests between models, and the Pareto front of accuracy and latency."""

import numpy as np
from scipy.stats import binomtest

PERMUTATIONS = 9999


def mcnemar(ours, theirs):
    """The exact two-sided p-value of McNemar's test that two models are equally good.

    ours, theirs: (N,) bool, the rows that each model classifies correctly.
    """
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue) if only_ours + only_theirs else 1.0


def permutation(ours, theirs):
    """The two-sided p-value of a paired permutation test that two models have the same micro F1.

    ours, theirs: (N, 3), of each row the labels that a model predicts rightly, those that it predicts, and those of the
    row. In each permutation half of the rows, at random, change their predictions between the models.
    """
    changes = (theirs - ours)[(theirs != ours).any(axis=1), :2]
    totals = np.array([ours.sum(axis=0), theirs.sum(axis=0)])
    observed = np.diff(_micro_f1(totals))[0]
    rng, larger = np.random.default_rng(1), 1
    for _ in range(PERMUTATIONS):
        moved = changes[rng.random(len(changes)) < 0.5].sum(axis=0)
        swapped = totals.copy()
        swapped[0, :2] += moved
        swapped[1, :2] -= moved
        larger += abs(np.diff(_micro_f1(swapped))[0]) >= abs(observed) - 1e-12
    return float(larger / (PERMUTATIONS + 1))


def _micro_f1(totals):
    """The micro F1 of each model, of the sums of what `permutation` takes, (M, 3)."""
    return 2 * totals[:, 0] / np.maximum(totals[:, 1] + totals[:, 2], 1)


def holm(p_values):
    """The p-values with Holm's correction for multiple comparisons (Holm 1979)."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = largest
    return corrected


def pareto(points):
    """Whether each (accuracy, latency) point is on the front: no other is as good in both and better in one."""
    return [
        not any(a >= accuracy and t <= latency and (a, t) != (accuracy, latency) for a, t in points)
        for accuracy, latency in points
    ]
