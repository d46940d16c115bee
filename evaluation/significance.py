"""Statistical tests between models, and the Pareto front of accuracy and latency."""

import numpy as np
from scipy.stats import binomtest


def mcnemar(ours, theirs):
    """The exact two-sided p-value of McNemar's test that two models are equally good.

    ours, theirs: (N,) bool, the rows that each model classifies correctly.
    """
    only_ours, only_theirs = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    return float(binomtest(only_ours, only_ours + only_theirs).pvalue) if only_ours + only_theirs else 1.0


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
