from types import SimpleNamespace

import numpy as np
import pytest

from engine.losses import balanced_weights


def test_balanced_weights_and_an_absent_class():
    train = SimpleNamespace(labels=np.array([0, 0, 0, 1]))
    assert balanced_weights(train, 3, "cpu").tolist() == pytest.approx([4 / 6, 2, 2])
