import numpy as np
import pytest

from text.rows import BLOCK, drawn, parts_of, spans_of, texts_of


@pytest.mark.parametrize("total", [5, 1000, BLOCK])
def test_a_draw_from_few_rows_is_the_beginning_of_a_permutation(total):
    assert np.array_equal(drawn(total, 700, 3), np.random.default_rng(3).permutation(total)[:700])


@pytest.mark.parametrize("total", [BLOCK + 1, 10**14])
def test_a_draw_from_many_rows_makes_no_array_of_all(total):
    """10**14 numbers would fit into no memory."""
    rows = drawn(total, 700, 3)
    assert np.array_equal(rows, drawn(total, 700, 3))
    assert not np.array_equal(rows, drawn(total, 700, 4))
    assert len(np.unique(rows)) == 700
    assert rows.min() >= 0 and rows.max() < total
    assert rows.mean() == pytest.approx(total / 2, rel=0.1)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], [[]]),
        ([""], [[""]]),
        (["ab", "cd", "e", "", "f"], [["ab", "cd"], ["e", "", "f"]]),
        (["abcdefghij", "k", "l"], [["abcdefghij"], ["k", "l"]]),
        (["a", "bcdefghij", ""], [["a", "bcdefghij"], [""]]),
    ],
)
def test_parts_have_whole_rows(texts, expected):
    assert list(map(texts_of, parts_of(spans_of(texts), 4))) == expected
