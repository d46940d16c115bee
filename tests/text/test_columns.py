import json

import pytest

from cli.console import UserError
from text.columns import choose_columns
from text.tables import open_table

COMMAND = ["python", "prepare.py", "a.csv", "--output", "D"]


def choose(path, content, text=None, label=None, group=None):
    path.write_text(content, encoding="utf-8")
    table = open_table(path)
    columns = choose_columns(table, text, label and label.split(), group, COMMAND)
    return columns.description(table)


ROWS = "".join(f"{i},第{i}条新闻很长,类{i % 3}\n" for i in range(9))
TWO = "".join(f"第{i}条,类{i % 3}\n" for i in range(9))
SWAPPED = "".join(f"类{i % 3}\t第{i}条\n" for i in range(9))


@pytest.mark.parametrize(
    ("name", "content", "given", "description"),
    [
        ("a.csv", "label,review\n1,x\n", {}, "texts from column 'review', labels from 'label'"),
        ("a.csv", "ID,标题 ,类别\n" + ROWS, {}, "texts from column '标题', labels from '类别'"),
        ("a.csv", "点评,Label\n" + TWO, {}, "texts from column '点评', labels from 'Label'"),
        ("a.csv", "内容,星级\n" + TWO, {}, "texts from column '内容', labels from '星级'"),
        ("a.csv", "a,b,c\n" + ROWS, {"text": ["b"], "label": "c"}, "texts from column 'b', labels from 'c'"),
        ("a.csv", "a,text,label\n" + ROWS, {"group": "a"},
         "texts from column 'text', labels from 'label', groups from 'a'"),
        ("a.csv", "title,content,label\n" + ROWS, {"text": ["title", "content"]},
         "texts from column 'title' and 'content', labels from 'label'"),
        ("a.csv", ROWS, {"text": ["2"], "label": "3"}, "texts from column 2, labels from 3 (no header)"),
        ("a.csv", "a,b,label\n" + ROWS, {"text": ["2"]}, "texts from column 'b', labels from 'label'"),
        ("a.csv", "3,第0条,x\n" + ROWS, {"text": ["2"], "label": "3"},
         "texts from column 2, labels from 3 (no header)"),
        ("a.csv", TWO, {"text": ["1"]}, "texts from column 1, labels from 2 (no header)"),
        ("a.txt", TWO.replace(",", "\t"), {}, "texts from column 1, labels from 2 (no header)"),
        ("a.txt", SWAPPED, {}, "texts from column 2, labels from 1 (no header)"),
        ("a.txt", "一条\t0\n", {}, "texts from column 1, labels from 2 (no header)"),
        ("a.txt", "text\tlabel\n" + SWAPPED, {}, "texts from column 'text', labels from 'label'"),
        ("a.jsonl", '{"1": "x", "2": "y"}\n', {"text": ["2"], "label": "1"}, "texts from column '2', labels from '1'"),
        ("a.jsonl", '{"sentence": "x", "label": "y", "label_desc": "z"}\n', {},
         "texts from column 'sentence', labels from 'label'"),
    ],
)  # fmt: skip
def test_columns_are_named_or_found(tmp_path, name, content, given, description):
    assert choose(tmp_path / name, content, **given) == description


@pytest.mark.parametrize(
    ("content", "given", "flags"),
    [
        ("a,b,c\n" + ROWS, {}, "--text b --label c"),
        ("a,b,c\n" + ROWS, {"text": ["b"]}, "--label c"),
        (ROWS, {}, "--text 2 --label 3"),
        (TWO, {}, "--text 1 --label 2"),
        ("title,content,label\n" + ROWS, {}, "--text title content"),
        ("text,label,类别\n" + ROWS, {}, "--label 类别"),
    ],
)
def test_what_is_not_clear_is_asked_with_a_command(tmp_path, content, given, flags):
    with pytest.raises(UserError) as error:
        choose(tmp_path / "a.csv", content, **given)
    first, _, *columns = str(error.value).split("\n")
    assert first.endswith(f"for example: {' '.join(COMMAND)} {flags}")
    names = content.split("\n")[0].split(",")
    assert [line.split(", ")[0] for line in columns] == [f"  {i}: {name!r}" for i, name in enumerate(names, 1)]


@pytest.mark.parametrize(
    ("name", "content", "given", "message"),
    [
        ("a.csv", "标题\n一条\n", {}, "a.csv has one column, '标题'; expected one of texts and one of labels"),
        ("a.txt", "一条没有标签的新闻\n", {}, "a.txt has one column, '一条没有标签的新闻'"),
        ("a.csv", "", {}, "a.csv has no rows"),
        ("a.csv", "a,b\n1,2\n", {"text": ["c"]}, "a.csv has no column 'c' (--text); it has a, b"),
        ("a.csv", "a,b\n1,2\n", {"label": "3"}, "a.csv has no column '3' (--label); it has a, b"),
        ("a.csv", "a,b\n1,2\n", {"group": "9" * 5000}, "(--group); it has a, b"),
        (
            "a.jsonl",
            json.dumps([{"text": "x", "label": "y"}]),
            {},
            "a.jsonl, line 1: no JSON object, expected one a line",
        ),
        ("a.csv", ",".join(f"c{i}" for i in range(500)) + "\n" + ",".join("1" * 500), {}, "  and 490 more"),
    ],
)
def test_what_is_wrong_is_told(tmp_path, name, content, given, message):
    with pytest.raises(UserError) as error:
        choose(tmp_path / name, content, **given)
    assert message in str(error.value)
