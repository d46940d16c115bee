from conftest import inside, sample_rows, write_dataset
from text.labelled import read_classes

CLASSES = ["财经", "房产", "股票"]
TRAIN, DEV, TEST = (
    sample_rows(split, {0, 1, 2}, count) for split, count in (("train", 120), ("dev", 60), ("test", 60))
)


def test_fix_writes_a_cleaned_copy_and_leaves_the_dataset(tmp_path):
    before = [*TRAIN, *TEST[:2], (TRAIN[0][0], (TRAIN[0][1] + 1) % 3), ("<b>全新</b>\u200b一条", "股票"), ("<br>", 0)]
    directory = write_dataset(tmp_path / "a", CLASSES, before, [*DEV, TEST[5]], TEST)
    (directory / "data" / "vocab.pkl").write_bytes(b"kept")
    content = {path: path.read_bytes() for path in (directory / "data").iterdir()}
    done = inside("prepare.py", "--check", directory, "--fix", check=False)
    assert {path: path.read_bytes() for path in (directory / "data").iterdir()} == content
    fixed = tmp_path / "a_fixed"
    assert sorted(path.name for path in (fixed / "data").iterdir()) == sorted(path.name for path in content)
    assert read_classes(fixed / "data" / "class.txt") == CLASSES
    assert (fixed / "data" / "test.txt").read_text(encoding="utf-8") == "".join(f"{t}\t{n}\n" for t, n in TEST)
    lines = (fixed / "data" / "train.txt").read_text(encoding="utf-8").splitlines()
    assert "全新一条\t股票" in lines
    assert not {f"{text}\t{label}" for text, label in [TRAIN[0], *TEST[:2]]} & set(lines)
    _, *changes = [line.split("\t") for line in (fixed / "changes.tsv").read_text(encoding="utf-8").splitlines()]
    by_line = {(change[0], int(change[1])): change[2] for change in changes}
    assert by_line["train.txt", 1] == by_line["train.txt", 123] == "removed: the same text has another label"
    assert by_line["train.txt", 121] == "removed: test.txt has it too, or nearly"
    assert by_line["dev.txt", 61] == "removed: test.txt has it too, or nearly"
    assert by_line["train.txt", 124] == "cleaned"
    assert by_line["train.txt", 125] == "removed: nothing is left of the text"
    removed = sum(change[0] == "train.txt" and change[2] != "cleaned" for change in changes)
    assert len(lines) == len(before) - removed
    assert "--fix: 1 rows of train.txt cleaned" in done.stdout
    again = inside("prepare.py", "--check", fixed)
    assert "in train.txt too" not in again.stdout
    assert "another label" not in again.stdout
    assert "HTML" not in again.stdout


def test_fix_suspects_removes_the_training_rows_with_suspect_labels(tmp_path):
    train = [
        (text, 1 - label if i in (3, 5) else label) for i, (text, label) in enumerate(sample_rows("train", {0, 1}, 300))
    ]
    dev, test = (sample_rows(split, {0, 1}, 60) for split in ("dev", "test"))
    directory = write_dataset(tmp_path / "a", CLASSES, train, dev, test)
    inside("prepare.py", "--check", directory, "--fix", "suspects", check=False)
    lines = (directory / "log" / "check" / "suspects.tsv").read_text(encoding="utf-8").splitlines()
    suspects = {line.split("\t")[2] for line in lines if line.startswith("train.txt")}
    assert {train[3][0], train[5][0]} <= suspects
    left = [
        line.split("\t")[0] for line in (tmp_path / "a_fixed/data/train.txt").read_text(encoding="utf-8").splitlines()
    ]
    assert not suspects & set(left)


def test_fix_of_a_dataset_without_defects_writes_nothing(tmp_path):
    rows = [[(f"{sign}{char}" * 3, i % 2) for i, char in enumerate("天地玄黄宇宙洪荒日月盈昃")] for sign in "甲乙丙"]
    done = inside("prepare.py", "--check", write_dataset(tmp_path / "a", ["x", "y"], *rows), "--fix")
    assert "--fix: nothing to change, no copy written" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_fix_does_not_replace_a_copy(tmp_path):
    directory = write_dataset(tmp_path / "a", CLASSES, TRAIN, DEV, TEST)
    (tmp_path / "a_fixed").mkdir()
    done = inside("prepare.py", "--check", directory, "--fix", check=False)
    assert done.returncode == 2
    assert f"--fix: {tmp_path / 'a_fixed'} exists already" in done.stderr
    assert done.stderr.count("\n") == 1


def test_fix_refuses_to_empty_a_split(tmp_path):
    directory = write_dataset(tmp_path / "a", CLASSES, TRAIN)
    done = inside("prepare.py", "--check", directory, "--fix", check=False)
    assert done.returncode == 2
    assert "--fix would remove all rows of train.txt; split the rows again" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
