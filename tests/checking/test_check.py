import json
import re
import shutil

import pytest

from conftest import inside, join_rows, sample_rows, script, write_dataset
from text.kind import is_multi_label

CLASSES = ["财经", "房产", "股票"]
TRAIN, DEV, TEST = (
    sample_rows(split, {0, 1, 2}, count) for split, count in (("train", 120), ("dev", 60), ("test", 60))
)


@pytest.fixture(scope="module")
def dirty(tmp_path_factory):
    """A dataset with a defect of nearly every kind, and the result of its check."""
    leaked = [TEST[0], TEST[1], (TEST[2][0] + "！", TEST[2][1])]
    train = [*TRAIN, *leaked, (TRAIN[0][0], (TRAIN[0][1] + 1) % 3), ("<b>见</b>https://a.cn 锟斤拷\u200b\x07股１", 2)]
    directory = tmp_path_factory.mktemp("dirty") / "数据"
    write_dataset(directory, [*CLASSES, "空"], [("★" + t if label == 0 else t, label) for t, label in train], DEV, TEST)
    return directory, script("prepare.py", "--check", directory, check=False)


def problems(directory):
    content = json.loads((directory / "log" / "check" / "check.json").read_text(encoding="utf-8"))
    return {problem["name"]: problem for problem in content["problems"]}


def test_a_clean_dataset_has_status_0(tmp_path):
    done = inside("prepare.py", "--check", write_dataset(tmp_path / "a", CLASSES, TRAIN, DEV, TEST))
    lines = done.stdout.splitlines()
    assert re.fullmatch("a: 120 train, 60 dev, 60 test rows of 3 classes", lines[0])
    assert re.fullmatch(r"Characters of a row: median \d+, longest \d+; --pad_size \d+ keeps 99% whole", lines[1])
    assert lines[-1].startswith("0 errors") and lines[-1].endswith("Nothing would spoil an experiment.")
    assert "Report:" in done.stderr


def test_each_defect_is_printed_with_what_to_do_and_leaks_have_status_1(dirty):
    directory, done = dirty
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "An experiment would be spoilt." in lines[-1]
    assert len(lines) <= 22
    found = problems(directory)
    assert {"leak_train_test", "conflicts", "giveaways", "few_rows", "absent_classes"} <= found.keys()
    assert {"control", "invisible", "html", "mojibake", "url", "full_width"} <= found.keys()
    assert found["leak_train_test"]["level"] == "error"
    for problem in found.values():
        line = f"{problem['level'].capitalize()}: {problem['text']}; {problem['advice']}"
        assert line in lines
        assert all(len(example) == len(problem["columns"]) for example in problem["examples"])
    assert {text for text, _ in TEST[:3]} <= {example[1] for example in found["leak_train_test"]["examples"]}
    assert found["giveaways"]["examples"][0][:2] == ["财经", "★"]


def test_the_page_is_whole_and_shows_what_is_invisible(dirty):
    directory, _ = dirty
    page = (directory / "log" / "check" / "check.html").read_text(encoding="utf-8")
    assert "数据" in page and page.rstrip().endswith("</html>")
    assert "&lt;b&gt;见&lt;/b&gt;https://a.cn 锟斤拷\\u200b\\u0007股１" in page
    assert not re.search(r"(src|href)=|<script|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_conflicts_alone_have_status_1_above_1_percent(tmp_path):
    for count, status in ((1, 0), (3, 1)):
        train = TRAIN + [(text, (label + 1) % 3) for text, label in TRAIN[:count]]
        directory = write_dataset(tmp_path / str(count), CLASSES, train, DEV, TEST)
        assert inside("prepare.py", "--check", directory, check=False).returncode == status
        assert problems(directory)["conflicts"]["rows"] == 2 * count


def test_suspects_have_their_line_and_the_most_similar_training_rows(tmp_path):
    rows = sample_rows("train", {0, 1, 7}, 500)
    label = rows[7][1]
    rows[7] = (rows[7][0], 7 if label != 7 else 1)
    directory = write_dataset(tmp_path / "a", [str(i) for i in range(8)], rows, DEV[:40], TEST[:40])
    inside("prepare.py", "--check", directory, "--output", tmp_path / "out", check=False)
    header, *lines = (tmp_path / "out" / "suspects.tsv").read_text(encoding="utf-8").splitlines()
    assert header.split("\t")[:5] == ["file", "line", "text", "label", "proposed"]
    fields = [line.split("\t") for line in lines]
    assert {len(row) for row in fields} == {10}
    found = {(row[0], int(row[1])): row for row in fields}
    assert found["train.txt", 8][2:5] == [rows[7][0], str(rows[7][1]), str(label)]
    texts = {text for text, _ in rows}
    for row in fields:
        assert all(similar.split(": ", 1)[1] in texts for similar in row[7:] if similar)
        assert f": {row[2]}" not in row[7:]


@pytest.mark.parametrize(
    ("classes", "train"),
    [
        (["x"], [("甲", 0)]),
        (["x", "y"], [("甲", 0), ("甲", 1)]),
        (["x", "y"], [("！", 0), ("？", 1), ("。", 0)]),
        (["x", "y"], [("同一条" * 50, i % 2) for i in range(300)]),
        ([f"c{i}" for i in range(3000)], [(f"第{i}条 {i * i}", i) for i in range(3000)]),
        (["x", "y"], [("长" * 100_000 + str(i), i % 2) for i in range(6)]),
        (["x", "y"], [("".join(chr(0x20000 + 70 * i + k) for k in range(70)), i % 2) for i in range(1000)]),
        (["x", "{y}", "<z>"], [("{path} {0} %s {{ x }}", 1), ("<script>alert(1)</script>", 2)]),
    ],
    ids=["one row", "two rows", "punctuation", "copies", "classes", "long", "characters", "markup"],
)
def test_odd_datasets_are_checked(tmp_path, classes, train):
    directory = write_dataset(tmp_path / "a", classes, train)
    done = inside("prepare.py", "--check", directory, check=False)
    assert done.returncode == 1  # the splits are the same
    assert problems(directory)["leak_train_test"]["rows"] == len(train)
    assert "<script>" not in (directory / "log" / "check" / "check.html").read_text(encoding="utf-8")


def test_a_training_split_without_labels_is_checked(tmp_path):
    directory = write_dataset(tmp_path / "a", CLASSES, [("甲", ""), ("乙", "")])
    (directory / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    assert inside("prepare.py", "--check", directory, check=False).returncode == 1  # the splits are the same
    assert problems(directory)["few_rows"]["rows"] == 3


@pytest.mark.parametrize(
    ("content", "message"), [("甲\t9\n", "label 9 is out of range"), ("", "is empty"), (b"\xff\t0\n", "not UTF-8")]
)
def test_mistakes_in_the_dataset_are_one_line(tmp_path, content, message):
    done = inside("prepare.py", "--check", write_dataset(tmp_path, CLASSES, TRAIN, content), check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_dataset_of_any_number_of_labels_is_checked(several, tmp_path):
    data = tmp_path / "d" / "data"
    shutil.copytree(several / "data", data)
    first, second = (data / "train.txt").read_text(encoding="utf-8").splitlines()[1:3]
    with open(data / "train.txt", "a", encoding="utf-8") as file:
        file.write(f"{first.split(chr(9))[0]}\t\n{second}\n")
    done = inside("prepare.py", "--check", tmp_path / "d", "--fix", check=False)
    assert "122 train, 40 dev, 40 test rows of 3 classes" in done.stdout
    assert "2 of 202 rows (1.0%) have the same text as another row, but another label" in done.stdout
    content = json.loads((tmp_path / "d" / "log" / "check" / "check.json").read_text(encoding="utf-8"))
    rows = (data / "train.txt").read_text(encoding="utf-8").splitlines()
    for found in content["classes"]:
        assert found["train"] == sum(found["name"] in row.split("\t")[1].split(",") for row in rows)
    assert is_multi_label(tmp_path / "d_fixed" / "data")
    assert f"{first.split(chr(9))[0]}\t\n" not in (tmp_path / "d_fixed" / "data" / "train.txt").read_text(
        encoding="utf-8"
    )


def test_missing_and_wrong_labels_are_named_and_removed(tmp_path):
    rows, names = join_rows("train", 300), {"财经", "房产", "股票"}
    changed = {i: set(rows[i][1].split(",")) for i in (1, 6, 30)}
    for i, own in changed.items():
        rows[i] = (rows[i][0], ",".join(sorted(names - own)))
    directory = write_dataset(tmp_path / "d", sorted(names), rows, *(join_rows(name, 60) for name in ("dev", "test")))
    (directory / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    done = inside("prepare.py", "--check", directory, "--fix", "suspects", check=False)
    assert re.search(r"have labels that look wrong to a linear model \(micro F1 \d\d%\)", done.stdout)
    header, *lines = (directory / "log" / "check" / "suspects.tsv").read_text(encoding="utf-8").splitlines()
    columns = ["labels", "missing", "wrong", "missing_probabilities", "wrong_probabilities"]
    assert header.split("\t")[:8] == ["file", "line", "text", *columns]
    fixed = (tmp_path / "d_fixed" / "data" / "train.txt").read_text(encoding="utf-8")
    for file, line, text, *cells in (line.split("\t") for line in lines):
        labels, missing, wrong = ({name for name in cell.split(",") if name} for cell in cells[:3])
        assert missing or wrong
        assert not missing & labels and wrong <= labels
        assert [len(cell.split(",")) for cell in cells[1:3]] == [len(cell.split(",")) for cell in cells[3:5]]
        assert file != "train.txt" or f"{text}\t" not in fixed
        own = changed.pop(int(line) - 1, None) if file == "train.txt" else None
        assert own is None or missing & own or wrong - own
    assert len(changed) <= 1
    page = (directory / "log" / "check" / "check.html").read_text(encoding="utf-8")
    assert "<th>labels</th><th>missing</th><th>wrong</th><th>most similar training row</th>" in page
