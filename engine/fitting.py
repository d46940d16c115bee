"""Trains linear models with scikit-learn, and scales their decision values."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.sparse import csr_matrix
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from cli.console import say
from engine.counting import count
from engine.losses import Loss
from models.linear import n_grams_of
from text.rows import drawn

ABSENT = -10.0  # the decision value of a class without training rows
TOLERANCE = 0.01  # of the solver: with scikit-learn's 0.0001 the accuracy is the same, after several times the time
CALIBRATION_ROWS = 10_000  # validation rows that the scale is fitted on, at most
SCALES = np.geomspace(0.1, 30, 200)  # among which the best one is chosen; validation rows may be separable


@torch.no_grad()
def fit(model, config, train, dev, seed, balanced=False):
    """Trains a `models.linear.Linear` on a split's Batches.

    dev: the Batches on which its scale is chosen; balanced: whether the rows of a class have the same total weight as
    all others.
    """
    counts = count(train, model.num_classes, config.n_grams, words=config.words)
    keys, *found = n_grams_of(counts)
    model.build(keys)
    model.to(train.device)
    model.prepare(*found, counts.total_rows)
    features, row_ids = feature_matrix(model, train)
    labels = train.labels[row_ids].cpu().numpy()
    model.cpu()
    weights, bias = model.table.weight.numpy()[:-1], model.bias.numpy()
    class_weight = "balanced" if balanced else None
    present = np.flatnonzero(counts.class_rows)
    bias[:] = ABSENT

    def fit_class(c):
        members = labels[:, c] > 0 if labels.ndim == 2 else labels == c
        if members.all() or not members.any():  # nothing to tell it from
            weights[:, c], bias[c] = 0, 1 if members.any() else ABSENT
            return False
        own = csr_matrix((features.data * weights[features.indices, c], features.indices, features.indptr))
        options = {"C": config.C, "class_weight": class_weight, "tol": TOLERANCE, "random_state": seed % 2**32}
        svm = LinearSVC(**options).fit(own, members)
        weights[:, c] *= svm.coef_[0]
        bias[c] = svm.intercept_[0]
        return svm.n_iter_ >= svm.max_iter

    with warnings.catch_warnings(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        warnings.simplefilter("ignore", ConvergenceWarning)
        unfinished = sum(pool.map(fit_class, present))
    if unfinished:
        say(f"The solver has not converged for {unfinished} of {len(present)} classes; a lower --C may help")
    absent = np.setdiff1d(np.arange(model.num_classes), present)
    weights[:, absent] = 0
    scale = best_scale(model.to(train.device), dev, seed)
    model.table.weight.mul_(scale)
    model.bias.mul_(scale)


@torch.no_grad()
def feature_matrix(model, batches):
    """The features of the rows that are not empty, a sparse matrix (R, F) float64, and the ids of these rows, (R,)."""
    data, indices, sizes, rows = [np.zeros(0)], [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], [np.zeros(0, int)]
    for row_ids in batches.by_length():
        ids, values = model.features(batches.cut(row_ids))
        known = ids != model.table.padding_idx
        data.append(values[known].cpu().numpy())
        indices.append(ids[known].int().cpu().numpy())
        sizes.append(known.sum(dim=1).cpu().numpy())
        rows.append(row_ids)
    offsets = np.concatenate(([0], np.concatenate(sizes).cumsum()))
    values = np.concatenate(data).astype(np.float64)
    features = csr_matrix((values, np.concatenate(indices), offsets), shape=(len(offsets) - 1, model.table.padding_idx))
    features.sum_duplicates()
    return features, np.concatenate(rows)


def best_scale(model, batches, seed):
    """The factor of a model's logits with the lowest loss on a split's Batches."""
    rows = drawn(len(batches.lengths), CALIBRATION_ROWS, seed)
    parts = [batches.cut(row_ids) for row_ids in batches.by_length(rows)]
    logits = torch.cat([model(batch) for batch in parts])
    labels = torch.cat([batch.labels for batch in parts])
    return min(SCALES, key=lambda scale: Loss()(scale * logits, labels).item())
