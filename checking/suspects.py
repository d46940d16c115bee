"""Labels that are probably wrong: confident learning, Northcutt et al. 2021, https://arxiv.org/abs/1911.00068

A linear model predicts each row without having seen it: the rows are in five folds, and a model is trained on the
others. A row is confidently in a class if it has for it at least the mean probability of the rows labelled so.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import log_softmax
from sklearn.naive_bayes import MultinomialNB
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC

from evaluation.baselines import threads
from text import cosine
from text.grams import blocks_of, gram_sets
from text.rows import offsets_of

FOLDS = 5
TRAINING_ROWS = 200_000  # of a fold's model, at most
MOST_CLASSES = 200  # a support vector machine is trained for each
MOST_WEIGHTS = 1 << 27  # of a model; if there are more, the rarest n-grams are left out
SCALES = np.geomspace(0.01, 30, 100).astype(np.float32)  # of a model's values, among which the best one is chosen
SCALE_ROWS = 10_000  # on which it is chosen, at most
MOST_LOSS = 20.0  # that a row counts for it: a class without training rows has the probability 0


class Suspects(NamedTuple):
    """Rows whose label is probably wrong, the most suspicious first."""

    rows: np.ndarray  # (M,)
    proposed: np.ndarray  # (M,) class indices
    probability: np.ndarray  # (M,), of the label
    proposed_probability: np.ndarray  # (M,)
    agreement: float  # share of all labels that are the most probable ones

    columns = ("label", "proposed", "probability", "proposed_probability")
    measure = "accuracy"

    def cells(self, number, splits):
        """What `columns` have for a row."""
        names = splits.class_of(self.rows[number]), splits.classes[self.proposed[number]]
        return [*names, f"{self.probability[number]:.4f}", f"{self.proposed_probability[number]:.4f}"]


def features(texts, num_classes):
    """The TF-IDF weights of each text's characters and bigrams, (N, F) float32, rows of unit length."""
    sets = gram_sets(texts, single=True)
    grams, counts = np.unique(sets.ids, return_counts=True)
    least = 2
    while (counts >= least).sum() * num_classes > MOST_WEIGHTS:
        least += 1
    used = counts >= least if (counts >= least).any() else counts > 0
    grams, counts, count = grams[used], counts[used], len(sets.offsets) - 1
    columns, offsets = _columns(sets, grams)
    idf = (np.log((1 + count) / (1 + counts)) + 1).astype(np.float32)
    return normalize(csr_matrix((idf[columns], columns, offsets), (count, len(grams))), copy=False)


def _columns(sets, grams):
    """The index among sorted n-grams of each n-gram in the sets that is one of them, (M,) int32, and the offsets."""
    columns, size, parts = sets.ids.view(np.int32), 0, []  # in the memory of the ids, which are not needed any more
    for start, end in blocks_of(sets.offsets):
        ids = sets.ids[sets.offsets[start] : sets.offsets[end]]
        index = np.minimum(np.searchsorted(grams, ids), len(grams) - 1)
        known = grams[index] == ids
        parts.append(np.add.reduceat(known, sets.offsets[start:end] - sets.offsets[start], dtype=np.int64))
        index = index[known]
        columns[size : size + len(index)] = index
        size += len(index)
    return columns[:size], offsets_of(np.concatenate(parts))


def out_of_fold(matrix, labels, groups, num_classes, seed=1):
    """The probabilities of each row by models that have not seen it, (N, C) float32; None if there are too few rows.

    They are the mean of those of a support vector machine and of naive Bayes: together they find more wrong labels
    than each alone. groups: (N,); the rows of one group are in the same fold.
    """
    rng = np.random.default_rng(seed)
    folds = rng.integers(0, FOLDS, groups.max() + 1)[groups]
    training = [rng.permutation(np.flatnonzero(folds != fold))[:TRAINING_ROWS] for fold in range(FOLDS)]
    if any(len(np.unique(labels[rows])) < 2 for rows in training):
        return None
    values = np.full((2, len(labels), num_classes), -np.inf, np.float32)  # of classes without training rows

    def predict(fold):
        rows, held_out = training[fold], np.flatnonzero(folds == fold)
        if not len(held_out):
            return
        svm = LinearSVC(C=0.5, tol=0.01, random_state=seed).fit(matrix[rows], labels[rows])
        found = svm.decision_function(matrix[held_out])
        values[0][np.ix_(held_out, svm.classes_)] = np.stack((-found, found), axis=1) if found.ndim == 1 else found
        bayes = MultinomialNB(alpha=0.05).fit(matrix[rows], labels[rows])
        values[1][np.ix_(held_out, bayes.classes_)] = bayes.predict_joint_log_proba(matrix[held_out])

    with ThreadPoolExecutor(threads()) as pool:
        list(pool.map(predict, range(FOLDS)))
    sample = rng.permutation(len(labels))[:SCALE_ROWS]
    return np.mean([_probabilities(model, labels, sample) for model in values], axis=0)


def _probabilities(values, labels, sample):
    """The softmax of values, (N, C), times the scale with the lowest loss on a sample of the rows; in their memory."""
    rows = np.arange(len(sample))

    def loss(scale):
        return np.minimum(-log_softmax(scale * values[sample], axis=1)[rows, labels[sample]], MOST_LOSS).mean()

    values *= min(SCALES, key=loss)
    values -= values.max(axis=1, keepdims=True)
    np.exp(values, out=values)
    values /= values.sum(axis=1, keepdims=True)
    return values


def suspects(labels, probabilities):
    """The Suspects by out-of-fold probabilities, those with the least probable label first.

    How many rows of a class are wrong is estimated from the rows that are confidently in each class; they are those
    with the least probable labels (cleanlab calls this `prune_by_class`).
    """
    count, num_classes = probabilities.shape
    own = probabilities[np.arange(count), labels]
    best = probabilities.argmax(axis=1)
    rows = np.bincount(labels, minlength=num_classes)
    thresholds = np.bincount(labels, own, num_classes) / np.maximum(rows, 1)
    thresholds[rows == 0] = np.inf
    sure = probabilities >= thresholds - 1e-6
    member = np.where(sure.sum(axis=1) > 1, best, sure.argmax(axis=1))
    known = sure.any(axis=1)
    sure_rows = np.bincount(labels[known], minlength=num_classes)
    right = np.bincount(labels[known & (member == labels)], minlength=num_classes)
    wrong = np.rint(rows * (1 - np.maximum(right, 1) / np.maximum(sure_rows, 1))).astype(np.int64)
    order = np.lexsort((own, labels))  # by class, the least probable labels first
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count) - np.repeat(np.cumsum(rows) - rows, rows)
    found = np.flatnonzero((rank < wrong[labels]) & (best != labels))
    found = found[np.argsort(own[found], kind="stable")]
    agreement = float((best == labels).mean())
    return Suspects(found, best[found], own[found], probabilities[found, best[found]], agreement)


def most_similar(matrix, rows, candidates, count=3):
    """The candidates with the highest cosine similarity to each row, except itself, most similar first: index arrays.

    matrix: (N, F), of unit length. rows, candidates: indices into it.
    """
    found, similarity = cosine.most_similar(matrix[rows], matrix, candidates, count + 1)
    kept = (similarity > 0) & (found != rows[:, None])
    return [own[use][:count] for own, use in zip(found, kept, strict=True)]
