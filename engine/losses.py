"""Losses of batches: cross entropy with weights of classes, and loss and accuracy summed on the device.

Labels of shape (B, C), 0 and 1, are those of rows with any number of labels. Their loss is binary cross entropy, summed
over the classes, so that its gradients do not become smaller with their number; the score is the macro F1. A row whose
labels are not known has `NO_LABEL` in all columns.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from engine.ranks import all_reduce_sum
from engine.temperature import TINY
from text.rows import blocks

NO_LABEL = -1  # the label of a row without one


class Loss(NamedTuple):
    """Cross entropy, and for rows with teachers' probabilities the divergence from these, after Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531. With several labels a row, both are binary cross entropy.

    class_weights: (C,), or None if all classes have the weight 1; with several labels a row those of the rows that have
    the label, while the others have the weight 1. teacher_share: the share of the divergence in the
    loss of a row that has a label too; the divergence is computed at the temperature, and multiplied by its square.
    """

    class_weights: torch.Tensor | None = None
    label_smoothing: float = 0.0
    teacher_share: float = 0.0
    temperature: float = 1.0

    def __call__(self, logits, labels, targets=None):
        """The sum of the losses, of logits, (B, C), labels, and teachers' probabilities, (B, C), if any."""
        if labels.dim() == 2:
            return self.binary(logits, labels, targets)
        options = {"weight": self.class_weights, "label_smoothing": self.label_smoothing, "ignore_index": NO_LABEL}
        if targets is None:
            return F.cross_entropy(logits, labels, reduction="sum", **options)
        shares = self.shares(labels, targets)
        entropy = F.cross_entropy(logits, labels, reduction="none", **options)
        tempered = targets.pow(1 / self.temperature)
        tempered = tempered / tempered.sum(dim=1, keepdim=True).clamp(min=TINY)
        divergence = F.kl_div((logits / self.temperature).log_softmax(dim=1), tempered, reduction="none").sum(dim=1)
        return ((1 - shares) * entropy + shares * self.target_weights(targets) * self.temperature**2 * divergence).sum()

    def binary(self, logits, labels, targets=None):
        """The sum of the losses of rows with any number of labels; all are (B, C)."""

        def entropy(logits, wanted):
            options = {"reduction": "none", "pos_weight": self.class_weights}
            return F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), **options).sum(dim=1)

        own = entropy(logits, labels * (1 - self.label_smoothing) + self.label_smoothing / 2)
        if targets is None:
            return own.sum()
        powers = [side.pow(1 / self.temperature) for side in (targets, 1 - targets)]
        taught = self.temperature**2 * entropy(logits / self.temperature, powers[0] / sum(powers))
        shares = self.shares(labels[:, 0], targets)
        return ((1 - shares) * own + shares * taught).sum()

    def shares(self, labels, targets):
        """The share of the teachers in each row's loss, (B,): all for a row without a label, none without targets."""
        shares = torch.where(labels == NO_LABEL, 1.0, self.teacher_share)
        return shares.masked_fill(targets.sum(dim=1) == 0, 0.0)

    def target_weights(self, targets):
        """The mean weight of the classes of each row by its teachers' probabilities, (B,)."""
        return 1.0 if self.class_weights is None else targets @ self.class_weights

    def weight(self, labels, targets=None):
        """The sum of the weights of these rows, by which a mean loss is divided."""
        if self.class_weights is None or labels.dim() == 2:
            return torch.full((), float(len(labels)), device=labels.device)
        if targets is None:
            return self.class_weights[labels].sum()
        shares = self.shares(labels, targets)
        own = self.class_weights[labels.clamp(min=0)]
        return ((1 - shares) * own + shares * self.target_weights(targets)).sum()


def balanced_weights(split, num_classes, device):
    """The weight of each class, (C,), that gives all classes the same sum of weights over a split.

    With several labels a row, that gives the rows with a label the same sum as those without it.
    """
    if split.labels.ndim == 2:
        counts = np.maximum(split.labels.sum(axis=0, dtype=np.int64), 1)
        return torch.tensor((len(split.labels) - counts) / counts, dtype=torch.float32, device=device).clamp(min=TINY)
    counts = sum(np.bincount(labels, minlength=num_classes) for labels in blocks(split.labels))
    weights = len(split.labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=device)


def tally_of(batches, loss):
    """A Tally of these Batches' losses, or a `MultiLabelTally` if they have several labels a row."""
    return tally_class(batches.labels.dim() == 2)(batches.device, loss, *batches.labels.shape[1:])


def tally_class(multi_label):
    """The class of Tally for rows with one label or any number of them; it names the score of a validation."""
    return MultiLabelTally if multi_label else Tally


class Tally:
    """Loss and accuracy, summed on the device, so that no step waits for it."""

    measure, shown, title = "accuracy", "Acc", "accuracy"  # in files, in lines of a run, in sentences

    def __init__(self, device, loss):
        self.loss = loss
        dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64  # MPS has no float64
        self.sums = torch.zeros(4, dtype=dtype, device=device)  # loss, weight, correct, labels

    def add(self, logits, labels, targets=None):
        """Adds a batch's logits, (B, C), labels, (B,), and targets, (B, C) or None; returns the sum of their losses."""
        loss = self.loss(logits, labels, targets)
        correct = (logits.argmax(dim=1) == labels).sum()
        count = torch.full_like(correct, len(labels)) if targets is None else (labels != NO_LABEL).sum()
        parts = (loss.detach(), self.loss.weight(labels, targets), correct, count)
        self.sums += torch.stack([part.to(self.sums.dtype) for part in parts])
        return loss

    def close(self):
        """The mean loss and the accuracy over all ranks, that of the rows with labels. Resets the sums."""
        loss, weight, correct, count = all_reduce_sum(self.sums).tolist()
        self.sums.zero_()
        return loss / weight, correct / max(count, 1)


class MultiLabelTally(Tally):
    """Loss and macro F1 of rows with any number of labels, which are predicted from a probability of 0.5 on.

    The F1 is that of the rows whose labels are known.
    """

    measure, shown, title = "macro_f1", "F1", "macro F1"

    def __init__(self, device, loss, num_classes):
        super().__init__(device, loss)
        self.sums = self.sums.new_zeros(2 + 3 * num_classes)  # loss, weight; of each class hits, predictions, labels

    def add(self, logits, labels, targets=None):
        """Adds a batch's logits, labels and targets (or None), (B, C) each; returns the sum of their losses."""
        loss, own = self.loss(logits, labels, targets), labels > 0
        predicted = (logits > 0) & (labels != NO_LABEL)
        counts = [values.sum(dim=0) for values in (predicted & own, predicted, own)]
        parts = (loss.detach()[None], self.loss.weight(labels)[None], *counts)
        self.sums += torch.cat([part.to(self.sums.dtype) for part in parts])
        return loss

    def close(self):
        """The mean loss and the macro F1 over all ranks; a class without labels and predictions has an F1 of 0."""
        sums = all_reduce_sum(self.sums)
        (loss, weight), (hits, predicted, own) = sums[:2].tolist(), sums[2:].view(3, -1)
        score = (2 * hits / (predicted + own).clamp(min=1)).mean().item()
        self.sums = torch.zeros_like(self.sums)
        return loss / weight, score
