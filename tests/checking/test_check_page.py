import pytest

from checking.check_page import histogram, visible
from checking.splits import read_splits
from conftest import write_dataset


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([1], [("0", 0.0), ("1", 1.0)]),
        ([1, 2, 2, 3], [("0", 0.0), ("1", 0.25), ("2", 0.5), ("3", 0.25)]),
        (
            [5, 45],
            [
                ("0–1", 0.0),
                ("2–3", 0.0),
                ("4–5", 0.5),
                *((f"{i}–{i + 1}", 0.0) for i in range(6, 44, 2)),
                ("44–45", 0.5),
            ],
        ),
    ],
)
def test_the_histogram_has_the_share_of_each_length(tmp_path, lengths, expected):
    splits = read_splits(write_dataset(tmp_path, ["x"], [("字" * length, 0) for length in lengths]))
    assert histogram(splits) == expected


def test_a_few_long_rows_are_in_the_last_bar(tmp_path):
    rows = [("字" * 10, 0)] * 2000 + [("字" * 5000, 0)]
    found = histogram(read_splits(write_dataset(tmp_path, ["x"], rows)))
    assert len(found) == 11
    assert found[-1] == ("10 and more", 1.0)


def test_what_is_invisible_is_shown_as_an_escape():
    assert visible("中\u200b文\x07 \u3000x") == "中\\u200b文\\u0007 \u3000x"
