import importlib.util

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from checking import suspects
from conftest import sample_rows
from text.duplicates import exact_groups
from text.rows import spans_of

ROWS = sample_rows("train", {0, 1, 7}, 600)
TEXTS, LABELS = [text for text, _ in ROWS], np.array([{0: 0, 1: 1, 7: 2}[label] for _, label in ROWS])


def predicted(labels, texts=TEXTS):
    spans = spans_of(texts)
    return suspects.out_of_fold(suspects.features(spans, 3), labels, exact_groups(spans), 3)


def random_probabilities(seed, count=400, classes=5):
    """Probabilities, and labels of which most are likely."""
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(classes, 0.3), count)
    labels = np.array([rng.choice(classes, p=row) for row in probabilities])
    wrong = rng.random(count) < 0.1
    labels[wrong] = rng.integers(0, classes, wrong.sum())
    return labels, probabilities


def test_features_are_scikit_learns_tfidf_of_n_grams_that_several_texts_have():
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), binary=True, min_df=2, lowercase=False)
    expected, found = vectorizer.fit_transform(TEXTS), suspects.features(spans_of(TEXTS), 3)
    assert found.shape == expected.shape
    np.testing.assert_allclose((found @ found.T).toarray(), (expected @ expected.T).toarray(), atol=1e-5)


def test_the_rarest_n_grams_are_left_out_if_there_are_too_many(monkeypatch):
    whole = suspects.features(spans_of(TEXTS), 3).shape[1]
    monkeypatch.setattr(suspects, "MOST_WEIGHTS", 3000)
    assert 0 < suspects.features(spans_of(TEXTS), 3).shape[1] <= 1000 < whole


def test_labels_that_were_changed_are_found_first():
    rng = np.random.default_rng(2)
    changed = rng.choice(len(LABELS), 12, replace=False)
    labels = LABELS.copy()
    labels[changed] = (labels[changed] + 1) % 3
    probabilities = predicted(labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-4)
    found = suspects.suspects(labels, probabilities)
    assert len(set(found.rows[:12]) & set(changed)) >= 8
    assert (np.diff(found.probability) >= 0).all()
    assert (found.proposed_probability > found.probability).all()
    right = found.proposed[np.isin(found.rows, changed)] == LABELS[found.rows[np.isin(found.rows, changed)]]
    assert right.mean() > 0.8


@pytest.mark.parametrize("seed", range(5))
def test_the_suspects_are_those_of_cleanlab(seed):
    if importlib.util.find_spec("cleanlab") is None:
        pytest.skip("cleanlab is not installed")
    from cleanlab.filter import find_label_issues

    labels, probabilities = random_probabilities(seed)
    options = {"filter_by": "prune_by_class", "return_indices_ranked_by": "self_confidence", "n_jobs": 1}
    expected = find_label_issues(labels, probabilities, **options)
    found = suspects.suspects(labels, probabilities)
    assert len(set(expected) ^ set(found.rows)) <= 2  # it rounds the number of a class by another rule
    common = [row for row in expected if row in set(found.rows)]
    assert common == [row for row in found.rows if row in set(expected)]
    assert len(expected) > 20


def test_a_class_without_rows_and_one_of_a_single_row_are_allowed():
    labels, probabilities = random_probabilities(1)
    labels[labels == 4] = 3
    labels[0] = 4
    found = suspects.suspects(labels, np.column_stack((probabilities, np.zeros(len(labels)))))
    assert set(found.proposed) <= set(range(5))


def test_copies_of_a_row_are_in_the_same_fold():
    """A copy with the same wrong label would vouch for it."""
    wrong = (LABELS[0] + 1) % 3
    labels = np.concatenate((LABELS, [wrong, wrong]))
    labels[0] = wrong
    probabilities = predicted(labels, [*TEXTS, TEXTS[0], TEXTS[0]])
    assert probabilities[0, wrong] < 0.5
    np.testing.assert_array_equal(probabilities[0], probabilities[-1])


def test_rows_of_one_class_or_of_a_single_text_are_not_predicted():
    assert predicted(np.zeros(len(TEXTS), int)) is None
    assert predicted(np.array([0, 1]), ["甲", "甲"]) is None


def test_classes_that_a_fold_has_not_seen_are_allowed():
    labels = LABELS.copy()
    labels[labels == 2] = 0
    labels[5] = 2
    probabilities = predicted(labels)
    assert np.isfinite(probabilities).all()
    assert probabilities[5, 2] == 0


def test_a_model_is_trained_on_a_bounded_number_of_rows(monkeypatch):
    monkeypatch.setattr(suspects, "TRAINING_ROWS", 100)
    assert 0.5 < (predicted(LABELS).argmax(axis=1) == LABELS).mean() < 1


@pytest.mark.parametrize("size", [10, 1200])
def test_the_most_similar_rows_are_those_of_a_comparison_of_all(size):
    rng = np.random.default_rng(4)
    values = rng.random((size, 6)) + 0.1
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    values[0] = 0
    rows, candidates = np.array([1, 2, size - 1]), np.arange(0, size - 1)
    for row, found in zip(rows, suspects.most_similar(csr_matrix(values), rows, candidates), strict=True):
        similarity = values[:-1] @ values[row]
        similarity[candidates == row] = 0
        assert found.tolist() == np.argsort(-similarity)[:3].tolist()


def test_a_row_without_common_n_grams_has_no_similar_row():
    matrix = csr_matrix(np.eye(4))
    assert [found.tolist() for found in suspects.most_similar(matrix, np.array([0]), np.arange(1, 4))] == [[]]
