"""The test of a classifier that predicts one label a row."""

import functools

import numpy as np
import torch

from engine.calibration import summary
from evaluation import hierarchical, reliability, report


class Found:
    """What is predicted for rows with these labels, (N,), before calibration and after."""

    def __init__(self, labels, hierarchy, calibration):
        self.labels, self.hierarchy, self.calibration = labels.astype(np.int64), hierarchy, calibration
        self.classes = hierarchy.classes
        self.sums = torch.zeros(2, 4, len(labels), dtype=torch.float64)  # each rank adds its rows

    def add(self, row_ids, logits):
        own = torch.from_numpy(self.labels[row_ids]).to(logits.device)
        self.sums[0][:, row_ids] = summary(logits.softmax(dim=1), own)
        self.sums[1][:, row_ids] = summary(self.calibration.probabilities(logits), own)

    @property
    def predicted(self):
        return self.sums[1, 0].numpy().astype(np.int64)

    @functools.cached_property
    def results(self):
        """The metrics, as data, and the text of the report."""
        results, text = report.test_results(self.labels, self.predicted, self.classes)
        of_levels, lines = hierarchical.test_results(self.labels, self.predicted, self.hierarchy)
        matrix = str(np.array(results["confusion_matrix"]))
        parts = ["Precision, Recall and F1-Score...", text, *lines, "Confusion Matrix...", matrix]
        return results | of_levels, "\n".join(parts)

    def headline(self, accuracy):
        """The score of the rows that the model reads."""
        return f"Test Acc: {accuracy:>6.2%}"

    def reliability(self):
        return reliability.results(*self.sums.numpy(), self.labels, self.calibration.temperature)

    def write(self, directory, texts):
        """Writes the predictions and the pictures."""
        before, after = self.sums.numpy()
        report.write_predictions(directory, texts, self.labels, self.predicted, self.classes, after[1])
        report.draw_confusion_matrix(directory, np.array(self.results[0]["confusion_matrix"]), self.classes)
        reliability.write_pictures(directory, before, after, self.labels)
