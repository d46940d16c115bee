from types import SimpleNamespace

import numpy as np
import pytest

from engine.losses import class_weights


def test_balanced_weights_and_an_absent_class():
    train = SimpleNamespace(labels=np.array([0, 0, 0, 1]))
    dataset = SimpleNamespace(classes=["a", "b", "c"], train=train)
    assert class_weights(dataset, "cpu").tolist() == pytest.approx([4 / 6, 2, 2])
