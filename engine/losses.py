"""The loss and accuracy of batches, summed on the device; weights of classes."""

import numpy as np
import torch
from torch.nn import functional as F

from engine.ranks import total
from text.rows import blocks


def class_weights(dataset, device):
    """Each class's weight in the loss, (C,), such that each class weighs as much, whatever its rows."""
    counts = sum(np.bincount(labels, minlength=len(dataset.classes)) for labels in blocks(dataset.train.labels))
    weights = len(dataset.train.labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=device)


class Tally:
    """Loss and accuracy, summed on the device, so that a step waits for nothing.

    loss_weight: of each class, (C,), or None. label_smoothing: of the loss.
    """

    def __init__(self, device, loss_weight=None, label_smoothing=0.0):
        self.loss_weight, self.label_smoothing = loss_weight, label_smoothing
        exact = torch.float32 if torch.device(device).type == "mps" else torch.float64  # MPS has no other
        self.sums = torch.zeros(4, dtype=exact, device=device)  # loss, weight, correct, labels

    def weigh(self, labels):
        """What these labels count in the mean loss: as many as they are, or their classes' weights."""
        if self.loss_weight is not None:
            return self.loss_weight[labels].sum()
        return torch.full((), float(len(labels)), device=labels.device)

    def add(self, logits, labels):
        """Takes in a batch's logits, (B, C), and labels, (B,); returns the sum of their losses."""
        loss = F.cross_entropy(logits, labels, self.loss_weight, reduction="sum", label_smoothing=self.label_smoothing)
        correct = (logits.argmax(dim=1) == labels).sum()
        parts = (loss.detach(), self.weigh(labels), correct, torch.full_like(correct, len(labels)))
        self.sums += torch.stack([part.to(self.sums.dtype) for part in parts])
        return loss

    def close(self):
        """The mean loss and the accuracy over all ranks; the next sums begin."""
        loss, weight, correct, count = total(self.sums).tolist()
        self.sums.zero_()
        return loss / weight, correct / count
