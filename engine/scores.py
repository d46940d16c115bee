"""How well predictions agree with labels, in one number."""

import numpy as np


def predictions_of(saved, probabilities):
    """The class of each text, (N,), or whether it has each label, (N, C)."""
    return saved.calibration.predicted(probabilities) if saved.multi_label else probabilities.argmax(axis=1)


def score_of(predicted, labels):
    """The accuracy, or the macro F1 of any number of labels a text."""
    if labels.ndim == 1:
        return float((predicted == labels).mean())
    hits, sizes = (predicted & (labels > 0)).sum(axis=0), predicted.sum(axis=0) + (labels > 0).sum(axis=0)
    return float((2 * hits / np.maximum(sizes, 1)).mean())


def measure_of(saved):
    """The name of what `score_of` computes for a Classifier or an Ensemble."""
    return "macro F1" if saved.multi_label else "accuracy"
