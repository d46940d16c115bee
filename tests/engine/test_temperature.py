"""The temperature, beside that of scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from test_calibration import FLAT, drawn

from engine.calibration import Calibration
from engine.temperature import HIGHEST, LOWEST, best_temperature, tempered


class Fixed(ClassifierMixin, BaseEstimator):
    """A classifier whose decision values are its features."""

    classes_ = np.arange(5)

    def decision_function(self, features):
        return features

    def fit(self, features, labels):
        return self

    def predict(self, features):
        return features.argmax(axis=1)

    def __sklearn_is_fitted__(self):
        return True


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_is_that_of_scikit_learn(scale):
    logits, labels = drawn(5000)
    oracle = CalibratedClassifierCV(FrozenEstimator(Fixed()), method="temperature").fit(scale * logits, labels)
    (fold,) = oracle.calibrated_classifiers_
    (fitted,) = fold.calibrators
    assert best_temperature(scale * logits, labels) == pytest.approx(1 / fitted.beta_, rel=0.005)
    assert best_temperature(scale * logits, labels) == pytest.approx(scale, rel=0.1)


def test_a_small_split_without_errors_does_not_make_the_model_certain():
    logits, labels = np.eye(3).repeat(10, axis=0), np.arange(3).repeat(10)
    found = Calibration.fit(torch.from_numpy(logits), torch.from_numpy(labels), FLAT)
    assert 0.9 < found.confidences.min() < 0.99


@given(arrays(np.float32, (6, 4), elements=st.floats(0, 1, width=32)), st.floats(LOWEST, HIGHEST))
@example(np.eye(6, 4, dtype=np.float32) * np.finfo(np.float32).smallest_subnormal, 2.0)
def test_a_temperature_keeps_the_order_and_the_sum(probabilities, temperature):
    assume(temperature != 1)  # then they are returned as they are
    found = tempered(probabilities, temperature)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    read = (probabilities > 0).any(axis=1)
    assert found.sum(axis=1) == pytest.approx(read.astype(float), abs=1e-5)
    first = probabilities.argmax(axis=1)
    assert (found[np.arange(6), first] == found.max(axis=1)).all()


def test_tempering_is_dividing_the_logits():
    logits, _ = drawn(50)
    mean = torch.from_numpy(logits).softmax(dim=1).numpy()
    assert tempered(mean, 2.5) == pytest.approx(torch.from_numpy(logits / 2.5).softmax(dim=1).numpy(), abs=1e-6)
    assert tempered(mean, 1) is mean
