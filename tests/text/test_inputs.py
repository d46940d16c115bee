import gzip
import json
import sys

import numpy as np
import pytest

from cli.console import UserError
from engine.predictions import Lines, most_probable
from text import files
from text.inputs import read_texts


def texts_in(path, **options):
    """The texts of a file, all of them."""
    return [text for texts in read_texts(str(path), None, show=False, **options) for text in texts]


CONTENT = "\ufeff一条新闻\r\n\r\n A股\t涨\r停 \n\n\u2028🀄坏\ud83d\r\r\n末行"
TEXTS = ["一条新闻", "", " A股\t涨\r停 ", "", "\u2028🀄坏?", "末行"]


@pytest.mark.parametrize("block", [1, 5, 1 << 18])
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_line_is_a_text(tmp_path, monkeypatch, block, end):
    monkeypatch.setattr(files, "BLOCK", block)
    content = (CONTENT + end).encode(errors="replace")
    (tmp_path / "t.txt").write_bytes(content)
    expected = TEXTS + [""] * (len(end) - 1)
    assert texts_in(tmp_path / "t.txt") == expected
    with gzip.open(tmp_path / "t.txt.gz", "wb") as file:
        file.write(content)
    assert texts_in(tmp_path / "t.txt.gz") == expected
    with open(tmp_path / "t.txt", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert texts_in("-") == expected


def test_json_is_read_as_objects_whatever_its_suffix(tmp_path):
    (tmp_path / "t.ndjson").write_text('{"text": "x"}\n{"text": "y"}\n', encoding="utf-8")
    (tmp_path / "t.json").write_text('[{"text": "x"},\n {"text": "y"}]', encoding="utf-8")
    assert texts_in(tmp_path / "t.ndjson") == texts_in(tmp_path / "t.json") == ["x", "y"]


def test_a_compressed_file_is_read_by_the_suffix_before(tmp_path):
    with gzip.open(tmp_path / "t.csv.gz", "wb") as file:
        file.write(b"text\nx\n")
    assert texts_in(tmp_path / "t.csv.gz") == ["x"]
    (tmp_path / "t.csv.txt").write_bytes(b"text\nx\n")
    assert texts_in(tmp_path / "t.csv.txt") == ["text", "x"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,title\n1,x\n", "a.csv has no column 'text'; it has id, title; --text COLUMN names another"),
        ("a.csv", b"id,text\n1,x\n2\n", "a.csv, line 3: 1 fields, the first row has 2"),
        ("a.csv", b'id,text\n1,"x\n', "a.csv, line 2: a cell begins with a quote that is not closed"),
        (
            "a.jsonl",
            b'{"text": "x"}\n{"title": "y"}\n',
            "a.jsonl, line 2: no text at 'text'; --text COLUMN names another",
        ),
        ("a.jsonl", b'{"text": "x"}\n{"text": ["y"]}\n', "a.jsonl, line 2: a list, expected one value"),
        ("a.jsonl", b'{"title": "x"}\n', "a.jsonl has no column 'text'; it has title; --text COLUMN names another"),
        ("a.jsonl", b"[]\n", "a.jsonl, line 1: no JSON object, expected one a line"),
        ("a.jsonl", b"{text\n", "a.jsonl, line 1: not JSON"),
        (
            "a.csv",
            "text\n好新闻\n".encode() + b"\xff\n",
            "a.csv, line 3: bytes that are not in the encoding of the file",
        ),
        ("a.txt", "好\n".encode() + "新闻\n".encode("gb18030"), "a.txt, line 2: not UTF-8"),
        ("missing.txt", None, "missing.txt cannot be read: No such file"),
    ],
)
def test_bad_input_is_told_with_its_line(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as error:
        texts_in(tmp_path / name)
    assert message in str(error.value)


@pytest.mark.parametrize("block", [1, 5, 1 << 18])
def test_the_line_that_is_not_utf8_is_told(tmp_path, monkeypatch, block):
    monkeypatch.setattr(files, "BLOCK", block)
    (tmp_path / "t.txt").write_bytes("新闻\n".encode() * 99 + b"\n\xff\n" + "新闻\n".encode() * 99)
    with pytest.raises(UserError, match="line 101: not UTF-8"):
        texts_in(tmp_path / "t.txt")


def plainly(kind, classes, top_k, text, row):
    """A text's line as one would write it, one at a time."""
    order = np.argsort(-row, kind="stable")[: top_k or 1]
    pairs = [(classes[i], float(row[i])) for i in order] if row.any() else []
    if kind == "jsonl":
        label, probability = pairs[0] if pairs else (None, 0.0)
        line = {"text": text, "label": label, "probability": round(probability, 4)}
        if top_k:
            line["top_k"] = [[label, round(probability, 4)] for label, probability in pairs]
        return json.dumps(line, ensure_ascii=False)
    pairs = pairs or [("", 0.0)] * (top_k or 1)
    text = "".join(" " if c in "\t\r\n" else c for c in text)
    return "\t".join([text, *(field for label, value in pairs for field in (label, f"{value:.4f}"))])


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
@pytest.mark.parametrize("top_k", [None, 1, 3, 5])
def test_lines_are_those_of_one_text_at_a_time(kind, top_k):
    rng = np.random.default_rng(1)
    rows = rng.dirichlet(np.ones(5) / 4, 3000).astype(np.float32)
    rows[::10] = 0
    halves = np.arange(1, 1024, 2) / 1024  # some stand between two figures of four places
    rows[1 : 1 + len(halves), 0] = halves
    rows[2::10] = np.float32([0.25, 0.125, 0.25, 0.125, 0.25])
    rows[3::10] = np.float32([0, 0, 0, 1, 0])
    classes = ["财经", 'a "quoted" one', "100%", "%s", "房产"]
    texts = [f'第{i}\t条%d {{}}\n"\r\\' for i in range(len(rows))]
    lines = Lines(kind, classes, top_k)
    expected = [plainly(kind, classes, top_k, *pair) for pair in zip(texts, rows, strict=True)]
    assert lines(texts, rows).split("\n") == [*expected, ""]
    names = [
        f"{name}{place}" for place in ("", "_2", "_3", "_4", "_5")[: top_k or 1] for name in ("label", "probability")
    ]
    assert lines.header == ("" if kind == "jsonl" else "\t".join(["text", *names]) + "\n")


def test_of_equal_classes_the_first_comes_first():
    row = np.float32([[0.1, 0.2, 0.2, 0.1, 0.2, 0.2]])
    for count in range(1, 7):
        assert most_probable(row, count)[0].tolist() == [1, 2, 4, 5, 0, 3][:count]


def test_json_nested_too_deeply_is_a_line(tmp_path):
    (tmp_path / "a.jsonl").write_text("[" * 100_000 + "]" * 100_000 + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: not JSON \(nested too deeply\)"):
        texts_in(tmp_path / "a.jsonl")


@pytest.mark.parametrize("content", ['[{"text": "x"},\n {"text": "y"}]', '{"text": "x"}\n{"text": "y"}\n'])
def test_a_json_file_is_an_array_or_an_object_a_line(tmp_path, content):
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    assert texts_in(tmp_path / "a.json") == ["x", "y"]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.txt"])
def test_a_file_without_lines_has_no_texts(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert texts_in(tmp_path / name) == []


def test_a_table_may_be_in_another_encoding_and_hold_numbers(tmp_path):
    (tmp_path / "a.csv").write_bytes("id;text\n1;今天的天气很好，我们去公园\n\n2;7\n".encode("gb18030"))
    assert texts_in(tmp_path / "a.csv") == ["今天的天气很好，我们去公园", "", "7"]
    (tmp_path / "a.jsonl").write_text('{"text": 7.0}\n\n{"text": true}\n', encoding="utf-8")
    assert texts_in(tmp_path / "a.jsonl") == ["7", "", "true"]
    (tmp_path / "a.json").write_text('[{"text": 7.0},\n{"text": ""}, {"text": "x"}]', encoding="utf-8")
    assert texts_in(tmp_path / "a.json") == ["7", "", "x"]
