"""Calibration: a temperature with which probabilities agree with how often the model is right.

The temperature is fitted on the validation split after training: Guo et al. 2017, https://arxiv.org/abs/1706.04599. It
divides the logits and changes no prediction. A checkpoint keeps it, and the results of validation rows, from which
`predict.py` chooses thresholds without the dataset.
"""

from typing import NamedTuple

import numpy as np
import torch

from cli.console import RANK, RANKS, UserError, reason
from engine.batches import infer
from engine.label_calibration import MultiLabelCalibration
from engine.ranks import all_reduce_sum
from engine.temperature import HIGHEST, LOWEST, best_temperature, log_of, tempered
from text.rows import sample_of

ROWS = 100_000  # validation rows that are used, at most
NUMBERS = 1 << 23  # of their logits, at most


class Calibration(NamedTuple):
    """A temperature, and the results of N validation rows at it. Without any, N is 0 and the temperature 1."""

    temperature: float = 1.0
    confidences: torch.Tensor = torch.zeros(0)  # (N,) float32, the probability of the predicted class
    of_labels: torch.Tensor = torch.zeros(0)  # (N,) float32, the probability of the label
    predicted: torch.Tensor = torch.zeros(0, dtype=torch.int32)  # (N,), classes
    labels: torch.Tensor = torch.zeros(0, dtype=torch.int32)  # (N,), classes
    sums: torch.Tensor = torch.zeros(0, 1)  # (N, L) float32, those of `Hierarchy.descend`; no rows if L is 1
    agreeing: torch.Tensor = torch.zeros(0, dtype=torch.int32)  # (N,), see `Hierarchy.agreeing`; empty if L is 1

    @classmethod
    def fit(cls, logits, labels, hierarchy):
        """The Calibration of these logits, (N, C), and labels, (N,), for a Hierarchy of the classes."""
        if not len(labels):
            return cls.usual(hierarchy)
        temperature = best_temperature(logits.double().numpy(), labels.numpy())
        probabilities = (logits / temperature).softmax(dim=1)
        predicted, confidences, of_labels, _ = summary(probabilities, labels)
        found = cls(temperature, confidences.float(), of_labels.float(), predicted.int(), labels.int())
        if hierarchy.num_levels == 1:
            return found
        nodes, sums = hierarchy.descend(probabilities.float().numpy())
        agreeing = torch.from_numpy(hierarchy.agreeing(nodes, labels.numpy())).int()
        return found._replace(sums=torch.from_numpy(sums), agreeing=agreeing)

    @classmethod
    def usual(cls, hierarchy):
        """That of a model which is not calibrated."""
        return cls(sums=torch.zeros(0, hierarchy.num_levels))

    @classmethod
    def of(cls, path, content):
        """The Calibration in the content of a checkpoint, or its MultiLabelCalibration; earlier versions had none.

        path: of its file, for the message. Raises UserError for any other content.
        """
        found = content.get("calibration", {})
        try:
            tensors = {name: tensor.detach().cpu() for name, tensor in found.items() if name != "temperature"}
            kind = MultiLabelCalibration if "thresholds" in tensors else cls
            calibration = kind(**found | tensors)
            if not calibration._is_valid(len(content["classes"])):
                raise ValueError("numbers out of range")
        except Exception as error:  # a file may hold values of any type
            raise UserError(f"{path}: its calibration is not valid ({reason(error)}); train again") from error
        return calibration

    def _is_valid(self, num_classes):
        numbers, ids = (self.confidences, self.of_labels, self.sums), (self.predicted, self.labels)
        rows = len(self.labels) if self.hierarchical else 0
        return (
            type(self.temperature) is float
            and LOWEST <= self.temperature <= HIGHEST
            and all(tensor.shape == (len(self.labels),) for tensor in self[1:5])
            and (self.sums.dim(), len(self.sums), self.agreeing.shape) == (2, rows, (rows,))
            and self.agreeing.dtype == torch.int32
            and (self.sums[:, 1:] <= self.sums[:, :-1]).all()
            and all(tensor.dtype == torch.float32 and ((tensor >= 0) & (tensor <= 1)).all() for tensor in numbers)
            and all(tensor.dtype == torch.int32 and ((tensor >= 0) & (tensor < num_classes)).all() for tensor in ids)
        )

    @property
    def hierarchical(self):
        """Whether the names of the classes are paths."""
        return self.sums.shape[1] > 1

    @property
    def answers(self):
        """What a threshold decides on: the `sums`, (N, L), and `agreeing`, (N,), of rows; without levels L is 1."""
        if self.hierarchical:
            return self.sums.numpy(), self.agreeing.numpy()
        return self.confidences.numpy()[:, None], (self.predicted == self.labels).int().numpy()

    def probabilities(self, logits):
        """The calibrated probabilities of logits, (B, C)."""
        return (logits / self.temperature).softmax(dim=1)

    def logits(self, probabilities):
        """Logits of which these are the calibrated probabilities, (B, C) of NumPy, as a tensor."""
        return torch.from_numpy(log_of(probabilities)) * self.temperature

    def of_mean(self, probabilities):
        """The calibrated probabilities of the mean of an ensemble's members, (N, C); rows that are all 0 remain so."""
        return tempered(probabilities, self.temperature)


def summary(probabilities, labels):
    """What calibration is measured by, of probabilities, (B, C), and labels, (B,), as (4, B) float64.

    The rows are the predicted class, its probability, the probability of the label, and the sum of the squares.
    """
    confidences, predicted = probabilities.max(dim=1)
    of_labels = probabilities.gather(1, labels.long()[:, None])[:, 0]
    rows = predicted, confidences, of_labels, probabilities.square().sum(dim=1)
    return torch.stack([row.double() for row in rows]).cpu()


def sample(read, num_classes):
    """The ids of the rows that the model reads, or of a random sample of them if there are many.

    read: (N,), 0 or False for a row without tokens.
    """
    return sample_of(np.flatnonzero(read), min(ROWS, NUMBERS // num_classes))


def calibrate(model, batches, hierarchy):
    """The Calibration of a model on a split's Batches, the same on all ranks. hierarchy: a Hierarchy of the classes."""
    num_classes = len(hierarchy.paths)
    row_ids = sample(batches.lengths, num_classes)
    found = torch.zeros(len(row_ids), num_classes)
    for batch_ids, _, logits in infer(model, batches, RANK, RANKS, row_ids):
        found[np.searchsorted(row_ids, batch_ids)] = logits.float().cpu()
    if RANKS > 1:
        found = all_reduce_sum(found.to(batches.device)).cpu()
    labels = batches.labels[row_ids].cpu().long()
    return MultiLabelCalibration.fit(found, labels) if labels.dim() == 2 else Calibration.fit(found, labels, hierarchy)


def calibrate_mean(probabilities, labels, hierarchy):
    """The Calibration of an ensemble's mean probabilities, (N, C), all 0 for an empty text, and labels, (N,).

    Labels of shape (N, C) have a MultiLabelCalibration. hierarchy: a Hierarchy of the classes.
    """
    row_ids, num_classes = sample(probabilities.any(axis=1), probabilities.shape[1]), probabilities.shape[1]
    probabilities, labels = probabilities[row_ids], torch.from_numpy(labels[row_ids]).long()
    if labels.dim() == 2:
        neutral = MultiLabelCalibration.usual(num_classes)
        return neutral.fit(neutral.logits(probabilities), labels)
    return Calibration.fit(Calibration().logits(probabilities), labels, hierarchy)
