import csv
import gzip
import json
from pathlib import Path

import openpyxl
import pytest

import prepare
from conftest import assert_mistaken, here, sample_rows, script

NAMES = ["财经", "房产", "股票"]
ROWS = [(text, NAMES[label]) for text, label in sample_rows("train", {0, 1, 2}, 300)]


@pytest.fixture
def table(tmp_path):
    """A csv file as Excel writes it in China, with a column that is not used and a row without a label."""
    path = tmp_path / "reviews.csv"
    with open(path, "w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows(
            [["id", "review", "label"], *((i, *row) for i, row in enumerate(ROWS)), [1, "x", ""]]
        )
    return path


def rows_of(dataset):
    """The lines of each split, and the class names."""
    splits = [
        (dataset / "data" / f"{name}.txt").read_text(encoding="utf-8").split("\n")[:-1] for name in prepare.SPLITS
    ]
    return splits, (dataset / "data" / "class.txt").read_text(encoding="utf-8").split("\n")[:-1]


def test_from_a_file_to_predictions_in_three_commands(table, tmp_path):
    done = script("prepare.py", table.name, "--text", "review", "--label", "label", "--output", "hotel", cwd=tmp_path)
    first, *checked = done.stdout.splitlines()
    assert first == "hotel: 3 classes; rows: train 238, dev 31, test 31"
    assert checked[0] == "hotel: 238 train, 31 dev, 31 test rows of 3 classes"
    assert checked[-1].endswith("Nothing would spoil an experiment.")
    assert done.stderr == (
        "reviews.csv: GB18030, delimiter comma; texts from column 'review', labels from 'label'\n"
        "301 rows read, 1 rejected\n"
        "  1 rows: no label\n"
        f"Report: {Path('hotel', 'log', 'check', 'check.html')}, check.json, suspects.tsv\n"
        "Next: python run.py --model TextCNN --dataset hotel\n"
    )
    assert sorted(path.name for path in (tmp_path / "hotel").iterdir()) == ["data", "log", "rejected.tsv"]
    splits, classes = rows_of(tmp_path / "hotel")
    assert classes == sorted(NAMES)
    assert sorted(line for lines in splits for line in lines) == sorted(f"{text}\t{label}" for text, label in ROWS)
    assert (tmp_path / "hotel" / "rejected.tsv").read_text(encoding="utf-8") == (
        "file\trow\treason\nreviews.csv\t302\tno label\n"
    )
    script("run.py", "--model", "SVM", "--dataset", "hotel", cwd=tmp_path)
    done = script("predict.py", "--dataset", "hotel", "北京二手房价格上涨", cwd=tmp_path)
    assert done.stdout.split("\n")[1].startswith("北京二手房价格上涨\t房产\t")


def test_files_of_all_kinds_at_once(tmp_path, monkeypatch, capsys):
    part = [ROWS[i::5] for i in range(5)]
    with gzip.open(tmp_path / "a.tsv.gz", "wt", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in ["类别\t标题", *(f"{label}\t{text}" for text, label in part[0])])
    lines = [json.dumps({"sentence": text, "label": label}) for text, label in part[1]]
    (tmp_path / "b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "c.txt").write_text("".join(f"{text}\t{label}\n" for text, label in part[2]), encoding="utf-16")
    lines = [f"__label__{label} {text}\n" for text, label in part[3]]
    (tmp_path / "d.txt").write_text("".join(lines), encoding="utf-8")
    book = openpyxl.Workbook()
    for row in [("内容", "标签"), *part[4]]:
        book.active.append(row)
    book.create_sheet("其他").append([1])
    book.save(tmp_path / "e.xlsx")
    files = [tmp_path / name for name in ("a.tsv.gz", "b.jsonl", "c.txt", "d.txt", "e.xlsx")]
    script("prepare.py", *files[:4], "--output", tmp_path / "D", "--split", 8, 1, 1)
    with pytest.raises(prepare.UserError, match="no workbook"):
        here(monkeypatch, prepare.main, *files, "--sheet", "Sheet", "--output", tmp_path / "E")
    here(monkeypatch, prepare.main, files[4], "--sheet", "Sheet", "--output", tmp_path / "E")
    assert "e.xlsx: sheet 'Sheet'; texts from column '内容', labels from '标签'" in capsys.readouterr().err
    splits = [lines for name in "DE" for lines in rows_of(tmp_path / name)[0]]
    found = sorted("".join(line.split()) for lines in splits for line in lines)
    assert found == sorted("".join(f"{text}{label}".split()) for text, label in ROWS)


def test_splits_of_their_own_and_joined_columns(tmp_path, monkeypatch):
    for name, part in (("train", ROWS[:200]), ("test", ROWS[200:])):
        with open(tmp_path / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            rows = [(text[:4], text[4:], label) for text, label in part]
            csv.writer(file).writerows([["title", "content", "label"], *rows])
    flags = ("--text", "title", "content", "--output", tmp_path / "D", "--split", 3, 1, 1)
    here(monkeypatch, prepare.main, tmp_path / "train.csv", "--test", tmp_path / "test.csv", *flags)
    (train, dev, test), _ = rows_of(tmp_path / "D")
    assert test == [f"{text[:4].strip()} {text[4:].strip()}\t{label}" for text, label in ROWS[200:]]
    assert [len(train), len(dev)] == [150, 50]


def test_a_dataset_stays_unless_it_is_to_be_replaced(table, tmp_path, monkeypatch):
    data = tmp_path / "D" / "data"
    data.mkdir(parents=True)
    (data / "train.txt").write_text("mine")
    flags = (table, "--output", tmp_path / "D")
    with pytest.raises(prepare.UserError, match=r"data has train\.txt; --overwrite replaces this dataset"):
        here(monkeypatch, prepare.main, *flags)
    with pytest.raises(prepare.UserError, match="no column 'x'"):
        here(monkeypatch, prepare.main, *flags, "--overwrite", "--label", "x")
    assert (data / "train.txt").read_text() == "mine"
    assert not (data / "class.txt").exists()
    here(monkeypatch, prepare.main, *flags, "--overwrite")
    first = rows_of(tmp_path / "D")
    here(monkeypatch, prepare.main, *flags, "--overwrite")
    assert rows_of(tmp_path / "D") == first
    here(monkeypatch, prepare.main, *flags, "--overwrite", "--seed", 2)
    assert rows_of(tmp_path / "D") != first


def test_mistakes_are_a_line(table, tmp_path, monkeypatch, capsys):
    cases = [
        ([], "no files are given, expected files of labelled rows, or --check DATASET"),
        ([table], "--output is missing, expected the directory of the dataset"),
        (["--check", "D", "--no_check"], "argument --no_check: not allowed with argument --check"),
        (["--check", "D", "--label_next", 5], "argument --label_next: not allowed with argument --check"),
        ([table, "--output", "D", "--checkpoint", "a.ckpt"], "--checkpoint is for --label_next"),
        (["--check", "D", "--sheet", "1"], "--sheet is for making a dataset: leave it out with --check"),
        (["a.txt", "--label_next", "3", "--encoding", "big5"], "--encoding is for making a dataset: leave it out"),
        ([table, "--output", "D", "--no_check", "--fix"], "--fix needs the check"),
        ([table, "--output", "D", "--multi_label", "--label", "a", "b"], "--multi_label takes one column of labels"),
        ([table, "--check", "D"], "files and --check are both given, expected files"),
        ([table, "--output", "D", "--split", 80, 20, 0], "argument --split: 0 is out of range, expected above 0"),
        (
            [table, "--output", "D", "--split", "inf", 1, 1],
            "argument --split: inf is out of range, expected above 0 and",
        ),
        ([table, "--output", "D", "--split", 80, 20], "argument --split: expected 3 arguments"),
    ]
    for arguments, message in cases:
        assert_mistaken(monkeypatch, capsys, prepare.main, arguments, message)
    (tmp_path / "file").touch()
    done = script("prepare.py", table, "--output", tmp_path / "file" / "D", check=False)
    assert done.returncode == 2
    assert done.stderr.split("\n")[1:] == [
        f"prepare.py: {tmp_path / 'file' / 'D'} cannot be written: Not a directory",
        "",
    ]
    done = script("prepare.py", tmp_path / "missing.csv", "--output", tmp_path / "D", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"prepare.py: {tmp_path / 'missing.csv'} cannot be read: No such file or directory\n"
    assert not (tmp_path / "D").exists()
