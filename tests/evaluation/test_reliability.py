import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss, log_loss

from engine.calibration import summary
from evaluation import reliability


def drawn(rows=500):
    """Probabilities, (N, 4), and labels that are drawn with them, (N,)."""
    rng = np.random.default_rng(2)
    logits = 2 * rng.normal(size=(rows, 4))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return torch.from_numpy(logits).softmax(dim=1), torch.from_numpy(labels)


def test_measures_are_those_of_scikit_learn():
    probabilities, labels = drawn()
    found = reliability.measures(summary(probabilities, labels).numpy(), labels.numpy())
    assert found["brier"] == pytest.approx(brier_score_loss(labels, probabilities, labels=range(4)))
    assert found["log_loss"] == pytest.approx(log_loss(labels, probabilities, labels=range(4)))


def test_the_calibration_error_of_two_bins():
    confidences, right = np.array([0.5, 0.5, 0.9, 0.9]), np.array([True, True, True, False])
    rows = [~right, confidences, confidences, confidences**2]  # a wrong row predicts class 1, all labels are 0
    found = reliability.measures(np.stack(rows).astype(float), np.zeros(4))
    assert found["ece"] == pytest.approx((0.5 + 0.4) / 2)


def test_risk_at_coverage():
    found = reliability.risk_at_coverage(np.array([0.2, 0.9, 0.5]), np.array([False, True, False]))
    assert found == pytest.approx([0, 1 / 2, 2 / 3])


@pytest.mark.parametrize("rows", [1, 2, 500])
def test_results_and_pictures(tmp_path, rows):
    probabilities, labels = (part[:rows] for part in drawn())
    both = np.stack([summary(probabilities, labels).numpy()] * 2)
    empty = np.concatenate((both, np.zeros((2, 4, 1))), axis=2)  # a row without tokens
    labels = labels.numpy()
    expected = reliability.results(*both, labels, 1.5)
    assert reliability.results(*empty, np.append(labels, 0), 1.5) == expected
    assert expected["temperature"] == 1.5
    assert expected["before"] == expected["after"]
    reliability.write_pictures(tmp_path, *empty, np.append(labels, 0))
    for name in ("reliability.png", "risk_coverage.png"):
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
