"""Calibration of rows with any number of labels: temperatures, thresholds, what a checkpoint keeps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from cli.console import UserError
from engine import label_calibration
from engine.calibration import Calibration, calibrate_mean
from engine.label_calibration import MultiLabelCalibration, best_thresholds
from text.hierarchy import Hierarchy


def test_the_calibration_of_the_labels_of_an_ensemble_is_that_of_its_mean():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 2, (5000, 2)).astype(np.float32))
    labels = (rng.random((5000, 2)) < logits.sigmoid().numpy()).astype(np.uint8)
    mean = (logits * torch.tensor([2.0, 0.5])).sigmoid().numpy()
    mean[5], labels[5] = 0, 1  # a text without tokens
    found = calibrate_mean(mean, labels, Hierarchy(["甲", "乙"], False))
    assert found.temperatures.tolist() == pytest.approx([2, 0.5], rel=0.1)
    calibrated = found.of_mean(mean)
    assert calibrated.dtype == np.float32
    rows = np.arange(5000) != 5
    assert calibrated[rows] == pytest.approx(logits.sigmoid().numpy()[rows], abs=0.05)
    assert not calibrated[5].any()
    expected = found.probabilities(MultiLabelCalibration.usual(2).logits(mean[rows])).numpy()
    assert calibrated[rows] == pytest.approx(expected, abs=1e-5)


@given(
    arrays(np.float32, (12, 3), elements=st.sampled_from([0.1, 0.25, 0.5, 0.7, 0.9])),
    arrays(np.int64, (12, 3), elements=st.integers(0, 1)),
)
def test_no_threshold_has_a_higher_f1(probabilities, labels):
    found = best_thresholds(torch.from_numpy(probabilities), torch.from_numpy(labels))
    for p, y, threshold, score in zip(probabilities.T, labels.T, *(part.numpy() for part in found), strict=True):
        best = max(f1_score(y, p >= other, zero_division=0) for other in (0.05, 0.2, 0.4, 0.6, 0.8))
        assert f1_score(y, p >= threshold, zero_division=0) == pytest.approx(best)
        assert threshold not in p
        assert score == pytest.approx(best)


def test_the_calibration_of_labels_finds_their_temperatures():
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(0, 3, (20_000, 3)).astype(np.float32))
    labels = (torch.from_numpy(rng.random((20_000, 3))) < logits.sigmoid()).long()
    labels[:, 2] = 0  # a label without rows
    found = MultiLabelCalibration.fit(logits * torch.tensor([2.0, 0.5, 1.0]), labels)
    assert found.temperatures.tolist() == pytest.approx([2, 0.5, 1], rel=0.05)
    assert found.thresholds.tolist() == pytest.approx([0.4, 0.4, 0.5], abs=0.08)
    assert found._is_valid(3)
    assert found.validated.shape == found.labels.shape == (20_000, 3)
    np.testing.assert_allclose(found.validated, found.probabilities(logits * torch.tensor([2.0, 0.5, 1.0])), rtol=1e-6)


def test_the_results_of_some_rows_are_kept_of_many(monkeypatch):
    monkeypatch.setattr(label_calibration, "KEPT", 30)
    labels = torch.tensor([[0, 1, 1]]).repeat(50, 1)
    found = MultiLabelCalibration.fit(torch.linspace(-3, 3, 150).reshape(50, 3), labels)
    assert found.validated.shape == (10, 3)
    assert found.labels.tolist() == [[0, 1, 1]] * 10


def test_an_earlier_calibration_of_labels_has_no_results():
    content = {"thresholds": torch.full((3,), 0.5), "temperatures": torch.ones(3)}
    found = Calibration.of("x.ckpt", {"classes": ["a", "b", "c"], "calibration": content})
    assert not len(found.labels)


@pytest.mark.parametrize(
    "change",
    [
        {"thresholds": torch.ones(2)},
        {"thresholds": torch.tensor([0.5, 0.5, 1.5])},
        {"temperatures": torch.zeros(3)},
        {"temperatures": torch.ones(3, dtype=torch.float64)},
        {"temperatures": torch.tensor([1, 1, float("nan")])},
        {"temperature": 1.0},
        {"thresholds": "0.5"},
        {"validated": torch.zeros(2, 2), "labels": torch.zeros(2, 2, dtype=torch.uint8)},
        {"validated": torch.zeros(2, 3)},
        {"validated": torch.full((1, 3), 1.5), "labels": torch.zeros(1, 3, dtype=torch.uint8)},
        {"validated": torch.zeros(1, 3), "labels": torch.full((1, 3), 2, dtype=torch.uint8)},
        {"validated": torch.zeros(1, 3), "labels": torch.zeros(1, 3)},
    ],
)
def test_a_calibration_of_labels_that_is_damaged_is_refused(change):
    found = MultiLabelCalibration.usual(3)
    content = {"classes": ["a", "b", "c"], "calibration": found._asdict()}
    assert type(Calibration.of("x.ckpt", content)) is MultiLabelCalibration
    content["calibration"] = found._asdict() | change
    with pytest.raises(UserError, match="its calibration is not valid"):
        Calibration.of("x.ckpt", content)
