"""The rows of a matrix that are most similar to others, by the cosine of the angle between them."""

import numpy as np
from scipy.sparse import issparse

ROWS, QUERIES = 1 << 16, 128  # that are compared at a time


def most_similar(queries, matrix, candidates, count):
    """The candidates that are most similar to each query, the most similar first, and their similarity, (Q, K) each.

    queries: (Q, D); matrix: (N, D); both are arrays or both sparse, with rows of unit length; candidates: (M,) indices
    into the matrix. K is `count`, or M if that is smaller.
    """
    found, similarity = np.zeros((queries.shape[0], 0), np.int64), np.zeros((queries.shape[0], 0), np.float32)
    for start in range(0, len(candidates), ROWS):
        rows = candidates[start : start + ROWS]
        others = matrix[rows].T.tocsr() if issparse(matrix) else matrix[rows].T.astype(np.float32)
        parts = [_top(queries[i : i + QUERIES] @ others, count) for i in range(0, max(1, queries.shape[0]), QUERIES)]
        index, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        found = np.concatenate((found, rows[index]), axis=1)
        similarity = np.concatenate((similarity, values), axis=1)
        order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
        found, similarity = (np.take_along_axis(array, order, axis=1) for array in (found, similarity))
    return found, similarity


def _top(values, count):
    """The columns of the largest values of each row, and these values."""
    values = values.toarray() if issparse(values) else values
    top = np.argpartition(-values, min(count, values.shape[1]) - 1, axis=1)[:, :count].copy()  # not a view of all
    return top, np.take_along_axis(values, top, axis=1)
