import numpy as np
import pytest
from scipy.sparse import csr_matrix

from text import cosine


def unit_vectors(seed, count):
    vectors = np.random.default_rng(seed).normal(size=(count, 5))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("convert", [np.asarray, csr_matrix], ids=["array", "sparse"])
@pytest.mark.parametrize("rows", [1, 4, 1 << 16])
@pytest.mark.parametrize("count", [1, 3, 50])
def test_the_most_similar_are_those_of_a_comparison_of_all(monkeypatch, convert, rows, count):
    monkeypatch.setattr(cosine, "ROWS", rows)
    monkeypatch.setattr(cosine, "QUERIES", 2)
    queries, matrix, candidates = unit_vectors(1, 5), unit_vectors(2, 30), np.arange(3, 28)
    found, similarity = cosine.most_similar(convert(queries), convert(matrix), candidates, count)
    values = queries @ matrix[candidates].T
    order = np.argsort(-values, axis=1)[:, :count]
    np.testing.assert_array_equal(found, candidates[order])
    np.testing.assert_allclose(similarity, np.take_along_axis(values, order, axis=1), atol=1e-6)


@pytest.mark.parametrize("convert", [np.asarray, csr_matrix], ids=["array", "sparse"])
def test_no_queries_or_no_candidates(convert):
    matrix = convert(unit_vectors(1, 4))
    assert cosine.most_similar(matrix[:0], matrix, np.arange(4), 2)[0].shape == (0, 2)
    assert cosine.most_similar(matrix, matrix, np.arange(0), 2)[0].shape == (4, 0)
