"""Thresholds that are chosen on validation rows."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from cli.console import UserError
from engine.calibration import Calibration
from engine.label_calibration import MultiLabelCalibration
from engine.thresholds import (
    describe_label_thresholds,
    describe_threshold,
    label_thresholds_of_precision,
    sets_of,
    threshold_of_coverage,
    threshold_of_precision,
)
from text.hierarchy import Hierarchy


def calibration_of(confidences, right):
    """The Calibration of rows of class 0, predicted as 0 or 1."""
    confidences, right = torch.tensor(confidences, dtype=torch.float32), torch.tensor(right)
    of_labels = torch.where(right, confidences, (1 - confidences).clamp(min=0))
    return Calibration(1.0, confidences, of_labels, (~right).int(), torch.zeros(len(right), dtype=torch.int32))


def drawn(rows, seed):
    """Confidences of calibrated probabilities and whether the prediction is right, (N,) each."""
    rng = np.random.default_rng(seed)
    confidences = rng.beta(5, 1, rows)
    return confidences, rng.random(rows) < confidences


@given(st.integers(0, 1000), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_bound_of_the_precision_is_met(seed, precision):
    confidences, right = drawn(2000, seed)
    found = calibration_of(confidences, right)
    threshold = threshold_of_precision(found, precision)
    answered = found.confidences.numpy() >= threshold
    hits = int(right[answered].sum())
    assert binomtest(hits, int(answered.sum()), precision, alternative="greater").pvalue <= 0.05 + 1e-9


def test_the_precision_holds_on_other_rows():
    """In nearly all of the draws: with the share on the validation rows alone, it would be half of them."""
    held = []
    confidences, right = drawn(100_000, 1000)
    for seed in range(60):
        threshold = threshold_of_precision(calibration_of(*drawn(2000, seed)), 0.9)
        held.append(right[confidences >= threshold].mean() >= 0.9)
    assert np.mean(held) > 0.85


def test_equal_confidences_are_on_the_same_side():
    found = calibration_of([0.9] * 100 + [0.8] * 100, [True] * 100 + [True] * 50 + [False] * 50)
    assert threshold_of_precision(found, 0.9) == pytest.approx(0.9)
    assert threshold_of_precision(found, 0.6) == 0  # all rows are answered


def of_paths(rows, seed):
    """The Calibration of rows of a hierarchy of three levels."""
    rng = np.random.default_rng(seed)
    tree = Hierarchy(["a/b/c", "a/b/d", "a", "e/f", "e/g", "h"], True)
    logits = 2 * rng.normal(size=(rows, 6))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return Calibration.fit(torch.from_numpy(logits), torch.from_numpy(labels), tree)


@given(st.integers(0, 1000), st.sampled_from([0.6, 0.75, 0.9]))
def test_a_precision_of_a_hierarchy_is_met_by_the_lowest_threshold(seed, precision):
    found = of_paths(100, seed)

    def bound_is_met(threshold):
        levels = (found.sums.numpy() >= threshold).sum(axis=1)
        hits, answered = int((levels <= found.agreeing.numpy())[levels > 0].sum()), int((levels > 0).sum())
        return binomtest(hits, answered, precision, alternative="greater").pvalue <= 0.05

    met = [value for value in np.unique(found.sums) if value > 0 and bound_is_met(value)]
    if met:
        assert threshold_of_precision(found, precision) == met[0]
    else:
        with pytest.raises(UserError, match="the 100 validation rows do not show it"):
            threshold_of_precision(found, precision)


def test_a_hierarchy_answers_more_rows_than_its_classes():
    found = of_paths(2000, 0)
    flat = found._replace(sums=torch.zeros(0, 1), agreeing=torch.zeros(0, dtype=torch.int32))
    answered = [(part.answers[0][:, 0] >= threshold_of_precision(part, 0.9)).mean() for part in (found, flat)]
    assert answered[0] > answered[1] > 0


def test_the_description_of_a_hierarchy_has_the_levels():
    found = Calibration(
        1.0,
        *(torch.zeros(4),) * 2,
        *(torch.zeros(4, dtype=torch.int32),) * 2,
        torch.tensor([[0.9, 0.8], [0.9, 0.6], [0.8, 0.1], [0.6, 0.5]]),
        torch.tensor([1, 1, 1, 0], dtype=torch.int32),
    )
    assert describe_threshold(found, 0.7) == [
        "Predictions with a probability below 0.7000 become ?, or the node above: "
        "25.0% of the validation rows are left to a person, 66.7% of the others are right",
        "  Rows answered at level 1: 50.0%, level 2: 25.0%",
    ]


def test_without_a_threshold_paths_are_as_long_as_they_are():
    rows, classes = (torch.zeros(2),) * 2, (torch.zeros(2, dtype=torch.int32),) * 2
    found = Calibration(1.0, *rows, *classes, torch.tensor([[0.9, 0.0], [0.9, 0.6]]), torch.tensor([1, 2]))
    first, levels = describe_threshold(found, 0.0)
    assert first.endswith("0.0% of the validation rows are left to a person, 100.0% of the others are right")
    assert levels == "  Rows answered at level 1: 50.0%, level 2: 50.0%"


@pytest.mark.parametrize("right", [[True] * 20, [False] * 500])
def test_a_precision_that_the_rows_do_not_show_is_a_line(right):
    with pytest.raises(
        UserError, match=r"--min_precision 0.98: the \d+ validation rows do not show it at any"
    ) as error:
        threshold_of_precision(calibration_of([0.9] * len(right), right), 0.98)
    assert "\n" not in str(error.value)


def test_the_description_counts_rows():
    found = calibration_of([0.9, 0.9, 0.6, 0.6], [True, False, True, True])
    lines = describe_threshold(found, 0.7, ["财经", "房产", "股票"])
    assert lines == [
        "Predictions with a probability below 0.7000 become ?: "
        "50.0% of the validation rows are left to a person, 50.0% of the others are right",
        "  财经: 66.7% of the validation rows are left to a person, 100.0% of the others are right",
        "  房产: 0.0% of the validation rows are left to a person, 0.0% of the others are right",
        "  股票: no validation rows",
    ]
    assert describe_threshold(found, 1.0)[0].endswith("100.0% of the validation rows are left to a person")


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_label_as_often_as_asked_for(coverage):
    rng = np.random.default_rng(4)
    logits = 2 * rng.normal(size=(40_000, 6))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    probabilities = torch.from_numpy(2 * logits).softmax(dim=1).numpy()  # too certain, which does not matter
    found = Calibration.fit(
        torch.from_numpy(2 * logits[:2000]), torch.from_numpy(labels[:2000]), Hierarchy("abcdef")
    )._replace(of_labels=torch.from_numpy(probabilities[np.arange(2000), labels[:2000]]).float())
    sets = sets_of(probabilities[2000:], threshold_of_coverage(found, coverage))
    held = np.mean([label in row for label, row in zip(labels[2000:].tolist(), sets, strict=True)])
    assert coverage - 0.02 < held < coverage + 0.03
    assert 1 <= min(map(len, sets)) < max(map(len, sets)) <= 6


def test_a_set_starts_with_the_most_probable_class():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [0.0, 0.0, 0.0]], np.float32)
    assert sets_of(probabilities, 0.25) == [[1, 2], [0, 2], []]
    assert sets_of(probabilities, 0.9) == [[1], [0], []]


def test_a_coverage_of_more_than_the_rows_show_is_a_line():
    found = calibration_of([0.9] * 18, [True] * 18)
    with pytest.raises(UserError, match=r"--coverage 0.95 needs 19 validation rows, the checkpoint has 18; lower it"):
        threshold_of_coverage(found, 0.95)
    assert threshold_of_coverage(calibration_of([0.9] * 19, [True] * 19), 0.95) == pytest.approx(0.9)


def calibration_of_labels(probabilities, labels):
    """The MultiLabelCalibration of rows with these probabilities and labels, (N, C) each, at thresholds of 0.5."""
    probabilities, labels = torch.tensor(probabilities, dtype=torch.float32), torch.tensor(labels, dtype=torch.uint8)
    return MultiLabelCalibration.usual(labels.shape[1])._replace(validated=probabilities, labels=labels)


def drawn_labels(rows, seed):
    """Calibrated probabilities of three labels, and the labels, (N, 3) each."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.4, 0.6, (rows, 3))
    return probabilities, rng.random((rows, 3)) < probabilities


def test_each_label_has_its_precision_on_other_rows():
    held = []
    probabilities, labels = drawn_labels(50_000, 1000)
    for seed in range(40):
        least = label_thresholds_of_precision(calibration_of_labels(*drawn_labels(2000, seed)), 0.9)
        kept = (probabilities >= 0.5) & (probabilities >= least)
        held += [labels[kept[:, c], c].mean() >= 0.9 for c in range(3)]
    assert np.mean(held) > 0.85


def test_a_label_that_does_not_have_the_precision_has_no_threshold():
    right = np.repeat([1, 0], [100, 100])
    probabilities = np.stack((np.full(200, 0.9), np.where(right, 0.9, 0.6), np.full(200, 0.1)), axis=1)
    found = calibration_of_labels(probabilities, np.stack((right, right, right), axis=1))
    least = label_thresholds_of_precision(found, 0.9)
    assert least.tolist() == [np.inf, pytest.approx(0.9), np.inf]
    with pytest.raises(UserError, match=r"--min_precision 0.99: the 200 validation rows do not show it at any"):
        label_thresholds_of_precision(found, 0.99)


def test_the_description_counts_labels():
    probabilities = [[0.9, 0.8], [0.9, 0.1], [0.6, 0.1], [0.1, 0.1]]
    found = calibration_of_labels(probabilities, [[1, 0], [0, 0], [1, 0], [1, 0]])
    assert describe_label_thresholds(found, np.array([0.7, np.inf]), ["财经", "房产"]) == [
        "Labels below their thresholds: 50.0% of the labels predicted in the validation rows become ?, "
        "50.0% of the others are right, recall 33.3%, without the threshold 66.7%",
        "  财经, below 0.7000: 33.3% of the labels predicted in the validation rows become ?, "
        "50.0% of the others are right, recall 33.3%, without the threshold 66.7%",
        "  房产, below inf: 100.0% of the labels predicted in the validation rows become ?",
    ]
    assert describe_label_thresholds(found, 0.95)[0].startswith("Labels with a probability below 0.9500: 100.0% of")
    assert describe_label_thresholds(calibration_of_labels([[0.1, 0.2]], [[0, 0]]), 0.9)[0].endswith(
        "not predicted in the validation rows"
    )


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_of_labels_hold_all_labels_as_often_as_asked_for(coverage):
    probabilities, labels = drawn_labels(40_000, 3)
    wrong = probabilities**2  # not calibrated, which does not matter
    least = threshold_of_coverage(calibration_of_labels(wrong[:2000], labels[:2000]), coverage)
    held = ((wrong >= least) | ~labels)[2000:].all(axis=1).mean()
    assert coverage - 0.03 < held < coverage + 0.03


def test_a_row_without_labels_is_in_each_set():
    found = calibration_of_labels([[0.2, 0.7], [0.3, 0.4]], [[1, 1], [0, 0]])
    assert found.of_labels.tolist() == [pytest.approx(0.2), 1]
