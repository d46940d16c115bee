import csv
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.console import UserError
from text import preparation
from text.columns import choose_columns
from text.labelled import read_split
from text.preparation import SPLITS, Preparation
from text.tables import open_table

SHARES = {"train": 80, "dev": 10, "test": 10}


def prepared(path, rows, seed=1, group=None, shares=SHARES, **of_splits):
    """The Preparation of rows with a header, or of a file's content, and of those of splits."""
    preparation = Preparation(io.BytesIO(), seed)
    for split, part in {None: rows, **of_splits}.items():
        with open(path / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(part)
        table = open_table(str(path / f"{split}.csv"))
        preparation.add(table, choose_columns(table, None, None, group, []), split)
    preparation.divide(shares)
    return preparation


def written(path, preparation):
    """The rows of each split as the training reads them, and those of rejected.tsv, without the files' names."""
    preparation.write(path)
    classes = (path / "data" / "class.txt").read_text(encoding="utf-8").split("\n")[:-1]
    splits = {}
    for name in SPLITS:
        texts, labels = read_split(path, name)
        splits[name] = [(text, classes[label]) for text, label in zip(texts, labels, strict=True)]
        content = (path / "data" / f"{name}.txt").read_bytes().decode()
        assert len(content.splitlines()) == len(texts)  # for other programs, which know more line ends
    header, *rejected = (path / "rejected.tsv").read_text(encoding="utf-8").split("\n")[:-1]
    assert header == "file\trow\treason"
    return splits, [tuple(line.split("\t")[1:]) for line in rejected]


HEADER = ["text", "label"]
ROWS = [HEADER, *([f"第{i}条", f"类{i % 3}"] for i in range(60))]
TEXTS = st.text(
    st.one_of(st.sampled_from("好坏 \t\n\r\ufeff\u2028\u3000\x85\0"), st.characters(codec="utf-8")), max_size=6
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(TEXTS, st.sampled_from(["类0", "类1", " 类2\n"]) | TEXTS), max_size=30))
def test_each_row_is_in_one_split_or_rejected(tmp_path, rows):
    """Whatever the cells hold, the training reads the texts and labels that were there."""
    preparation = prepared(tmp_path, [*ROWS, *rows])
    splits, rejected = written(tmp_path, preparation)
    kept = [row for part in splits.values() for row in part]
    assert len(kept) + len(rejected) + preparation.blank == 60 + len(rows)

    def bare(text):
        return "".join(text.replace("\ufeff", "").split())

    expected = {(bare(text), bare(label)) for text, label in [*ROWS[1:], *rows]}
    assert {(bare(text), bare(label)) for text, label in kept} <= expected
    sets = [{text for text, _ in part} for part in splits.values()]
    assert len(set.union(*sets)) == sum(map(len, sets))
    for part in splits.values():
        assert {label for _, label in part} == {label for _, label in kept}


def test_bad_rows_are_rejected_with_their_line(tmp_path):
    bad = [
        ["", "类1"],
        ["文", " "],
        ["\ufeff", "类1"],
        ["文", "长" * 101],
        ["少", "少见"],
        ["少2", "少见"],
        ["a", "b", "c"],
    ]
    preparation = prepared(tmp_path, [*ROWS, [], *bad])
    splits, rejected = written(tmp_path, preparation)
    assert rejected == [
        ("63", "no text"),
        ("64", "no label"),
        ("65", "no text"),
        ("66", "a label of more than 100 characters"),
        ("67", "its class has fewer than 3 different texts"),
        ("68", "its class has fewer than 3 different texts"),
        ("69", "3 fields, the first row has 2"),
    ]
    assert sum(map(len, splits.values())) == 60
    assert preparation.summary()[:5] == [
        "67 rows read, 7 rejected",
        "  2 rows: no text",
        "  2 rows: its class has fewer than 3 different texts",
        "  1 rows: no label",
        "  1 rows: a label of more than 100 characters",
    ]
    assert preparation.summary()[6:] == ["Classes left out: 少见", "1 blank rows skipped"]


def test_the_splits_depend_on_the_rows_and_the_seed_alone(tmp_path):
    def sets(rows, seed):
        splits, _ = written(tmp_path, prepared(tmp_path, rows, seed))
        return [set(part) for part in splits.values()]

    first = sets(ROWS, 1)
    assert sets(ROWS, 1) == sets([HEADER, *ROWS[:0:-1]], 1) == first
    assert sets(ROWS, 2) != first


def test_classes_are_sorted_and_numbers_are_sorted_as_numbers(tmp_path):
    rows = [HEADER, *([f"第{i}条", ("10", "9", "好", "1")[i % 4]] for i in range(40))]
    prepared(tmp_path, rows).write(tmp_path)
    assert (tmp_path / "data" / "class.txt").read_text(encoding="utf-8") == "1\n9\n10\n好\n"


def test_no_group_is_in_two_splits(tmp_path):
    rows = [
        ["text", "label", "user"],
        *([f"第{i}条", f"类{i % 3}", f"u{i % 20}"] for i in range(200)),
        ["文", "类1", ""],
    ]
    preparation = prepared(tmp_path, rows, group="user")
    users = np.array([row[2] for row in rows[1:]])
    assert max(len(set(preparation.splits[users == user])) for user in set(users)) == 1
    assert preparation.counts.sum(axis=1).min() > 0


def test_groups_that_texts_connect_are_a_warning(tmp_path):
    rows = [["text", "label", "user"]]
    rows += [["同一条" if i % 10 == 0 else f"第{i}条", f"类{i % 3}", f"u{i // 10}"] for i in range(200)]
    rows += [[f"另{i}条", f"类{i % 3}", f"v{i}"] for i in range(30)]
    preparation = prepared(tmp_path, rows, group="user")
    assert "Warning: 87% of the rows are in one split, as texts or groups connect them" in preparation.summary()


def test_a_split_with_files_of_its_own_keeps_its_rows(tmp_path):
    test = [HEADER, *ROWS[1:10], ["新的", "新类"]]
    dev = [HEADER, *ROWS[5:20]]
    preparation = prepared(tmp_path, ROWS, shares={"train": 80}, dev=dev, test=test)
    splits, rejected = written(tmp_path, preparation)
    assert splits["test"] == [tuple(row) for row in test[1:]]
    assert splits["dev"] == [tuple(row) for row in ROWS[10:20]]
    assert splits["train"] == [tuple(row) for row in ROWS[20:]]
    assert [why for _, why in rejected].count("its text is also in test") == 9 + 5
    assert [why for _, why in rejected].count("its text is also in dev") == 10
    assert "Warning: train has no row of 1 classes: 新类" in preparation.summary()


def test_what_may_be_wrong_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "LONG", 50)
    rows = [
        HEADER,
        *([f"第{i}条\n第二行", ("A/B", "a,b", "c")[i % 3]] for i in range(30)),
        ["长" * 51, "c"],
        ["长" * 51, "c"],
    ]
    messages = prepared(tmp_path, rows).summary()
    assert messages[1:] == [
        "30 texts had tabs or line ends and are now one line",
        "1 rows repeat the text of another row; all rows of a text are in one split",
        f"Warning: {tmp_path / 'None.csv'}, line 62: a text of 51 characters; is a quote not closed?",
        f"Warning: {tmp_path / 'None.csv'}, line 63: a text of 51 characters; is a quote not closed?",
        "1 classes have a comma in the name; each is one class: a,b",
        "1 classes have a slash in the name; each is one class: A/B",
    ]


def test_labels_of_several_columns_are_paths(tmp_path):
    labels = [("商业", "财经"), ("商业", "股票"), ("教育", ""), (" 教育 ", None), ("", "股票"), ("", "")]
    lines = [{"text": f"第{i}条", "level1": labels[i % 6][0], "level2": labels[i % 6][1]} for i in range(60)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    table = open_table(path)
    columns = choose_columns(table, None, ["level1", "level2"], None, [])
    assert columns.description(table) == "texts from column 'text', labels from 'level1' / 'level2'"
    preparation = Preparation(io.BytesIO(), 1)
    preparation.add(table, columns)
    preparation.divide(SHARES)
    preparation.write(tmp_path)
    assert (tmp_path / "data" / "class.txt").read_text(encoding="utf-8") == "商业/股票\n商业/财经\n教育\n"
    assert preparation.summary() == [
        "60 rows read, 20 rejected",
        "  10 rows: a level of the label is empty, and one below is not",
        "  10 rows: no label",
        "The labels are paths: 2 top nodes, 3 classes, 2 levels",
    ]


@pytest.mark.parametrize("value", ["0.{}23456789", "2024-01-{:02}", "12:{}:30"])
def test_labels_that_look_continuous_are_a_warning(tmp_path, value):
    rows = [HEADER, *([f"第{i}条", value.format(10 + i % 21)] for i in range(90))]
    (message,) = [
        line for line in prepared(tmp_path, rows).summary() if line.startswith("Warning: 21 classes, such as")
    ]
    assert message.endswith("does --label name a column of classes?")


def test_many_classes_are_a_warning(tmp_path):
    rows = [HEADER, *([f"第{i}条", f"类{i % 1001}"] for i in range(3003))]
    assert (
        "Warning: 1,001 classes, such as 类0, 类1, 类2 and 998 more; does --label name a column of classes?"
        in prepared(tmp_path, rows).summary()
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([HEADER], "no row is left for train, dev, test"),
        ([HEADER, ["好", "0"], ["坏", "1"]], "  2 rows: its class has fewer than 3 different texts"),
        ([HEADER, *([f"第{i}条", "好"] for i in range(9))], "all rows have one label, '好'; expected more"),
        (
            [HEADER, *([f"第{i}条", f"{i / 7}"] for i in range(20))],
            "20 different labels in 20 rows, such as 0.0, 0.14285",
        ),
        ([HEADER, *([f"第{i}条", f"类{i}"] for i in range(50))], "has more than 30 labels: 类0, 类1, 类2 and 28 more"),
    ],
)
def test_rows_that_make_no_dataset(tmp_path, monkeypatch, rows, message):
    monkeypatch.setattr(preparation, "MOST_CLASSES", 30)
    with pytest.raises(UserError) as error:
        prepared(tmp_path, rows)
    assert message in str(error.value)
