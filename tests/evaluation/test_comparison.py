"""A dataset as a comparison reads it."""

import pytest

from cli.console import UserError
from conftest import write_dataset
from evaluation.comparison import Comparison
from text.labelled import read_split


def test_blank_lines_are_no_rows_and_a_file_that_is_not_there_is_told(tmp_path):
    rows = "好天\t0\n\n \u3000\r\n坏\u2028天\t1\n好\t0"
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], rows)
    assert Comparison(dataset, None, []).rows == {"train": 3, "dev": 3, "test": 3}
    assert len(read_split(dataset, "train")[0]) == 3
    (dataset / "data" / "dev.txt").unlink()
    with pytest.raises(UserError, match=r"dev\.txt cannot be read: No such file"):
        Comparison(dataset, None, [])
