import importlib.util

import numpy as np
import pytest

from checking.label_suspects import label_out_of_fold, label_suspects
from checking.suspects import features
from conftest import join_rows
from text.duplicates import exact_groups
from text.rows import spans_of

ROWS = join_rows("train", 240)
HAS = np.array([[name in labels.split(",") for name in ("财经", "房产", "股票")] for _, labels in ROWS])


def random_probabilities(seed, count=400, labels=4):
    """Whether rows have labels, of which a tenth is wrong, and the probabilities of the labels, (N, L) each."""
    rng = np.random.default_rng(seed)
    probabilities = rng.beta(0.4, 0.6, (count, labels)).astype(np.float32)
    has = rng.random((count, labels)) < probabilities
    return has ^ (rng.random(has.shape) < 0.1), probabilities


@pytest.mark.skipif(not importlib.util.find_spec("cleanlab"), reason="needs cleanlab")
@pytest.mark.parametrize("seed", range(5))
def test_suspects_are_cleanlabs(seed):
    from cleanlab.multilabel_classification.filter import find_label_issues, find_multilabel_issues_per_class

    has, probabilities = random_probabilities(seed)
    found = label_suspects(has, probabilities)
    sets = [np.flatnonzero(row).tolist() for row in has]
    options = {"filter_by": "confident_learning", "n_jobs": 1}
    assert set(found.rows) == set(find_label_issues(sets, probabilities, **options).nonzero()[0])
    expected = np.array(find_multilabel_issues_per_class(sets, probabilities, **options))
    marked = np.zeros(has.shape, bool)
    for row, parts in zip(found.rows, zip(found.missing, found.wrong, strict=True), strict=True):
        assert not has[row, parts[0]].any() and has[row, parts[1]].all()
        marked[row, np.concatenate(parts)] = True
    np.testing.assert_array_equal(marked, expected)


def test_the_row_whose_labels_are_the_least_probable_together_is_first():
    has = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1]], bool)
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9], [0.9, 0.9]], np.float32)
    found = label_suspects(has, probabilities)
    assert found.rows.tolist() == [4, 5]
    assert [[part.tolist() for part in parts] for parts in (found.missing, found.wrong)] == [[[1], [0]], [[0], []]]


def test_a_label_without_probabilities_is_left_out():
    has, probabilities = random_probabilities(1)
    probabilities[:, 2] = np.nan
    found = label_suspects(has, probabilities)
    kept = label_suspects(has[:, [0, 1, 3]], probabilities[:, [0, 1, 3]])
    assert found.rows.tolist() == kept.rows.tolist()
    assert found.agreement == kept.agreement
    assert not any(2 in part for part in (*found.missing, *found.wrong))


def test_changed_sets_of_labels_are_found_first():
    has = HAS.copy()
    changed = [4, 40, 100, 160, 200]
    has[changed] = ~has[changed]
    spans = spans_of([text for text, _ in ROWS])
    found = label_suspects(has, label_out_of_fold(features(spans, 3), has, exact_groups(spans)))
    assert len(set(found.rows[:10]) & set(changed)) >= 4


def test_a_label_that_one_row_or_all_rows_have_has_no_probabilities():
    has = np.column_stack((HAS[:, 0], np.arange(len(HAS)) == 3, np.ones(len(HAS), bool)))
    spans = spans_of([text for text, _ in ROWS])
    found = label_out_of_fold(features(spans, 3), has, exact_groups(spans))
    assert np.isnan(found).any(axis=0).tolist() == [False, True, True]
