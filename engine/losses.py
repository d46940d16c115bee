"""Losses of batches: cross entropy with weights of classes, and loss and accuracy summed on the device."""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from engine.ranks import all_reduce_sum
from text.rows import blocks

NO_LABEL = -1  # the label of a row without one
TINY = 1e-30  # so that nothing is divided by zero


class Loss(NamedTuple):
    """Cross entropy, and for rows with teachers' probabilities the divergence from these, after Hinton et al. 2015,
    https://arxiv.org/abs/1503.02531.

    class_weights: (C,), or None if all classes have the weight 1. teacher_share: the share of the divergence in the
    loss of a row that has a label too; the divergence is computed at the temperature, and multiplied by its square.
    """

    class_weights: torch.Tensor | None = None
    label_smoothing: float = 0.0
    teacher_share: float = 0.0
    temperature: float = 1.0

    def __call__(self, logits, labels, targets=None):
        """The sum of the losses, of logits, (B, C), labels, (B,), and teachers' probabilities, (B, C), if any."""
        options = {"weight": self.class_weights, "label_smoothing": self.label_smoothing, "ignore_index": NO_LABEL}
        if targets is None:
            return F.cross_entropy(logits, labels, reduction="sum", **options)
        shares = self.shares(labels, targets)
        entropy = F.cross_entropy(logits, labels, reduction="none", **options)
        tempered = targets.pow(1 / self.temperature)
        tempered = tempered / tempered.sum(dim=1, keepdim=True).clamp(min=TINY)
        divergence = F.kl_div((logits / self.temperature).log_softmax(dim=1), tempered, reduction="none").sum(dim=1)
        return ((1 - shares) * entropy + shares * self.target_weights(targets) * self.temperature**2 * divergence).sum()

    def shares(self, labels, targets):
        """The share of the divergence in each row's loss, (B,): all for a row without a label, none without targets."""
        shares = torch.where(labels == NO_LABEL, 1.0, self.teacher_share)
        return shares.masked_fill(targets.sum(dim=1) == 0, 0.0)

    def target_weights(self, targets):
        """The mean weight of the classes of each row by its teachers' probabilities, (B,)."""
        return 1.0 if self.class_weights is None else targets @ self.class_weights

    def weight(self, labels, targets=None):
        """The sum of the weights of these rows, by which a mean loss is divided."""
        if self.class_weights is None:
            return torch.full((), float(len(labels)), device=labels.device)
        if targets is None:
            return self.class_weights[labels].sum()
        shares = self.shares(labels, targets)
        own = self.class_weights[labels.clamp(min=0)]
        return ((1 - shares) * own + shares * self.target_weights(targets)).sum()


def balanced_weights(split, num_classes, device):
    """The weight of each class, (C,), that gives all classes the same sum of weights over a split."""
    counts = sum(np.bincount(labels, minlength=num_classes) for labels in blocks(split.labels))
    weights = len(split.labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=device)


class Tally:
    """Loss and accuracy, summed on the device, so that no step waits for it."""

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
