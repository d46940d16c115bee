"""The features of the linear models, beside those that scikit-learn computes."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from conftest import assert_close, batches_of
from engine.batches import Batch
from engine.counting import count
from engine.fitting import matrix
from models import LINEAR, linear, model_module
from models.base import DataSpec

ROWS, LABELS = ["好天好天", "坏天", "雨雨雨好", "天雨"], np.array([0, 1, 1, 0])
CHARACTERS = sorted(set("".join(ROWS)))


def batches():
    ids = np.array([CHARACTERS.index(c) for row in ROWS for c in row], np.int32)
    return batches_of(ids, [len(row) for row in ROWS], LABELS, pad=len(CHARACTERS))


def built(name, **settings):
    """A model with the tables of `ROWS`, before it is trained."""
    module = model_module(name)
    config = module.Config(**settings)
    model = module.Model(config, DataSpec(2, len(CHARACTERS)))
    counts = count(batches(), 2, config.n_grams)
    keys, class_counts = linear.n_grams_of(counts)
    model.build(keys)
    model.prepare(class_counts, counts.rows)
    return model.requires_grad_(False).eval()


def n_grams(longest):
    """A function from a text to its n-grams and those that begin before it."""

    def analyze(text):
        marked = "^" * (longest - 1) + text
        return [marked[i + longest - n : i + longest] for i in range(len(text)) for n in range(1, longest + 1)]

    return analyze


def test_the_svms_features_are_those_of_scikit_learn():
    features, labels = matrix(built("SVM"), batches())
    order = np.argsort([-len(row) for row in ROWS], kind="stable")
    expected = TfidfVectorizer(analyzer=n_grams(2), sublinear_tf=True).fit_transform(ROWS)[order].toarray()
    assert labels.tolist() == LABELS[order].tolist()
    assert features.shape == expected.shape
    assert np.sort(features.toarray().T, axis=0).sum() == pytest.approx(expected.sum(), abs=1e-5)
    columns = {tuple(column.round(4)) for column in expected.T}
    assert {tuple(column.round(4)) for column in features.toarray().T} == columns


def test_the_nbsvms_features_are_present_n_grams_with_log_count_ratios():
    model = built("NBSVM", n_grams=1, smoothing=0.5)
    features, _ = matrix(model, batches())
    assert features.data == pytest.approx(1)
    counts = {"好": (1, 1), "天": (2, 1), "坏": (0, 1), "雨": (1, 1)}  # rows of each class that have it
    p, q = (np.array([found[c] + 0.5 for found in counts.values()]) for c in (0, 1))
    ratios = np.log(p / p.sum() / (q / q.sum()))
    found = model.table.weight[:-1].numpy()
    assert np.sort(found[:, 0]) == pytest.approx(np.sort(ratios), abs=1e-6)
    assert found[:, 1] == pytest.approx(-found[:, 0], abs=1e-6)


@pytest.mark.parametrize("name", LINEAR)
def test_padding_and_the_rows_beside_it_change_nothing(name):
    model = built(name)
    model.table.weight[:-1].normal_()
    model.bias.normal_()
    batch = batches().cut(np.arange(4))
    together = model(batch)
    padded = torch.nn.functional.pad(batch.tokens, (0, 50), value=0)  # a token that the dictionary has
    assert_close(model(batch._replace(tokens=padded)), together, 1e-5)
    for i, length in enumerate(batch.lengths):
        alone = Batch(batch.tokens[i : i + 1, :length], batch.lengths[i : i + 1], batch.labels[i : i + 1])
        assert_close(model(alone), together[i : i + 1], 1e-5)


@pytest.mark.parametrize("name", LINEAR)
def test_a_row_of_unknown_n_grams_has_the_bias(name):
    model = built(name)
    model.table.weight[:-1].normal_()
    model.bias.normal_()
    unknown = Batch(torch.tensor([[99, 98]]), torch.tensor([2]), torch.tensor([0]))
    assert torch.equal(model(unknown)[0], model.bias)


def test_n_grams_of_single_rows_are_dropped_if_there_are_too_many(monkeypatch):
    counts = count(batches(), 2, 2)
    keys, class_counts = linear.n_grams_of(counts)
    assert len(keys) == len(counts.keys) + len(counts.single_keys)
    assert np.array_equal(keys, np.sort(keys))
    assert (class_counts.sum(axis=1) == 1).sum() == len(counts.single_keys)
    monkeypatch.setattr(linear, "MOST_COUNTS", 2 * len(keys) - 1)
    assert np.array_equal(linear.n_grams_of(counts)[0], counts.keys)


@pytest.mark.parametrize("name", LINEAR)
def test_the_docstring_names_paper_and_departures(name):
    text = model_module(name).__doc__
    assert "https://" in text
    assert "Departures: " in text
