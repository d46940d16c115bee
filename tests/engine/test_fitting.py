"""Training of the linear models: what scikit-learn's own gives, and splits that leave little to learn."""

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from torch.nn import functional as F

from conftest import batches_of
from engine import fitting
from models import LINEAR, model_module
from models.base import DataSpec


def split(labels, num_tokens=30, length=6, seed=0):
    """Batches of random rows, in which a token in five is the number of the row's class."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, num_tokens, (len(labels), length)).astype(np.int32)
    own = rng.random(ids.shape) < 0.2
    ids[own] = np.repeat(np.array(labels, np.int32), own.sum(axis=1))
    return batches_of(ids.ravel(), [length] * len(labels), np.array(labels, np.int32))


def fitted(name, labels, num_classes, dev=None, balanced=False, **settings):
    module = model_module(name)
    config, train = module.Config(**settings), split(labels)
    model = module.Model(config, DataSpec(num_classes, 30))
    fitting.fit(model, config, train, dev or split(labels, seed=1), 1, balanced)
    return model.requires_grad_(False).eval(), train


def logits_of(model, batches):
    return model(batches.cut(np.arange(len(batches.lengths))))


def test_the_svm_is_scikit_learns():
    labels = [0, 1, 2] * 40
    model, train = fitted("SVM", labels, 3)
    features, row_ids = fitting.feature_matrix(model, train)
    reference = LinearSVC(C=0.5, tol=1e-6).fit(features, train.labels[row_ids]).decision_function(features)
    found = model.table.weight[:-1].numpy()
    found = features @ found + model.bias.numpy()
    scale = np.linalg.norm(found) / np.linalg.norm(reference)
    assert found == pytest.approx(scale * reference, abs=0.02 * scale)


@pytest.mark.parametrize("name", LINEAR)
def test_the_scale_has_the_lowest_loss_on_dev(name):
    labels = [0, 1, 2] * 100
    dev = split(labels, seed=1)
    model, _ = fitted(name, labels, 3, dev)
    logits = logits_of(model, dev)
    loss = F.cross_entropy(logits, dev.labels.long())
    assert loss < F.cross_entropy(0.9 * logits, dev.labels.long())
    assert loss < F.cross_entropy(1.1 * logits, dev.labels.long())


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize(
    ("labels", "num_classes"),
    [([0], 1), ([0], 5), ([1] * 9, 2), ([0, 1], 2), (list(range(300)), 300), ([0, 2] * 30, 4)],
)
def test_few_rows_and_absent_classes(name, labels, num_classes):
    model, train = fitted(name, labels, num_classes)
    logits = logits_of(model, train)
    assert logits.shape == (len(labels), num_classes)
    assert torch.isfinite(logits).all()
    assert set(logits.argmax(dim=1).tolist()) <= set(labels)
    unknown = train.cut(np.arange(1))._replace(tokens=torch.full((1, 6), 999))
    assert model(unknown).argmax().item() in labels


@pytest.mark.parametrize("name", LINEAR)
def test_identical_rows_of_two_classes_are_no_error(name):
    module = model_module(name)
    config = module.Config()
    batches = batches_of(np.array([1, 2, 1, 2], np.int32), [2, 2], np.array([0, 1]))
    model = module.Model(config, DataSpec(2, 3))
    fitting.fit(model, config, batches, batches, 1)
    assert torch.isfinite(logits_of(model, batches)).all()


def test_balanced_classes_give_the_rare_one_more():
    labels = [0] * 90 + [1] * 10
    dev = split([0, 1] * 100, seed=1)
    found = []
    for balanced in (False, True):
        model, _ = fitted("SVM", labels, 2, dev, balanced)
        found.append((logits_of(model, dev).argmax(dim=1) == 1).sum())
    assert found[1] > found[0]


def test_a_solver_that_has_not_converged_is_told(monkeypatch, capsys):
    monkeypatch.setattr(fitting, "TOLERANCE", 1e-12)
    fitted("NBSVM", [0, 1, 2] * 30, 3, C=1e6)
    assert "has not converged for" in capsys.readouterr().err
