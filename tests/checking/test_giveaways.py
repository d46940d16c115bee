import numpy as np
import pytest

from checking import giveaways
from conftest import sample_rows
from text.rows import spans_of

ROWS = sample_rows("train", {0, 1, 2}, 300)
LABELS = np.array([label for _, label in ROWS])


def found_in(texts, labels=LABELS, classes=3):
    found = giveaways.giveaways(spans_of(texts), labels, classes)
    return [(giveaway.label, giveaway.token) for giveaway in found]


def test_ordinary_headlines_have_none():
    assert found_in([text for text, _ in ROWS]) == []


@pytest.mark.parametrize("token", ["来源：新浪 体育", "★", "【A】"])
def test_a_token_of_one_class_is_found_whole(token):
    texts = [token + text if label == 1 else text for text, label in ROWS]
    assert found_in(texts) == [(1, token)]


def test_shares_are_those_of_the_rows():
    own, others = np.flatnonzero(LABELS == 1), np.flatnonzero(LABELS != 1)
    marked = {*own[1:], others[0]}
    texts = [f"★{text}" if i in marked else text for i, (text, _) in enumerate(ROWS)]
    (found,) = giveaways.giveaways(spans_of(texts), LABELS, 3)
    assert (found.own_share, found.other_share) == (1 - 1 / len(own), 1 / (300 - len(own)))


def test_a_token_that_another_class_has_too_gives_nothing_away():
    assert found_in([f"★{text}" if label < 2 else text for text, label in ROWS]) == []


@pytest.mark.parametrize("labels", [np.zeros(300, int), np.arange(300)])
def test_one_class_and_classes_of_few_rows_have_none(labels):
    assert found_in([f"★{text}" for text, _ in ROWS], labels, 300) == []


def test_a_sample_has_the_same_number_of_rows_of_each_class(monkeypatch):
    monkeypatch.setattr(giveaways, "ROWS", 60)
    labels = np.repeat([0, 1, 2], [250, 41, 9])
    rows = giveaways._sample(spans_of([text for text, _ in ROWS]), labels, 3, np.random.default_rng(1))
    assert np.bincount(labels[rows]).tolist() == [30, 30]


def test_a_token_of_the_rows_with_a_label_is_found():
    members = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    sets = np.random.default_rng(1).integers(0, 4, 300)
    texts = [f"★{text}" if sets[i] in (2, 3) else text for i, (text, _) in enumerate(ROWS)]
    found = giveaways.label_giveaways(spans_of(texts), sets, members)
    assert [(giveaway.label, giveaway.token) for giveaway in found] == [(1, "★")]
    assert (found[0].own_share, found[0].other_share) == (1, 0)
    texts = [f"★{text}" if sets[i] in (1, 2, 3) else text for i, (text, _) in enumerate(ROWS)]
    assert giveaways.label_giveaways(spans_of(texts), sets, members) == []
