"""The calibration of rows with any number of labels.

Each label has a temperature, and a threshold: the probability from which on it is predicted, chosen on the validation
split for the highest F1.
"""

from typing import NamedTuple

import numpy as np
import torch

from engine.temperature import HIGHEST, LOWEST, best_temperature, log_of
from text.rows import sample_of

KEPT = 1 << 20  # probabilities of labels of validation rows that a checkpoint keeps, at most
USUAL = 0.5  # threshold of a label


class MultiLabelCalibration(NamedTuple):
    """A temperature and a threshold for each label, and the results of N validation rows; without any, N is 0."""

    temperatures: torch.Tensor  # (C,) float32
    thresholds: torch.Tensor  # (C,) float32, of probabilities
    validated: torch.Tensor = torch.zeros(0, 0)  # (N, C) float32, the probabilities of the labels
    labels: torch.Tensor = torch.zeros(0, 0, dtype=torch.uint8)  # (N, C)

    hierarchical = False  # unlike a `Calibration`

    @classmethod
    def usual(cls, num_classes):
        """That of a model which is not calibrated."""
        return cls(torch.ones(num_classes), torch.full((num_classes,), USUAL))

    @classmethod
    def fit(cls, logits, labels):
        """The MultiLabelCalibration of these logits and labels, (N, C) each. A label without rows has the usual one."""
        usual, present = cls.usual(labels.shape[1]), labels.any(dim=0)
        if not len(labels):
            return usual
        for c in present.nonzero()[:, 0].tolist():
            binary = torch.stack((torch.zeros(len(logits)), logits[:, c]), dim=1)  # softmax gives the sigmoid
            usual.temperatures[c] = best_temperature(binary.double().numpy(), labels[:, c].numpy())
        probabilities = usual.probabilities(logits)
        thresholds, _ = best_thresholds(probabilities, labels)
        thresholds = torch.where(present, thresholds, usual.thresholds)
        kept = sample_of(np.arange(len(labels)), KEPT // labels.shape[1])
        return cls(usual.temperatures, thresholds, probabilities[kept].float(), labels[kept].to(torch.uint8))

    def _is_valid(self, num_classes):
        rows = (len(self.labels), num_classes if len(self.labels) else 0)
        shapes = (num_classes,), (num_classes,), rows, rows
        kinds = (torch.float32, torch.float32, torch.float32, torch.uint8)
        ranges = (LOWEST, HIGHEST), (0, 1), (0, 1), (0, 1)
        return all(
            tensor.shape == shape and tensor.dtype == kind and ((tensor >= low) & (tensor <= high)).all()
            for tensor, shape, kind, (low, high) in zip(self, shapes, kinds, ranges, strict=True)
        )

    @property
    def of_labels(self):
        """(N,), the probability of the least probable label of each row, 1 if it has none."""
        return torch.where(self.labels > 0, self.validated, 1.0).amin(dim=1)

    def probabilities(self, logits):
        """The calibrated probability of each label, of logits, (B, C)."""
        return (logits / self.temperatures.to(logits.device)).sigmoid()

    def logits(self, probabilities):
        """Logits of which these are the calibrated probabilities, (B, C) of NumPy, as a tensor."""
        return torch.from_numpy(log_of(probabilities) - log_of(1 - probabilities)) * self.temperatures

    def of_mean(self, probabilities):
        """The calibrated probabilities of the mean of an ensemble's members, (N, C); rows that are all 0 remain so."""
        powers = [side ** (1 / self.temperatures.numpy()) for side in (probabilities, 1 - probabilities)]
        return powers[0] / sum(powers)

    def predicted(self, probabilities):
        """Whether each label is predicted, (N, C) bool, of NumPy's probabilities."""
        return probabilities >= self.thresholds.numpy()


def best_thresholds(probabilities, labels):
    """The threshold of each label with the highest F1, (C,), and this F1, of probabilities and labels, (N, C) each.

    A threshold is halfway between two rows' probabilities; of equally good ones the highest.
    """
    ordered, order = probabilities.sort(dim=0, descending=True)
    hits = labels.gather(0, order).cumsum(dim=0)
    scores = 2 * hits / (torch.arange(1, len(labels) + 1)[:, None] + hits[-1])
    below = torch.cat((ordered[1:], torch.zeros_like(ordered[:1])))
    scores[ordered == below] = -1  # no threshold is between equal ones
    best = scores.argmax(dim=0, keepdim=True)
    return ((ordered + below) / 2).gather(0, best)[0], scores.gather(0, best)[0].clamp(min=0)
