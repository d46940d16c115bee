import csv
import io
import json
import math
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cli.console import UserError
from text import tables
from text.tables import as_text, open_table


def read(path, content, encoding="utf-8"):
    """The Table in a file of this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return open_table(path)


def cells_of(table, has_header=True):
    return [row.cells for row in table.rows(has_header)]


@pytest.mark.parametrize(
    ("name", "content", "delimiter"),
    [
        ("a.csv", 'text,label\n"好,\n""坏""",1\n差,2\n', "comma"),
        ("a.csv", 'text;label\n"好,\n""坏""";1\n差;2\n', "semicolon"),
        ("a.csv", 'text|label\n"好,\n""坏"""|1\n差|2\n', "|"),
        ("a.csv", 'text\tlabel\n"好,\n""坏"""\t1\n差\t2\n', "tab"),
        ("a.tsv", 'text\tlabel\r\n"好,\n""坏"""\t1\r\n差\t2', "tab"),
        ("a.txt", '\n\ntext\tlabel\n"好,\n""坏"""\t1\n差\t2\n', "tab"),
    ],
)
def test_delimiters_quotes_and_line_ends(tmp_path, name, content, delimiter):
    table = read(tmp_path / name, content)
    assert table.form == f"UTF-8, delimiter {delimiter}"
    assert table.names == ["text", "label"]
    assert cells_of(table) == [['好,\n"坏"', "1"], ["差", "2"]]


@pytest.mark.parametrize(
    ("line", "cell"),
    [('"十一"黄金周', '"十一"黄金周'), ('他说"好', '他说"好'), ('"好"', '"好"'), ('"他说""好"""', '他说"好"')],
)
def test_quotes_between_tabs_are_part_of_the_text_unless_doubled(tmp_path, line, cell):
    assert cells_of(read(tmp_path / "a.tsv", f"text\tlabel\n{line}\t1\n差\t2\n")) == [[cell, "1"], ["差", "2"]]


def test_bad_rows_have_their_line_and_the_others_are_read(tmp_path):
    content = 'text,label\n好,1\n\n"坏\n了"x,1\n差,2,3\n好,1\n'
    rows = list(read(tmp_path / "a.csv", content).rows())
    assert [(row.line, row.problem) for row in rows] == [
        (2, None),
        (3, None),
        (4, "wrong quotes in line 4 to 5 (',' expected after '\"')"),
        (6, "3 fields, the first row has 2"),
        (7, None),
    ]


def test_a_bad_row_before_the_header_is_told(tmp_path):
    rows = list(read(tmp_path / "a.csv", '"x"y\ntext,label\n好,1\n').rows())
    assert [(row.line, row.cells, bool(row.problem)) for row in rows] == [(1, [], True), (3, ["好", "1"], False)]


@pytest.mark.parametrize("content", ['text,label\n好,1\n"坏,1\n差,2\n', "text,label\n好,1\n" + "长" * 200 + ",1\n"])
def test_a_quote_that_is_not_closed_is_told_with_its_line(tmp_path, monkeypatch, content):
    monkeypatch.setattr(tables, "LONGEST_CELL", 100)
    with pytest.raises(UserError, match=r"a\.csv, line 3: a cell begins with a quote that is not closed, or has more"):
        list(read(tmp_path / "a.csv", content).rows())


def test_json_lines(tmp_path):
    lines = [{"id": 1, "text": "好"}, {"text": "坏", "label": ["a"]}, [1], {"more": 1, "label": None}]
    content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines) + "\n{bad\n" + "[" * 100_000 + "\n"
    table = read(tmp_path / "a.jsonl", content)
    assert table.names == ["id", "text", "label", "more"]
    assert [row.cells for row in table.rows()] == [
        [1, "好", None, None], [None, "坏", ["a"], None], [], [None, None, None, 1], [], [], []
    ]  # fmt: skip
    problems = {row.line: row.problem.split("(")[0] for row in table.rows() if row.problem}
    assert problems == {3: "no JSON object, expected one a line", 6: "not JSON ", 7: "not JSON "}


@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_keys_that_appear_late_are_columns(tmp_path, name):
    objects = [{"text": "好"}] * 150 + [{"text": "坏", "label": 1}]
    lines = [json.dumps(row) for row in objects]
    table = read(tmp_path / name, "\n".join(lines) if name == "a.jsonl" else f"[{','.join(lines)}]")
    assert table.names == ["text", "label"]
    assert cells_of(table)[149:] == [["好", None], ["坏", 1]]


def test_too_many_keys_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MOST_KEYS", 3)
    with pytest.raises(UserError, match=r"a\.jsonl, line 4: more than 3 different keys so far"):
        read(tmp_path / "a.jsonl", "".join(f'{{"{i}": 1}}\n' for i in range(9)))


@pytest.mark.parametrize("part", [1, 7, 1 << 16])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_json_objects(tmp_path, monkeypatch, part, indent):
    monkeypatch.setattr(tables, "ARRAY_PART", part)
    objects = [{"id": 12, "text": "好, ]坏"}, {"text": 'a"}\n', "label": {"b": [1]}}, 123, {"id": None, "text": "x"}]
    table = read(tmp_path / "a.json", "\n" + json.dumps(objects, ensure_ascii=False, indent=indent) + "\n")
    assert table.form == "JSON array, UTF-8"
    assert table.names == ["id", "text", "label"]
    assert [(row.line, row.cells, row.problem) for row in table.rows()] == [
        (3 if indent else 2, [12, "好, ]坏", None], None),
        (7 if indent else 2, [None, 'a"}\n', {"b": [1]}], None),
        (15 if indent else 2, [], "no JSON object, expected an array of them"),
        (16 if indent else 2, [None, "x", None], None),
    ]


@pytest.mark.parametrize("part", [1, 1 << 16])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"text": "好"},\n{"text": "坏}]', r"line 2: not a JSON array of objects \(Unterminated string"),
        ('[{"text": "好"}\n{"text": "坏"}]', r"line 1: not a JSON array of objects \(no comma or \] after the value\)"),
        ('[{"text": "好"},\n]', r"line 2: not a JSON array of objects \(Expecting value\); mend or export it again"),
        ('[{"text": "好"}', "line 1: not a JSON array"),
        ('[{"text": "好"}] x', "line 1: not a JSON array"),
        ("[" * 100_000, r"line 1: not a JSON array of objects \(nested too deeply\)"),
    ],
)
def test_a_damaged_array_is_told_with_its_line(tmp_path, monkeypatch, content, part, problem):
    monkeypatch.setattr(tables, "ARRAY_PART", part)
    with pytest.raises(UserError, match=problem):
        read(tmp_path / "a.json", content)


def test_an_empty_array_has_no_rows(tmp_path):
    assert list(read(tmp_path / "a.json", "[ ]").rows()) == []


def test_an_encoding_that_is_named_is_used(tmp_path):
    (tmp_path / "a.csv").write_bytes("text,label\n房間,1\n".encode("big5"))
    table = open_table(tmp_path / "a.csv", encoding="cp950")
    assert (table.form, cells_of(table)) == ("CP950, delimiter comma", [["房間", "1"]])
    for name in ("klingon", "rot13", "undefined", "a\0"):
        with pytest.raises(UserError, match=r"^--encoding .* is no encoding; expected a name such as utf-8, gb18030"):
            open_table(tmp_path / "a.csv", encoding=name)


def test_a_mark_is_no_part_of_the_text_if_the_encoding_is_named(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n好,1\n", encoding="utf-8-sig")
    assert open_table(tmp_path / "a.csv", encoding="utf-8").names == ["text", "label"]


def test_the_format_of_fasttext(tmp_path):
    content = "\n__label__a 好 天气\n__label__a __label__b 坏\n没有\n"
    table = read(tmp_path / "train.txt", content)
    assert table.form == "fastText's format, UTF-8"
    assert table.names == ["text", "label"]
    assert cells_of(table) == [[], ["好 天气", "a"], ["坏", ["a", "b"]], ["没有", None]]


def test_a_cell_as_text():
    values = ["x", None, math.nan, 3, 3.0, 0.25, True, 10**30]
    assert [as_text(value) for value in values] == ["x", "", "", "3", "3", "0.25", "true", str(10**30)]
    for value, what in (([], "a list"), ({}, "an object")):
        with pytest.raises(UserError, match=what):
            as_text(value)


CELLS = st.text(st.one_of(st.sampled_from('房间很干净, "\t\n\r;|'), st.characters(codec="utf-8")), max_size=12)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=20),
    delimiter=st.sampled_from(",;|"),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_csv_writes_is_read(tmp_path, rows, delimiter, end, encoding):
    file = io.StringIO()
    header = [f"{letter} column" for letter in string.ascii_lowercase[:2]]
    csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    table = read(tmp_path / "a.csv", file.getvalue(), encoding)
    assert table.names == header
    assert [tuple(row.cells) for row in table.rows()] == rows
