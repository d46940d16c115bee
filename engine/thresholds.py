"""Thresholds on probabilities, chosen on the validation rows that a checkpoint keeps: abstention and prediction sets.

Both hold for texts like those of the validation split. A precision is met with 95 % confidence: the bound of Clopper &
Pearson 1934 on the share of right answers among the rows above the threshold, as in Geifman & El-Yaniv 2017,
https://arxiv.org/abs/1705.08500. A prediction set holds the label with the probability that is asked for: split
conformal prediction, Sadinle et al. 2019, https://arxiv.org/abs/1609.00451.

With any number of labels a row, a precision is met for each label: each has a threshold, chosen among the rows for
which it is predicted. A prediction set holds all labels of a text with the probability that is asked for: a row's score
is the probability of its least probable label (the outer sets of Cauchois et al. 2021, https://arxiv.org/abs/2004.10181).

If the names of the classes are paths, an answer is a node, and is right if it is on the path of the label. With a lower
threshold more rows have an answer, and the answers of others are deeper nodes.
"""

import math

import numpy as np

from cli.console import UserError

DOUBT = 0.05  # probability with which a precision may be missed


def threshold_of_precision(calibration, precision):
    """The lowest probability above which predictions have this precision. Raises UserError if there is none."""
    sums, agreeing = calibration.answers
    levels = np.arange(sums.shape[1])
    # what changes in a row when the threshold falls to the probability of a node: its answer moves from the node above
    answered = np.broadcast_to(levels == 0, sums.shape)
    right = (levels < agreeing[:, None]).astype(int) - ((levels > 0) & (levels <= agreeing[:, None]))
    threshold, best = _lowest_threshold(sums.ravel(), right.ravel(), precision, answered.ravel())
    if threshold is None:
        raise _not_shown(precision, calibration, best)
    every_class = len(levels) == 1 and threshold <= sums.min()
    return 0.0 if every_class else threshold


def label_thresholds_of_precision(calibration, precision):
    """The lowest probability of each label above which it is predicted with this precision, (C,) float32.

    It is infinite if there is none. Raises UserError if there is none for any label.
    """
    probabilities, labels = calibration.validated.numpy(), calibration.labels.numpy() > 0
    predicted = calibration.predicted(probabilities)
    found = [
        _lowest_threshold(probabilities[rows, c], labels[rows, c], precision) for c, rows in enumerate(predicted.T)
    ]
    if all(threshold is None for threshold, _ in found):
        raise _not_shown(precision, calibration, max(best for _, best in found))
    return np.array([np.inf if threshold is None else threshold for threshold, _ in found], np.float32)


def _lowest_threshold(confidences, right, precision, answered=True):
    """The lowest threshold that meets the precision, None if none does; and the largest bound of a precision.

    right, answered: what the numbers of right answers, and of all, grow by when the threshold falls to a confidence.
    """
    from scipy.special import betaincinv

    order = np.argsort(-confidences, kind="stable")
    order = order[confidences[order] > 0]
    if not len(order):
        return None, 0.0
    answered = np.broadcast_to(answered, confidences.shape)
    confidences, answered, hits = confidences[order], answered[order].cumsum(), right[order].cumsum()
    bounds = np.where(hits > 0, betaincinv(np.maximum(hits, 1), answered - hits + 1, DOUBT), 0)
    last_of_equals = np.append(confidences[1:] < confidences[:-1], True)
    met = np.flatnonzero((bounds >= precision) & last_of_equals)
    return float(confidences[met[-1]]) if len(met) else None, bounds[last_of_equals].max()


def _not_shown(precision, calibration, best):
    return UserError(
        f"--min_precision {precision}: the {len(calibration.labels)} validation rows do not show it at any threshold, "
        f"at most {math.floor(best * 1000) / 1000}; lower it, train a better model, or use more rows in dev.txt"
    )


def describe_threshold(calibration, threshold, classes=()):
    """Lines that say what share of the validation rows a threshold leaves to a person, also for each of `classes`."""
    sums, agreeing = calibration.answers
    levels = ((sums >= threshold) & (sums > 0)).sum(axis=1)  # a path may end above the last level
    answered, right = levels > 0, levels <= agreeing

    def shares(rows):
        if not rows.any():
            return "no validation rows"
        left = f"{(~answered[rows]).mean():.1%} of the validation rows are left to a person"
        kept = rows & answered
        return left + (f", {right[kept].mean():.1%} of the others are right" if kept.any() else "")

    becomes = "?, or the node above" if calibration.hierarchical else "?"
    lines = [f"Predictions with a probability below {threshold:.4f} become {becomes}: {shares(levels >= 0)}"]
    if calibration.hierarchical:
        lines.append(f"  {describe_levels(levels, sums.shape[1])}")
    predicted = calibration.predicted.numpy()
    return lines + [f"  {name}: {shares(predicted == i)}" for i, name in enumerate(classes)]


def describe_label_thresholds(calibration, least, classes=()):
    """What `describe_threshold` does with any number of labels a row. least: a float, or (C,), one for each label."""
    probabilities, labels = calibration.validated.numpy(), calibration.labels.numpy() > 0
    predicted, least = calibration.predicted(probabilities), np.broadcast_to(least, labels.shape[1:])
    kept = predicted & (probabilities >= least)

    def shares(*chosen):
        """Of the decisions about the chosen labels."""
        own, found, sure = (part[:, chosen or ...] for part in (labels, predicted, kept))
        if not found.any():
            return "not predicted in the validation rows"
        parts = [f"{1 - sure.sum() / found.sum():.1%} of the labels predicted in the validation rows become ?"]
        if sure.any():
            parts.append(f"{own[sure].mean():.1%} of the others are right")
        if own.any():
            parts.append(f"recall {sure[own].mean():.1%}, without the threshold {found[own].mean():.1%}")
        return ", ".join(parts)

    one = len(np.unique(least)) == 1
    start = f"Labels with a probability below {least[0]:.4f}" if one else "Labels below their thresholds"
    lines = [f"{start}: {shares()}"]
    return lines + [f"  {name}, below {least[c]:.4f}: {shares(c)}" for c, name in enumerate(classes)]


def describe_levels(levels, num_levels):
    """The share of rows whose answer is on each level, for a message. levels: (N,), 0 without an answer."""
    shares = np.bincount(levels, minlength=num_levels + 1) / len(levels)
    return "Rows answered at " + ", ".join(f"level {i}: {share:.1%}" for i, share in enumerate(shares) if i)


def threshold_of_coverage(calibration, coverage):
    """The probability that the labels of this share of texts have at least. Raises UserError if rows are too few.

    calibration: a Calibration or a MultiLabelCalibration.
    """
    rows = len(calibration.of_labels)
    rank = math.ceil((rows + 1) * coverage)
    if rank > rows:
        raise UserError(
            f"--coverage {coverage} needs {math.ceil(coverage / (1 - coverage))} validation rows, the checkpoint has "
            f"{rows}; lower it, or use more rows in dev.txt"
        )
    return float(np.sort(calibration.of_labels.numpy())[rows - rank])


def sets_of(probabilities, threshold):
    """The classes of each row with a probability of at least `threshold`, as lists of ids, the most probable first.

    The most probable class is always in the set; that of an empty text, whose probabilities are all 0, is empty.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    sizes = np.maximum((probabilities >= threshold).sum(axis=1), 1) * probabilities.any(axis=1)
    return [row[:size].tolist() for row, size in zip(order, sizes, strict=True)]
