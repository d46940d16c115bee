"""The features of the linear models, beside those that scikit-learn computes."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from conftest import assert_close, batches_of
from engine.batches import Batch
from engine.counting import count
from engine.fitting import feature_matrix
from models import LINEAR, linear, model_module
from models.base import DataSpec

WORDS = [["好天", "好天"], ["坏", "天"], ["雨", "雨雨", "好"], ["天雨"]]
ROWS, LABELS = ["".join(row) for row in WORDS], np.array([0, 1, 1, 0])
CHARACTERS = sorted(set("".join(ROWS)))


def batches():
    ids = np.array([CHARACTERS.index(c) for row in ROWS for c in row], np.int32)
    ends = [int(i == len(word)) for row in WORDS for word in row for i in range(1, len(word) + 1)]
    return batches_of(ids, [len(row) for row in ROWS], LABELS, pad=len(CHARACTERS), ends=np.array(ends))


def built(name, **settings):
    """A model with the tables of `ROWS`, before it is trained."""
    module = model_module(name)
    config = module.Config(**settings)
    model = module.Model(config, DataSpec(2, len(CHARACTERS)))
    counts = count(batches(), 2, config.n_grams, words=config.words)
    keys, *found = linear.n_grams_of(counts)
    model.build(keys)
    model.prepare(*found, counts.total_rows)
    return model.requires_grad_(False).eval()


def n_grams(longest):
    """A function from a text's words to its n-grams, those that begin before it, and the words."""

    def analyze(words):
        text = "".join(words)
        marked = "^" * (longest - 1) + text
        grams = [marked[i + longest - n : i + longest] for i in range(len(text)) for n in range(1, longest + 1)]
        return grams + [f"<{word}>" for word in words]

    return analyze


def test_the_svms_features_are_those_of_scikit_learn():
    features, row_ids = feature_matrix(built("SVM"), batches())
    order = np.argsort([-len(row) for row in ROWS], kind="stable")
    expected = TfidfVectorizer(analyzer=n_grams(2), sublinear_tf=True).fit_transform(WORDS)[order].toarray()
    assert row_ids.tolist() == order.tolist()
    assert features.shape == expected.shape
    assert np.sort(features.toarray().T, axis=0).sum() == pytest.approx(expected.sum(), abs=1e-5)
    columns = {tuple(column.round(4)) for column in expected.T}
    assert {tuple(column.round(4)) for column in features.toarray().T} == columns


def test_the_nbsvms_features_are_present_n_grams_with_log_count_ratios():
    model = built("NBSVM", n_grams=1, word_n_grams=0, smoothing=0.5)
    features, _ = feature_matrix(model, batches())
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
    ends = torch.nn.functional.pad(batch.word_ends, (0, 50), value=True)
    assert_close(model(batch._replace(tokens=padded, word_ends=ends)), together, 1e-5)
    for i, length in enumerate(batch.lengths):
        tokens, ends = (values[i : i + 1, :length] for values in (batch.tokens, batch.word_ends))
        alone = Batch(tokens, batch.lengths[i : i + 1], batch.labels[i : i + 1], word_ends=ends)
        assert_close(model(alone), together[i : i + 1], 1e-5)


@pytest.mark.parametrize("name", LINEAR)
def test_a_row_of_unknown_n_grams_has_the_bias(name):
    model = built(name)
    model.table.weight[:-1].normal_()
    model.bias.normal_()
    ends = torch.tensor([[True, True]])
    unknown = Batch(torch.tensor([[99, 98]]), torch.tensor([2]), torch.tensor([0]), word_ends=ends)
    assert torch.equal(model(unknown)[0], model.bias)


def test_n_grams_of_single_rows_are_dropped_if_there_are_too_many(monkeypatch):
    counts = count(batches(), 2, 2)
    keys, class_counts, _ = linear.n_grams_of(counts)
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
