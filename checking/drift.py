"""Whether two splits come from the same source: a classifier tells their texts apart, and class shares are compared."""

from typing import NamedTuple

import numpy as np
from scipy.stats import chi2_contingency
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import LinearSVC

from text.grams import take
from text.rows import texts_of

ROWS = 5000  # of each split, at most
EXAMINED = 10_000  # characters of a row
LEAST = 50  # rows of a split: with fewer the result is noise
FOLDS = 5
SHOWN = 10  # n-grams that are typical of a split


class Drift(NamedTuple):
    """How two splits differ."""

    auc: float  # the area under the ROC curve of the classifier: 0.5 if it cannot tell them apart
    error: float  # the standard error of an area of 0.5 with so many rows
    first: list  # n-grams that are typical of the first split
    second: list
    distance: float  # total variation distance of the class shares, 0 to 1
    p_value: float  # of the hypothesis that the class shares are the same (chi-squared test)


def drift(texts, labels, first, second, members=None, seed=1):
    """The Drift of two splits, index arrays; None if one has fewer than `LEAST` rows.

    members: (C, L), the labels of each class if a class is a set of labels.
    """
    if min(len(first), len(second)) < LEAST:
        return None
    rng = np.random.default_rng(seed)
    samples = [np.sort(rng.permutation(rows)[:ROWS]) for rows in (first, second)]
    strings = [text[:EXAMINED] for rows in samples for text in texts_of(take(texts, rows))]
    target = np.repeat([0, 1], [len(rows) for rows in samples])
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True)
    matrix = vectorizer.fit_transform(strings)
    model = LinearSVC(C=0.1, tol=0.01, class_weight="balanced", random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, matrix, target, cv=folds, method="decision_function")
    model.fit(matrix, target)
    # the weight of an n-gram in all rows, since a rare one with a large weight says little
    order = np.argsort(model.coef_[0] * np.asarray(matrix.mean(axis=0))[0])
    names = vectorizer.get_feature_names_out()
    typical = [[names[i] for i in index if names[i].strip()][:SHOWN] for index in (order, order[::-1])]
    sizes = np.bincount(target)
    error = float(np.sqrt((sizes.sum() + 1) / (12 * sizes.prod())))
    own = labels[first], labels[second]
    compared = _compare_shares(*own) if members is None else _compare_label_shares(*own, members)
    return Drift(float(roc_auc_score(target, scores)), error, *typical, *compared)


def _compare_shares(first, second):
    """The distance of the class shares of two lists of labels, and the p-value of a test of whether they differ."""
    counts = np.stack([np.bincount(labels, minlength=max(first.max(), second.max()) + 1) for labels in (first, second)])
    counts = counts[:, counts.any(axis=0)]
    shares = counts / counts.sum(axis=1, keepdims=True)
    p_value = chi2_contingency(counts).pvalue if counts.shape[1] > 1 else 1.0
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(p_value)


def _compare_label_shares(first, second, members):
    """What `_compare_shares` does with sets of labels; a row without labels counts as one with a further label.

    Each label has a test, the rows with it against those without it; the smallest p-value is corrected for their number
    (Bonferroni).
    """
    has = np.column_stack((members, ~members.any(axis=1)))
    counts = np.stack([np.bincount(labels, minlength=len(members)) @ has for labels in (first, second)])
    others = np.array([[len(first)], [len(second)]]) - counts
    shares = counts / counts.sum(axis=1, keepdims=True)
    tested = np.flatnonzero(counts.any(axis=0) & others.any(axis=0))
    p_values = [chi2_contingency(np.stack((counts[:, c], others[:, c]))).pvalue for c in tested]
    p_value = min(1, min(p_values, default=1) * max(1, len(tested)))
    return float(np.abs(shares[0] - shares[1]).sum() / 2), float(p_value)
