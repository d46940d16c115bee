"""How far probabilities can be relied on: calibration error, Brier score, risk against coverage, and their pictures."""

from pathlib import Path

import numpy as np

from engine.temperature import TINY
from evaluation.report import figure_and_axes, save_figure

BINS = 15  # of equal width, as in Guo et al. 2017


def bin_means(confidences, right):
    """The mean confidence, the accuracy and the share of rows of each bin of confidences, (3, BINS).

    Empty bins have the share 0 and are NaN otherwise. confidences, right: (N,).
    """
    index = np.minimum((confidences * BINS).astype(int), BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    sums = (np.bincount(index, weights, BINS) for weights in (confidences, right))
    with np.errstate(invalid="ignore"):
        means = [total / counts for total in sums]
    return np.stack([*means, counts / len(right)])


def measures(summary, labels):
    """The measures of probabilities by their `calibration.summary`, (4, N), and labels, (N,), as a dict.

    `ece` is the expected calibration error; `brier` the mean of the squared errors summed over the classes, from 0 to
    2; `log_loss` the mean negative logarithm of the label's probability.
    """
    predicted, confidences, of_labels, squares = summary
    confidence, accuracy, share = bin_means(confidences, predicted == labels)
    ece = np.nansum(share * np.abs(confidence - accuracy))
    brier = (squares - 2 * of_labels + 1).mean()
    return {"ece": float(ece), "brier": float(brier), "log_loss": float(-np.log(np.maximum(of_labels, TINY)).mean())}


def risk_at_coverage(confidences, right):
    """The share of wrong rows among the most confident ones, for 1 to N of them, (N,)."""
    wrong = ~right[np.argsort(-confidences, kind="stable")]
    return wrong.cumsum() / np.arange(1, len(wrong) + 1)


def draw_reliability(directory, before, after, labels):
    """`reliability.png`: accuracy against confidence, before and after calibration, and the share of rows of each bin.

    before, after: as `measures` takes them.
    """
    figure, (axes, below) = figure_and_axes((6, 6.5), 2, 1, sharex=True, height_ratios=(3, 1))
    axes.plot([0, 1], [0, 1], ":", color="gray", label="perfect calibration")
    edges = np.linspace(0, 1, BINS + 1)
    for name, summary in (("before", before), ("after", after)):
        confidence, accuracy, share = bin_means(summary[1], summary[0] == labels)
        axes.plot(confidence, accuracy, "o-", markersize=4, label=f"{name}: ECE {measures(summary, labels)['ece']:.4f}")
        below.stairs(share, edges, fill=name == "before", alpha=0.5 if name == "before" else 1)
    axes.set(ylabel="accuracy", title="Reliability on the test split", xlim=(0, 1), ylim=(0, 1))
    below.set(xlabel="probability of the predicted class", ylabel="share of rows")
    axes.legend(loc="upper left")
    save_figure(figure, Path(directory) / "reliability.png")


def draw_risk_coverage(directory, confidences, right):
    """`risk_coverage.png`: the share of errors among the rows that are answered, against the share of these rows."""
    figure, axes = figure_and_axes((6, 4.5))
    risk = risk_at_coverage(confidences, right)
    coverage = np.arange(1, len(risk) + 1) / len(risk)
    axes.plot(coverage, risk, label=f"area under the curve {risk.mean():.4f}")
    axes.set(xlabel="coverage: share of rows that are answered", ylabel="risk: share of errors among them")
    axes.set(title="Risk and coverage on the test split", xlim=(0, 1), ylim=(0, max(1.1 * risk[-1], 0.01)))
    axes.legend(loc="upper left")
    save_figure(figure, Path(directory) / "risk_coverage.png")


def write_pictures(directory, before, after, labels):
    """Draws the pictures of a test; see `results`."""
    known = after[1] > 0
    draw_reliability(directory, before[:, known], after[:, known], labels[known])
    draw_risk_coverage(directory, after[1, known], after[0, known] == labels[known])


def results(before, after, labels, temperature):
    """The measures of a test for `metrics.json`, without rows in which the model finds no token.

    before, after: the `calibration.summary` of the rows at the temperatures 1 and `temperature`.
    """
    known = after[1] > 0
    before, after, labels = before[:, known], after[:, known], labels[known]
    risk = risk_at_coverage(after[1], after[0] == labels)
    found = {"temperature": temperature, "before": measures(before, labels), "after": measures(after, labels)}
    return found | {"risk_coverage_area": float(risk.mean())}
