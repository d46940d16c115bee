"""The test of a classifier that predicts any number of labels a row: metrics, the report by label, and its files."""

import functools
import math
from pathlib import Path

import numpy as np
import torch
from sklearn import metrics

from cli.console import excerpt, one_line
from cli.files import replacing
from engine.predictions import label_ids
from engine.temperature import TINY
from evaluation.report import figure_and_axes, save_figure

MOST_DRAWN = 100  # labels with a matrix in the picture, those with the most rows


class Found:
    """The probabilities that are predicted for rows with these labels, (N, C) of 0 and 1."""

    def __init__(self, labels, hierarchy, calibration):
        self.labels, self.classes, self.calibration = np.array(labels), hierarchy.classes, calibration
        self.sums = torch.zeros(2, *labels.shape)  # before calibration and after; each rank adds its rows

    def add(self, row_ids, logits):
        self.sums[0, row_ids] = logits.sigmoid().cpu()
        self.sums[1, row_ids] = self.calibration.probabilities(logits).cpu()

    @property
    def probabilities(self):
        return self.sums[1].numpy()

    @functools.cached_property
    def predicted(self):
        """(N, C) bool."""
        return self.calibration.predicted(self.probabilities)

    @functools.cached_property
    def results(self):
        """The metrics, as data, and the text of the report."""
        return test_results(self.labels, self.predicted, self.probabilities, self.classes)

    def headline(self, _):
        """The scores at the labels' thresholds; that of the training is at a probability of 0.5."""
        return headline(self.results[0])

    def reliability(self):
        """The temperatures, and the log loss and the Brier score of a label, before and after."""
        before, after = (measures(self.labels, part.numpy()) for part in self.sums)
        return {"temperatures": self.calibration.temperatures.tolist(), "before": before, "after": after}

    def write(self, directory, texts):
        """Writes the predictions and the picture of the matrices."""
        path = Path(directory) / "predictions.tsv"
        write_predictions(path, texts, self.labels, self.predicted, self.classes, self.probabilities)
        draw_matrices(directory, np.array(self.results[0]["confusion_matrices"]), self.classes)


def headline(results):
    """The line with the scores of a test."""
    return f"Test Micro F1: {results['micro_f1']:>6.2%},  Test Macro F1: {results['macro_f1']:>6.2%}"


def test_results(labels, predicted, probabilities, classes):
    """The metrics of a test, as data, and scikit-learn's report with lines of the others, as text. All are (N, C).

    Labels without rows and predictions count as zero, rows without labels and predictions as one.
    """
    options = {"target_names": classes, "zero_division": 0}
    text = metrics.classification_report(labels, predicted, digits=4, **options)
    report = metrics.classification_report(labels, predicted, output_dict=True, **options)
    results = {f"{name}_f1": report[f"{name} avg"]["f1-score"] for name in ("micro", "macro")}
    results |= {
        "sample_f1": float(metrics.f1_score(labels, predicted, average="samples", zero_division=1)),
        "subset_accuracy": float(metrics.accuracy_score(labels, predicted)),
        "hamming_loss": float(metrics.hamming_loss(labels, predicted)),
        "ranking_average_precision": float(metrics.label_ranking_average_precision_score(labels, probabilities)),
    }
    lines = [f"{name.replace('_', ' ').capitalize().replace('f1', 'F1')}: {results[name]:.4f}" for name in results]
    by_label = text.rstrip().rsplit("\n", 1)[0]  # without the average over rows, which has no row without labels as one
    matrices = metrics.multilabel_confusion_matrix(labels, predicted)
    results |= {"report": report, "confusion_matrices": matrices.tolist()}
    return results, "\n".join(["Precision, Recall and F1-Score...", by_label, *lines])


def measures(labels, probabilities):
    """The mean log loss and squared error of labels' probabilities, (N, C) each."""
    right = np.where(labels, probabilities, 1 - probabilities)
    return {"log_loss": float(-np.log(np.maximum(right, TINY)).mean()), "brier": float(((1 - right) ** 2).mean())}


def write_predictions(path, texts, labels, predicted, classes, probabilities=None):
    """A .tsv file of texts, their labels and the predicted ones, joined by commas, with the probabilities of these.

    Wrong rows are first, those with the largest sum of errors before the others. labels, predicted: (N, C).
    """
    errors = np.abs(labels - (predicted if probabilities is None else probabilities)).sum(axis=1)
    order = np.lexsort((-errors, (predicted == labels).all(axis=1)))
    own, found = label_ids(labels, labels > 0), label_ids(labels if probabilities is None else probabilities, predicted)
    with replacing(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        file.write("text\tlabels\tpredicted" + ("" if probabilities is None else "\tprobabilities") + "\n")
        for i in order:
            fields = [one_line(texts[i]), *(",".join(classes[c] for c in ids) for ids in (own[i], found[i]))]
            if probabilities is not None:
                fields.append(",".join(f"{probabilities[i, c]:.4f}" for c in found[i]))
            file.write("\t".join(fields) + "\n")


def draw_matrices(directory, matrices, classes):
    """`confusion_matrix.png`: a two-by-two matrix for each label; the shade is the share of the row.

    Rows are without the label and with it, columns as predicted. matrices: (C, 2, 2).
    """
    chosen = np.argsort(-matrices[:, 1].sum(axis=1), kind="stable")[:MOST_DRAWN]
    across = math.ceil(math.sqrt(len(chosen)))
    down = math.ceil(len(chosen) / across)
    figure, axes = figure_and_axes((1.5 * across + 1, 1.6 * down + 1))
    shades = np.full((3 * down, 3 * across), np.nan)
    for place, c in enumerate(chosen):
        y, x = 3 * (place // across) + 1, 3 * (place % across)
        shares = matrices[c] / np.maximum(matrices[c].sum(axis=1, keepdims=True), 1)
        shades[y : y + 2, x : x + 2] = shares
        axes.text(x + 0.5, y - 0.7, excerpt(classes[c], 12), ha="center", va="bottom", fontsize=9)
        for (row, column), count in np.ndenumerate(matrices[c]):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(x + column, y + row, count, ha="center", va="center", fontsize=8, color=color)
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1)
    more = f", the {len(chosen)} labels with the most rows of {len(classes)}" if len(chosen) < len(classes) else ""
    axes.set(title=f"Each label: rows without and with it, columns as predicted{more}")
    axes.set_axis_off()
    save_figure(figure, Path(directory) / "confusion_matrix.png")
