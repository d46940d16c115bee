import numpy as np
import pytest

from checking.findings import examine
from checking.problems import counts_of, problems_of
from checking.splits import read_splits
from conftest import sample_rows, write_dataset

ROWS = {name: sample_rows(name, {0, 1, 2}, count) for name, count in (("train", 150), ("dev", 60), ("test", 60))}


def problems(tmp_path, **changes):
    splits = {name: changes.get(name, rows) for name, rows in ROWS.items()}
    found = read_splits(write_dataset(tmp_path, ["财经", "房产", "股票"], **splits))
    return {problem.name: problem for problem in problems_of(examine(found))}


def test_the_counts_are_those_of_the_files(tmp_path):
    splits = read_splits(write_dataset(tmp_path, ["财经", "房产", "股票"], **ROWS))
    expected = [np.bincount([label for _, label in rows], minlength=3) for rows in ROWS.values()]
    assert counts_of(splits).tolist() == np.stack(expected).tolist()


@pytest.mark.parametrize(
    ("name", "split", "change"),
    [
        ("unbalanced", "train", lambda rows: [row for row in rows if row[1]] + [row for row in rows if not row[1]][:2]),
        ("few_rows", "train", lambda rows: [row for i, row in enumerate(rows) if row[1] or i < 20]),
        ("absent_classes", "dev", lambda rows: [row for row in rows if row[1]]),
        (
            "shares_dev",
            "dev",
            lambda rows: 2 * [row for row in rows if row[1]] + [row for row in rows if not row[1]][:2],
        ),
        ("drift_test", "test", lambda rows: [(f"{text}【转载】", label) for text, label in rows]),
        ("scripts", "test", lambda rows: [("國會議員發言", 1), *rows]),
        ("repeated_train", "train", lambda rows: [*rows, rows[0]]),
        ("similar_train_dev", "dev", lambda rows: [*rows, (f"独家快讯又来{ROWS['train'][0][0]}", ROWS["train"][0][1])]),
    ],
)
def test_a_change_of_a_split_is_a_problem(tmp_path, name, split, change):
    assert name not in problems(tmp_path / "before")
    found = problems(tmp_path / "after", **{split: change(ROWS[split])})
    assert name in found
    levels = [problem.level for problem in found.values()]
    assert levels == sorted(levels, key=("error", "warning", "note").index)


def test_splits_that_are_too_small_to_compare_are_a_note(tmp_path):
    assert "fewer than 50 rows" in problems(tmp_path, dev=ROWS["dev"][:20])["drift_dev"].text


def test_labels_that_cannot_be_checked_are_a_note(tmp_path):
    found = problems(tmp_path, **{name: [row for row in rows if row[1] == 0] for name, rows in ROWS.items()})
    assert "rows of one class alone" in found["suspects"].text
