import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch.nn import functional as F

from engine.losses import Loss, MultiLabelTally, Tally, balanced_weights

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


SETS = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 1, 1], [0, 1, 0]])


def test_the_loss_of_rows_with_any_number_of_labels():
    expected = [math.log1p(math.exp(-x if y else x)) for x, y in zip(LOGITS.ravel(), SETS.ravel(), strict=True)]
    assert Loss()(LOGITS, SETS).item() == pytest.approx(sum(expected), rel=1e-6)
    assert Loss().weight(SETS).item() == 4
    weights = torch.tensor([2.0, 1.0, 5.0])
    expected = [
        (weight if y else 1) * value
        for weight, y, value in zip(weights.repeat(4).tolist(), SETS.ravel(), expected, strict=True)
    ]
    assert Loss(weights)(LOGITS, SETS).item() == pytest.approx(sum(expected), rel=1e-6)
    smoothed = F.binary_cross_entropy_with_logits(LOGITS, SETS * 0.8 + 0.1, reduction="sum")
    assert Loss(None, 0.2)(LOGITS, SETS).item() == pytest.approx(smoothed.item(), rel=1e-6)


def test_balanced_weights_give_rows_with_a_label_the_weight_of_those_without():
    labels = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 1, 0]], np.uint8)
    weights = balanced_weights(SimpleNamespace(labels=labels), 4, "cpu")
    assert weights[:3].tolist() == pytest.approx([2 / 3, 4, 2 / 3])
    assert math.isfinite(weights[3])  # no row has it


@pytest.mark.parametrize("sizes", [(4,), (1, 3)])
def test_the_macro_f1_of_batches_is_scikit_learns(sizes):
    tally = MultiLabelTally("cpu", Loss(), 3)
    for _ in range(2):  # it starts again after closing
        for logits, labels in zip(LOGITS.split(sizes), SETS.split(sizes), strict=True):
            tally.add(logits, labels)
        loss, score = tally.close()
        assert loss == pytest.approx(Loss()(LOGITS, SETS).item() / 4)
        assert score == pytest.approx(f1_score(SETS, LOGITS > 0, average="macro"))


UNKNOWN = torch.tensor([[1, 0, 1], [0, 0, 0], [-1, -1, -1], [0, 1, 0]])  # the labels of the third row are not known
GIVEN = torch.tensor([[0.9, 0.2, 0.8], [0.0, 0.0, 0.0], [0.4, 0.6, 0.1], [0.2, 1.0, 0.3]])  # the second row has none


@pytest.mark.parametrize("weights", [None, torch.tensor([2.0, 1.0, 5.0])])
def test_the_loss_of_any_number_of_labels_with_teachers(weights):
    def entropy(row, wanted, temperature=1.0):
        values = LOGITS[row] / temperature
        return F.binary_cross_entropy_with_logits(values, wanted, pos_weight=weights, reduction="sum").item()

    def taught(row):
        powers = GIVEN[row].sqrt(), (1 - GIVEN[row]).sqrt()
        return 4 * entropy(row, powers[0] / sum(powers), 2.0)

    loss = Loss(weights, teacher_share=0.3, temperature=2.0)
    own = {row: entropy(row, UNKNOWN[row].float()) for row in (0, 1, 3)}
    expected = own[1] + taught(2) + sum(0.7 * own[row] + 0.3 * taught(row) for row in (0, 3))
    assert loss(LOGITS, UNKNOWN, GIVEN).item() == pytest.approx(expected, rel=1e-5)
    parts = [(LOGITS[part], UNKNOWN[part], GIVEN[part]) for part in (slice(0, 1), slice(1, 4), slice(0, 0))]
    torch.testing.assert_close(sum(loss(*part) for part in parts), loss(LOGITS, UNKNOWN, GIVEN))
    assert loss.weight(UNKNOWN, GIVEN).item() == 4


def test_rows_whose_labels_are_not_known_are_not_in_the_macro_f1():
    tally, known = MultiLabelTally("cpu", Loss(teacher_share=0.5), 3), [0, 1, 3]
    tally.add(LOGITS, UNKNOWN, GIVEN)
    assert tally.close()[1] == pytest.approx(f1_score(UNKNOWN[known], LOGITS[known] > 0, average="macro"))
