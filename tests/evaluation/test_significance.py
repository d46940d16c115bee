import itertools

import numpy as np
import pytest

from evaluation import significance
from evaluation.significance import permutation


def micro_f1(rows):
    hits, predicted, own = rows.sum(axis=0)
    return 2 * hits / max(predicted + own, 1)


def test_the_p_value_is_near_that_of_all_permutations():
    rng = np.random.default_rng(0)
    own = rng.integers(1, 4, 10)
    models = []
    for skill, wrong in ((0.8, 1), (0.5, 2)):
        hits = rng.binomial(own, skill)
        models.append(np.stack((hits, hits + rng.integers(0, wrong + 1, 10), own), axis=1))
    observed = abs(micro_f1(models[0]) - micro_f1(models[1]))
    differences = []
    for swaps in itertools.product((False, True), repeat=10):
        chosen = np.array(swaps)[:, None]
        first, second = np.where(chosen, models[1], models[0]), np.where(chosen, models[0], models[1])
        differences.append(abs(micro_f1(first) - micro_f1(second)))
    expected = np.mean(np.array(differences) >= observed - 1e-12)
    assert 0.01 < expected < 0.5
    assert permutation(*models) == pytest.approx(expected, abs=0.02)
    assert permutation(*models[::-1]) == pytest.approx(expected, abs=0.02)


def test_equal_predictions_do_not_differ(monkeypatch):
    monkeypatch.setattr(significance, "PERMUTATIONS", 99)
    rows = np.array([[1, 2, 2], [0, 0, 1], [0, 0, 0]])
    assert permutation(rows, rows) == 1
