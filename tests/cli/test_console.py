import argparse

import pytest

from cli.console import boolean, excerpt, listing, markdown_table, number, reason


def test_booleans():
    assert [boolean(text) for text in ("True", "false", "1", "No")] == [True, False, True, False]
    with pytest.raises(argparse.ArgumentTypeError):
        boolean("maybe")


def test_numbers_within_bounds():
    assert number(float, 0, 1)("0.5") == 0.5
    assert number(int, 1)("1") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="2 is out of range, expected at least 0 and at most 1"):
        number(float, 0, 1)("2")
    with pytest.raises(argparse.ArgumentTypeError, match="expected above 0"):
        number(float, 0, open_low=True)("0")
    with pytest.raises(argparse.ArgumentTypeError):
        number(float, 0, 1)("nan")
    with pytest.raises(argparse.ArgumentTypeError, match="at most 2147483647"):
        number(int, 1)("2147483648")


def test_parts_of_messages():
    assert excerpt("一二三四", 2) == "一二…"
    assert listing("abcde", 3) == "a, b, c and 2 more"
    assert reason(ValueError("first\nsecond")) == "first"
    assert reason(KeyError()) == "KeyError"
    assert reason(FileNotFoundError(2, "No such file", "x")) == "No such file"


ROWS = [["class", "A"], ["a|b", "1"], ["c\nd\re\t", "–"], ["f\\|", "23.45"]]


@pytest.mark.parametrize(
    ("padded", "lines"),
    [
        (False, ["| class | A |", "| --- | ---: |", r"| a\|b | 1 |", "| c d e  | – |", r"| f\\\| | 23.45 |"]),
        (
            True,
            [
                *("| class  | A     |", "| ------ | ----: |"),
                *(r"| a\|b   | 1     |", "| c d e  | –     |", r"| f\\\|  | 23.45 |"),
            ],
        ),
    ],
)
def test_cells_of_a_markdown_table_cannot_end_it(padded, lines):
    assert markdown_table(ROWS, padded) == lines


def test_a_padded_column_of_one_character_has_room_for_its_alignment():
    assert markdown_table([["a", "b"]], padded=True) == ["| a   | b    |", "| --- | ---: |"]
