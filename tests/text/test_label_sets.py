"""Own data with any number of labels a row, made into a dataset by prepare.py."""

import json

import numpy as np
import pytest

from conftest import inside
from text.labelled import read_split


def rows_of(output):
    """The (text, set of labels) pairs of each split."""
    classes = (output / "data" / "class.txt").read_text(encoding="utf-8").splitlines()
    splits = {}
    for name in ("train", "dev", "test"):
        texts, labels = read_split(output, name)
        sets = [frozenset(np.array(classes)[row > 0]) for row in labels]
        splits[name] = dict(zip(texts, sets, strict=True))
    return splits


ROWS = {f"第{i}条文本": [f"类{k}" for k in range(4) if i % (k + 2) == 0] for i in range(120)}
FORMS = {
    "rows.csv": "text,label\n" + "".join(f'{text},"{" ,".join(names)}"\n' for text, names in ROWS.items()),
    "rows.jsonl": "".join(json.dumps({"text": text, "label": names}) + "\n" for text, names in ROWS.items()),
    "rows.txt": "__label__类0 第0条文本 __label__类1 __label__类2 __label__类3\n"
    + "".join(f"{''.join(f'__label__{n} ' for n in names)}{t}\n" for t, names in list(ROWS.items())[1:]),
}


@pytest.mark.parametrize("name", FORMS)
def test_each_form_gives_the_same_labels(tmp_path, name):
    path, output = tmp_path / name, tmp_path / "d"
    path.write_text(FORMS[name], encoding="utf-8")
    done = inside("prepare.py", path, "--multi_label", "--no_check", "--output", output)
    assert json.loads((output / "data" / "dataset.json").read_text(encoding="utf-8")) == {"multi_label": True}
    splits = rows_of(output)
    found = {text: names for part in splits.values() for text, names in part.items()}
    assert found == {text: frozenset(names) for text, names in ROWS.items()}
    assert {n: len(part) for n, part in splits.items()} == pytest.approx({"train": 96, "dev": 12, "test": 12}, abs=3)
    for part in splits.values():
        assert frozenset.union(*part.values()) == {"类0", "类1", "类2", "类3"}
    bare = sum(not names for names in ROWS.values())
    assert f"{bare} rows have no label" in done.stderr


def test_what_cannot_be_a_label_is_rejected(tmp_path):
    rows = [*ROWS.items(), ("逗号", ["a,b"]), ("长", ["长" * 101]), ("少", ["类0", "少见"])]
    path, output = tmp_path / "rows.jsonl", tmp_path / "d"
    path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows), encoding="utf-8")
    inside("prepare.py", path, "--multi_label", "--no_check", "--output", output)
    rejected = (output / "rejected.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert [line.split("\t")[1:] for line in rejected] == [
        ["121", "a comma in a label"],
        ["122", "a label of more than 100 characters"],
        ["123", "its class has fewer than 3 different texts"],
    ]
    assert "少见" not in (output / "data" / "class.txt").read_text(encoding="utf-8")


def test_one_label_a_row_replaces_the_kind(tmp_path):
    path, output = tmp_path / "rows.csv", tmp_path / "d"
    path.write_text("text,label\n" + "".join(f"第{i}条,类{i % 3}\n" for i in range(60)), encoding="utf-8")
    inside("prepare.py", path, "--multi_label", "--no_check", "--output", output)
    inside("prepare.py", path, "--no_check", "--output", output, "--overwrite")
    assert not (output / "data" / "dataset.json").exists()


def test_rows_with_several_labels_are_rejected_without_the_flag(tmp_path):
    path, output = tmp_path / "rows.jsonl", tmp_path / "d"
    rows = [(f"第{i}条", [f"类{i % 3}"]) for i in range(60)] + [("两个", ["类0", "类1"])]
    path.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in rows), encoding="utf-8")
    done = inside("prepare.py", path, "--no_check", "--output", output)
    assert "1 rows: more than one label" in done.stderr
    assert "--multi_label keeps rows with more than one label" in done.stderr
