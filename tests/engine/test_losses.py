import math

import pytest
import torch
from torch.nn import functional as F

from engine.losses import Loss, Tally

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, -3.0], [1.0, 1.5, 0.2], [0.3, 0.1, 0.9]])
TARGETS = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.0, 0.0], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3]])  # the second has none
LABELS = torch.tensor([0, 2, -1, 1])  # the third has none


def entropy(row, label):
    return -math.log(math.exp(LOGITS[row, label]) / sum(math.exp(x) for x in LOGITS[row].tolist()))


def divergence(row, temperature):
    given = [p ** (1 / temperature) for p in TARGETS[row].tolist()]
    given = [p / sum(given) for p in given]
    own = [math.exp(x / temperature) for x in LOGITS[row].tolist()]
    return sum(p * math.log(p / (q / sum(own))) for p, q in zip(given, own, strict=True))


def test_the_loss_of_rows_with_a_label_teachers_or_both():
    found = Loss(teacher_share=0.3, temperature=2.0)(LOGITS, LABELS, TARGETS)
    both = [0.7 * entropy(row, LABELS[row]) + 0.3 * 4 * divergence(row, 2.0) for row in (0, 3)]
    assert found.item() == pytest.approx(sum(both) + entropy(1, 2) + 4 * divergence(2, 2.0), rel=1e-5)
    weights = torch.tensor([1.0, 3.0, 0.5])
    found = Loss(weights, 0.0, 1.0, 1.0)(LOGITS[2:3], LABELS[2:3], TARGETS[2:3])  # the weights that the teachers expect
    assert found.item() == pytest.approx((0.1 + 1.8 + 0.15) * divergence(2, 1.0), rel=1e-5)


def test_without_a_share_the_loss_of_labelled_rows_is_cross_entropy():
    weights, labels = torch.tensor([1.0, 3.0, 0.5]), LABELS.clamp(min=0)
    expected = F.cross_entropy(LOGITS, labels, weights, reduction="sum", label_smoothing=0.2)
    for targets in (None, TARGETS):
        loss = Loss(weights, 0.2)
        torch.testing.assert_close(loss(LOGITS, labels, targets), expected)
        assert loss.weight(labels, targets).item() == pytest.approx(1 + 0.5 + 1 + 3)


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 3.0, 0.5])])
def test_losses_and_weights_of_a_batchs_parts_add_up(weights):
    loss = Loss(weights, 0.1, 0.4, 3.0)
    parts = [(LOGITS[part], LABELS[part], TARGETS[part]) for part in (slice(0, 1), slice(1, 4), slice(0, 0))]
    torch.testing.assert_close(sum(loss(*part) for part in parts), loss(LOGITS, LABELS, TARGETS))
    torch.testing.assert_close(sum(loss.weight(*part[1:]) for part in parts), loss.weight(LABELS, TARGETS))


def test_rows_without_a_label_are_not_counted_as_wrong():
    tally = Tally("cpu", Loss(teacher_share=0.5))
    tally.add(LOGITS, LABELS, TARGETS)
    assert tally.close()[1] == pytest.approx(1 / 3)
    tally.add(LOGITS[2:3], LABELS[2:3], TARGETS[2:3])
    assert tally.close() == (pytest.approx(divergence(2, 1.0), rel=1e-5), 0.0)
