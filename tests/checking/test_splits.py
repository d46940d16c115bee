import pytest

from checking.splits import read_splits
from cli.console import UserError
from conftest import write_dataset


def test_rows_keep_the_numbers_of_their_lines(tmp_path):
    content = "\ufeff甲\t财\r\n\n \u3000\n乙\t1\n"
    splits = read_splits(write_dataset(tmp_path, ["财", "房"], content, [("丙", 0)], [("丁", "房")]))
    assert [splits.text(i) for i in range(4)] == ["甲", "乙", "丙", "丁"]
    assert [splits.place(i) for i in range(4)] == ["train.txt:1", "train.txt:4", "dev.txt:1", "test.txt:1"]
    assert [splits.class_of(i) for i in range(4)] == ["财", "房", "财", "房"]


def test_blank_lines_are_reported(tmp_path, capsys):
    read_splits(write_dataset(tmp_path, ["财"], "甲\t0\n\n"))
    assert f"{tmp_path / 'data' / 'train.txt'}: 1 blank lines skipped" in capsys.readouterr().err


def test_a_missing_directory_is_reported(tmp_path):
    with pytest.raises(UserError, match="no such directory"):
        read_splits(tmp_path / "none")


def test_sets_of_labels_are_classes(several):
    splits = read_splits(several)
    assert splits.names == ["财经", "房产", "股票"]
    assert len(set(splits.classes)) == len(splits.classes) == len(splits.members)
    assert splits.class_of(0) == ""
    for row in range(5):
        line = (several / "data" / "train.txt").read_text(encoding="utf-8").splitlines()[row]
        assert set(splits.class_of(row).split(",")) == set(line.split("\t")[1].split(","))
    train = splits.split == 0
    lines = (several / "data" / "train.txt").read_text(encoding="utf-8").splitlines()
    assert splits.counts(train).tolist() == [
        sum(name in line.split("\t")[1] for line in lines) for name in splits.names
    ]
