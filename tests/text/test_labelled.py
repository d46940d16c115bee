import numpy as np
import pytest

from cli.console import UserError
from conftest import ROOT, SHARED
from text import labelled
from text.labelled import LabelledFile, lines_with_rows, read_classes
from text.rows import texts_of


def read(path, content, classes=("财经", "房产"), notes=None):
    """The texts and labels that are read; `notes` is what is to be told beside, unless that is no matter."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    file = LabelledFile(path, list(classes))
    texts, labels = [], []
    for block, numbers in file:
        texts += texts_of(block)
        labels += numbers.tolist()
    assert notes is None or file.notes == notes
    return texts, labels


@pytest.mark.parametrize(
    "content",
    [
        "一条新闻\t0\n两条 新闻\t1\n",
        "\ufeff一条新闻\t0\n两条 新闻\t1\n",
        "一条新闻\t0\r\n两条 新闻\t1\r\n",
        "一条新闻\t财经\n两条 新闻\t房产",
        "\n一条新闻\t0\n \u3000\n\n两条 新闻\t房产\n\n",
        " 一条新闻 \t 0\n\u3000两条 新闻\t1 \n",
    ],
    ids=["plain", "byte-order mark", "Windows", "names, no last newline", "blank lines", "white space around"],
)
def test_what_is_read(tmp_path, content):
    notes = ["{path}: 4 blank lines skipped"] if content.startswith("\n") else []
    assert read(tmp_path / "train.txt", content, notes=notes) == (["一条新闻", "两条 新闻"], [0, 1])


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_show(tmp_path, monkeypatch, block):
    rows = [(f"第{i}条新闻" + "长" * (i % 7), 0) for i in range(50)] + [("长" * 300, 1)]
    content = "".join(f"{text}\t{label}\n" for text, label in rows)
    monkeypatch.setattr(labelled, "BLOCK", block)
    texts, labels = read(tmp_path / "train.txt", content)
    assert list(zip(texts, labels, strict=True)) == rows


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("没有标签", "no tab in '没有标签'"),
        ("一条\t新闻\t0", "3 fields, not 2, in '一条\\t新闻\\t0'"),
        ("\t1", "an empty text in '\\t1'"),
        (" \u3000\t1", "an empty text"),
        ("一条新闻\t2", "label 2 is out of range, 0 to 1"),
        ("一条新闻\t-1", "label -1 is out of range, 0 to 1"),
        ("一条新闻\t娱乐", "label '娱乐' is unknown"),
        ("一条新闻\t1.0", "label '1.0' is unknown"),
        ("一条新闻\t财经新闻", "label '财经新闻' is unknown"),
        ("一条新闻\t--5", "label '--5' is unknown"),
        ("一条新闻\t--1", "label '--1' is unknown"),
        ("一条新闻\t" + "5" * 4301, f"label '{'5' * 40}…' is unknown"),
        ("一条新闻\t", "an empty label"),
    ],
)
def test_a_bad_row_is_told_with_its_line(tmp_path, line, problem):
    with pytest.raises(UserError) as error:
        read(tmp_path / "train.txt", f"好新闻\t0\n\n{line}\n好新闻\t1\n")
    first, second = str(error.value).split("\n")
    assert "train.txt: 1 bad rows of 4; expected text<TAB>label, a label being one of 0 to 1 or 财经, 房产" in first
    assert second.startswith(f"  line 3: {problem}")


def test_of_many_bad_rows_ten_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "BLOCK", 40)
    with pytest.raises(UserError) as error:
        read(tmp_path / "train.txt", "好\t0\n" + "坏\n" * 25)
    lines = str(error.value).split("\n")
    assert "25 bad rows of 26" in lines[0]
    assert "the first 10" in lines[0]
    assert [line.split(":")[0] for line in lines[1:]] == [f"  line {i}" for i in range(2, 12)]


def test_classes_called_by_numbers_are_names(tmp_path):
    assert read(tmp_path / "a.txt", "差\t1\n好\t5\n", ["1", "3", "5"]) == (["差", "好"], [0, 2])
    with pytest.raises(UserError, match="label '0' is unknown"):
        read(tmp_path / "b.txt", "差\t0\n", ["1", "3", "5"])
    assert read(tmp_path / "c.txt", "旧\t2008\n新\t1\n", ["2008", "2009"]) == (["旧", "新"], [0, 1])


@pytest.mark.parametrize("content", [b"", b"\n\n \n"])
def test_a_file_without_rows(tmp_path, content):
    with pytest.raises(UserError, match=r"train.txt (is empty|has no rows)"):
        read(tmp_path / "train.txt", content)


@pytest.mark.parametrize("space", [" ", "\u3000 ", " " * 50, "\r"])
def test_much_white_space_is_trimmed(tmp_path, space):
    content = f"{space}一条 新闻{space}\t{space}1{space}\n{space}\n好\t0\n".replace("\r一", "一")
    notes = ["{path}: 1 blank lines skipped"]
    assert read(tmp_path / "train.txt", content, notes=notes) == (["一条 新闻", "好"], [1, 0])


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
def test_another_encoding_is_told_with_the_command_that_converts(tmp_path, encoding):
    path = tmp_path / "train.txt"
    with pytest.raises(UserError) as error:
        read(path, "一条新闻\t0\n两条新闻\t1\n".encode(encoding))
    assert "line 1: not UTF-8" in str(error.value)
    program = str(error.value).split('python -c "')[1].rstrip('"')
    exec(program)
    assert path.read_text(encoding="utf-8") == "一条新闻\t0\n两条新闻\t1\n"


@pytest.mark.parametrize("block", [2, 1 << 19])
def test_the_line_that_is_not_utf8_is_told(tmp_path, monkeypatch, block):
    monkeypatch.setattr(labelled, "BLOCK", block)
    with pytest.raises(UserError, match="line 3: not UTF-8"):
        read(tmp_path / "train.txt", "一\t0\n二\t1\n".encode() + b"\xff\xff\t1\n")


def test_a_missing_file_is_told_with_what_is_there(tmp_path):
    (tmp_path / "trian.txt").touch()
    with pytest.raises(UserError, match=r"train.txt: No such file or directory; .* contains: trian.txt"):
        list(LabelledFile(tmp_path / "train.txt", ["财经"]))


def test_an_absent_class_is_a_warning(tmp_path):
    note = "Warning: {path} has no row of 2 classes: 房产, 股票"
    read(tmp_path / "test.txt", "一条新闻\t0\n", ["财经", "房产", "股票"], [note])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("财经\n房产\n财经\n", "line 3: '财经' is already on line 1"),
        ("财经\n\n房产\n", "line 2: empty"),
        ("", "class.txt is empty"),
        ("财经\n房\t产\n", r"line 2: a tab in '房\\t产'"),
        ("财" * 1_000_000 + "\n", "line 1: 1000000 characters, at most 100: '" + "财" * 40 + "…'"),
    ],
)
def test_bad_classes(tmp_path, content, problem):
    (tmp_path / "class.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=problem):
        read_classes(tmp_path / "class.txt")


def test_classes(tmp_path):
    (tmp_path / "class.txt").write_bytes("\ufeff财经\r\n房产\r\n\r\n".encode())
    assert read_classes(tmp_path / "class.txt") == ["财经", "房产"]


@pytest.mark.parametrize("directory", [ROOT / "sample", SHARED])
def test_all_rows_are_read_as_a_plain_loop_reads_them(directory):
    if not directory.exists():
        pytest.skip("shared data is not here")
    path = directory / "data" / "train.txt"
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    blocks = list(LabelledFile(path, read_classes(path.with_name("class.txt"))))
    assert [text for block, _ in blocks for text in texts_of(block)] == [text.strip() for text, _ in rows]
    assert np.array_equal(np.concatenate([labels for _, labels in blocks]), [int(label) for _, label in rows])


def test_a_label_is_compared_and_not_only_its_hash(tmp_path, monkeypatch):
    """If all spans have the same hash, spans other than the labels are still no labels."""
    monkeypatch.setattr(labelled, "span_hashes", lambda codes, starts, ends, longest: np.zeros(len(starts), np.uint64))
    assert read(tmp_path / "a.txt", "好\t财\n", ["财"]) == (["好"], [0])
    for label in ("房", "财经", "1"):
        with pytest.raises(UserError, match=r"is unknown|out of range"):
            read(tmp_path / "a.txt", f"好\t{label}\n", ["财"])


def read_sets(path, content, classes=("财经", "房产", "股票")):
    """The texts and label names of a file with any number of labels a row."""
    path.write_text(content, encoding="utf-8", newline="")
    texts, sets = [], []
    for block, labels in LabelledFile(path, list(classes), multi_label=True):
        texts += texts_of(block)
        sets += [[classes[i] for i in np.flatnonzero(row)] for row in labels]
    return texts, sets


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("财经", ["财经"]),
        ("股票,财经", ["财经", "股票"]),
        (" 2 , 0 \r", ["财经", "股票"]),
        ("0,房产,2", ["财经", "房产", "股票"]),
        ("1,1", ["房产"]),
        ("", []),
        (" \u3000", []),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 19])
def test_a_row_has_any_number_of_labels(tmp_path, monkeypatch, field, expected, block):
    monkeypatch.setattr(labelled, "BLOCK", block)
    content = f"\n甲,乙\t{field}\n\t\n丙\t房产\n丁\t财经,股票"
    assert read_sets(tmp_path / "train.txt", content) == (
        ["甲,乙", "丙", "丁"],
        [expected, ["房产"], ["财经", "股票"]],
    )


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("甲\t财经,娱乐", "label '娱乐' is unknown"),
        ("甲\t财经,", "an empty label in '甲\\t财经,'"),
        ("甲\t财经,,房产", "an empty label"),
        ("甲\t0,3", "label 3 is out of range, 0 to 2"),
        ("甲\t财经，房产", "label '财经，房产' is unknown"),
        ("\t财经,房产", "an empty text"),
        ("甲", "no tab in '甲'"),
        ("甲\t财经\t房产", "3 fields, not 2"),
    ],
)
def test_a_bad_row_among_several_labels(tmp_path, line, problem):
    with pytest.raises(UserError) as error:
        read_sets(tmp_path / "train.txt", f"好\t财经,房产\n{line}\n无\t\n")
    first, second = str(error.value).splitlines()
    assert "1 bad rows of 3; expected text<TAB>labels between commas, a label being one of 0 to 2" in first
    assert second.startswith(f"  line 2: {problem}")


@pytest.mark.parametrize("field", ["财经,房产", " 1, 0"])
def test_several_labels_without_dataset_json_are_explained(tmp_path, field):
    with pytest.raises(UserError) as error:
        read(tmp_path / "train.txt", f"甲\t{field}\n乙\t财经\n")
    assert f'if a row may have several labels, write {{"multi_label": true}} to {tmp_path / "dataset.json"}' in str(
        error.value
    )
    assert str(error.value).endswith(f"line 1: several labels, {field.strip()!r}")


def test_an_unknown_label_with_a_comma_is_no_sign_of_several(tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path / "train.txt", "甲\t财经,娱乐\n")
    assert "dataset.json" not in str(error.value)


@pytest.mark.parametrize(("classes", "why"), [(["a", "b,c"], "which these classes have: b,c"), (["a"], "one class")])
def test_classes_that_do_not_suit_several_labels(tmp_path, classes, why):
    with pytest.raises(UserError, match=why):
        LabelledFile(tmp_path / "train.txt", classes, multi_label=True)


def test_lines_with_rows_have_their_numbers(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeff甲\t财\r\n\n \u3000\n乙\t1\n".encode())
    assert list(lines_with_rows(tmp_path / "a.txt")) == [(1, "甲\t财\r\n"), (4, "乙\t1\n")]
