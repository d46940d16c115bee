"""Losses of batches: cross entropy with weights of classes, and loss and accuracy summed on the device."""

from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from engine.ranks import all_reduce_sum
from text.rows import blocks


class Loss(NamedTuple):
    """Cross entropy. class_weights: (C,), or None if all classes have the weight 1."""

    class_weights: torch.Tensor | None = None
    label_smoothing: float = 0.0

    def __call__(self, logits, labels):
        """The sum of the losses, of logits, (B, C), and labels, (B,)."""
        return F.cross_entropy(
            logits, labels, self.class_weights, reduction="sum", label_smoothing=self.label_smoothing
        )

    def weight(self, labels):
        """The sum of the weights of these labels, by which a mean loss is divided."""
        if self.class_weights is not None:
            return self.class_weights[labels].sum()
        return torch.full((), float(len(labels)), device=labels.device)


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

    def add(self, logits, labels):
        """Adds a batch's logits, (B, C), and labels, (B,); returns the sum of their losses."""
        loss = self.loss(logits, labels)
        correct = (logits.argmax(dim=1) == labels).sum()
        parts = (loss.detach(), self.loss.weight(labels), correct, torch.full_like(correct, len(labels)))
        self.sums += torch.stack([part.to(self.sums.dtype) for part in parts])
        return loss

    def close(self):
        """The mean loss and the accuracy over all ranks. Resets the sums."""
        loss, weight, correct, count = all_reduce_sum(self.sums).tolist()
        self.sums.zero_()
        return loss / weight, correct / count
