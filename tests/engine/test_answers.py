"""What predict.py prints beside the class, as a user asks for it."""

import json
import re
import sys

import pytest

import predict
from conftest import FIXTURES, TREE, asked_in_a_terminal, assert_mistaken, inside, script, write_dataset
from engine.predictor import Predict
from text.labelled import read_split

TEXTS = ["央行下调存款准备金率", "北京二手房价格上涨", "", "A股三大股指收涨 券商股领跑", "<b>"]


def answers(dataset, *flags, **options):
    return inside("predict.py", "--dataset", dataset, "--device", "cpu", *flags, **options)


def rows_of(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_probability_that_is_too_low_is_a_question_mark(trained_svm):
    plain = rows_of(answers(trained_svm, "--format", "jsonl", *TEXTS))
    middle = sorted(row["probability"] for row in plain if row["label"])[2] - 1e-4
    done = answers(trained_svm, "--format", "jsonl", "--min_confidence", middle, "--top_k", 2, *TEXTS)
    for row, before in zip(rows_of(done), plain, strict=True):
        unsure = before["label"] and before["probability"] < middle
        assert row["label"] == ("?" if unsure else before["label"])
        assert row["probability"] == before["probability"]
        if before["label"]:
            assert row["top_k"][0] == [before["label"], before["probability"]]
    assert f"Predictions with a probability below {middle:.4f} become ?: " in done.stderr
    assert "房产" not in done.stderr
    assert sum(row["label"] == "?" for row in rows_of(done)) == 2
    table = answers(trained_svm, "--min_confidence", middle, "--by_class", *TEXTS)
    assert [line.split("\t")[1] for line in table.stdout.splitlines()[1:]] == [
        row["label"] or "" for row in rows_of(done)
    ]
    assert re.search(r"^  房产: .* of the validation rows are left to a person", table.stderr, re.MULTILINE)


def test_a_precision_chooses_the_threshold(trained_svm):
    done = answers(trained_svm, "--min_precision", 0.7, *TEXTS)
    found = re.search(r"below (\d\.\d+) become \?: ([\d.]+)% .*, ([\d.]+)% of the others are right", done.stderr)
    assert float(found[3]) > 70
    for line in done.stdout.splitlines()[1:]:
        _, label, probability = line.split("\t")
        assert (label == "?") == (0 < float(probability) < float(found[1]))


def test_a_hierarchy_gives_the_deepest_node_that_is_probable_enough(trained_tree, tmp_path):
    dataset, _ = trained_tree
    predictor = Predict("SVM", dataset=dataset, device="cpu")
    texts = [*TEXTS, *read_split(dataset, "test")[0]]
    probabilities = predictor.predict_proba(texts)
    of_business = probabilities[:, :3].sum(axis=1)
    flags = ("--format", "jsonl", "--top_k", 2, "--min_confidence", 0.8, "--coverage", 0.9)
    done = answers(dataset, *flags, "--", *texts)
    rows = rows_of(done)
    assert "Checkpoint: " in done.stderr and "(SVM, 4 classes in 2 levels)" in done.stderr
    assert "Rows answered at level 1: " in done.stderr
    for row, found, business in zip(rows, probabilities, of_business, strict=True):
        if not found.any():
            assert row["label"] is None
            continue
        best = TREE[found.argmax()] if found.max() >= 0.8 else "商业" if business >= 0.8 else "?"
        expected = {"商业": business, "?": max(business, found[3])}.get(best, found.max())
        assert (row["label"], row["probability"]) == (best, pytest.approx(expected, abs=1e-4))
        assert row["top_k"][0] == [TREE[found.argmax()], pytest.approx(found.max(), abs=1e-4)]
        assert set(row["set"]) <= set(TREE)
    assert {"商业", "?", "教育", "商业/房产"} <= {row["label"] for row in rows}
    assert predictor.predict_list(texts, min_confidence=0.8) == [row["label"] for row in rows]
    assert predictor.predict(texts[0], 0.8) == rows[0]["label"]
    for name, before, after in (("o.tsv", "\t", "\t"), ("o.html", "<td>", "<td>")):
        answers(dataset, "--min_confidence", 0.8, "--output", tmp_path / name, "--", *texts)
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        found = [line.split(before)[-2] for line in lines if after in line and "probability" not in line]
        assert found == [row["label"] or "" for row in rows]


def test_the_precision_of_a_hierarchy(trained_tree):
    done = answers(trained_tree[0], "--min_precision", 0.8, "--", *TEXTS)
    assert re.search(r"become \?, or the node above: .*, ([\d.]+)% of the others are right", done.stderr)


def test_the_confidence_in_python(trained_svm, several, tmp_path):
    predictor = Predict("SVM", dataset=trained_svm, device="cpu")
    best = predictor.predict_proba(TEXTS).max(axis=1)
    pairs = zip(best, predictor.predict_list(TEXTS), strict=True)
    expected = ["?" if 0 < probability < 0.9 else label for probability, label in pairs]
    assert predictor.predict_list(TEXTS, min_confidence=0.9) == expected
    assert "?" in expected
    inside("run.py", "--model", "SVM", "--dataset", several, "--output", tmp_path, "--device", "cpu")
    predictor = Predict("SVM", dataset=tmp_path, device="cpu")
    done = inside("predict.py", "--dataset", tmp_path, "--device", "cpu", "--min_confidence", 0.9, "--", *TEXTS)
    expected = [line.split("\t")[1] for line in done.stdout.splitlines()[1:]]
    assert [",".join(labels) for labels in predictor.predict_list(TEXTS, 0.9)] == expected
    assert any("?" in labels for labels in expected) and predictor.predict(TEXTS[0], 0.0) == predictor.predict(TEXTS[0])


def test_sets_novelty_and_spans_are_columns(trained_svm, tmp_path):
    flags = ("--coverage", 0.9, "--novelty", "--explain", *TEXTS)
    header, *rows = [line.split("\t") for line in answers(trained_svm, *flags).stdout.splitlines()]
    assert header == ["text", "label", "probability", "set", "novelty", "spans"]
    assert rows[2] == ["", "", "0.0000", "", "0.0000", ""]
    answers(trained_svm, *flags, "--output", tmp_path / "o.jsonl")
    for row, line in zip(rows, (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines(), strict=True):
        found = json.loads(line)
        assert found["set"][:1] == ([found["label"]] if found["label"] else [])
        assert row[3] == ",".join(found["set"])
        assert float(row[4]) == pytest.approx(found["novelty"], abs=1e-4)
        assert json.loads(row[5] or "[]") == found["spans"]
        assert all(0 <= start < end <= len(found["text"]) for start, end, _ in found["spans"])


def test_the_order_of_a_files_chunks_does_not_matter(trained_svm, tmp_path, monkeypatch):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS * 5), encoding="utf-8")
    flags = ("--input", tmp_path / "t.txt", "--coverage", 0.9, "--novelty", "--explain")
    whole = answers(trained_svm, *flags).stdout
    monkeypatch.setattr(predict, "CHUNK", 2)
    assert answers(trained_svm, *flags).stdout == whole


@pytest.mark.parametrize("explain", [(), ("--explain",)])
def test_a_page(trained_svm, tmp_path, explain):
    answers(trained_svm, *TEXTS, *explain, "--coverage", 0.9, "--output", tmp_path / "o.html")
    page = (tmp_path / "o.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</table>\n")
    rows = re.findall("^<tr>.*$", page, re.MULTILINE)
    assert len(rows) == 6
    assert ("<span" in page) == bool(explain)
    plain = [re.sub("<(/?span|tr|th|td).*?>", "|", row) for row in rows]
    assert re.sub(r"\|+", "|", plain[0]) == "|text|label|probability|set"
    assert [re.sub(r"\|", "", row).startswith(start) for row, start in zip(plain[1:5], TEXTS, strict=False)]
    assert "&lt;" in rows[5]
    assert "<b>" not in page


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal is made with pty")
@pytest.mark.parametrize("plain", [False, True])
def test_a_terminal_shows_colours(trained_svm, plain):
    flags = ("--dataset", trained_svm, "--explain", "--coverage", 0.9, "--min_confidence", 1)
    shown = asked_in_a_terminal("北京二手房价格上涨", *flags, **({"NO_COLOR": "1"} if plain else {}))
    assert (b"\033[30;48;5;208m" in shown) != plain
    assert (b"spans\t[[" in shown) == plain
    assert b"?\t1.0000" in shown
    assert "set\t房产".encode() in shown


def test_an_earlier_checkpoint_has_no_validation_rows():
    flags = ("--checkpoint", FIXTURES / "TextCNN.ckpt", "--device", "cpu", "好")
    for flag in ("--min_precision", "--coverage"):
        done = inside("predict.py", *flags, flag, 0.9, check=False)
        assert done.returncode == 2
        assert f"{flag} needs the results of validation rows, and " in done.stderr.splitlines()[-1]
    done = inside("predict.py", *flags, "--min_confidence", 1, "--novelty", "--explain")
    assert done.stdout.splitlines()[1].split("\t")[1] == "?"
    assert "left to a person" not in done.stderr


def test_a_class_that_is_called_as_the_sign_is_refused(tmp_path):
    dataset = write_dataset(tmp_path / "d", ["好", "?"], [("好天气", 0), ("坏天气", 1)] * 4)
    inside("run.py", "--model", "SVM", "--dataset", dataset, "--device", "cpu")
    done = answers(dataset, "--min_confidence", 0.5, "好", check=False)
    assert done.returncode == 2
    assert "a class is called ?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--min_confidence", "0.9", "--min_precision", "0.9"), "not allowed with argument --min_confidence"),
        (
            ("--min_confidence", "1.5"),
            "argument --min_confidence: 1.5 is out of range, expected at least 0 and at most 1",
        ),
        (("--coverage", "1"), "argument --coverage: 1 is out of range, expected above 0 and at most 0.9999"),
        (
            ("--evaluate", "f", "--novelty", "--top_k", "2"),
            "--evaluate is given with --top_k, --novelty, which it does",
        ),
        (("--evaluate", "f", "text"), "--evaluate is given with texts, which it does not use"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message, monkeypatch, capsys):
    assert_mistaken(monkeypatch, capsys, predict.main, arguments, message)


def test_a_report_by_class_needs_a_threshold(trained_svm):
    done = answers(trained_svm, "--by_class", "好", check=False)
    assert done.returncode == 2
    assert "--by_class needs --min_confidence or --min_precision" in done.stderr


def test_an_encoders_script_has_the_same_flags():
    flags = ("--checkpoint", FIXTURES / "bert.ckpt", "--device", "cpu", "--format", "jsonl", "--novelty", "--explain")
    (row,) = rows_of(script("pretrain_predict.py", *flags, "基金公司"))
    assert set(row) == {"text", "label", "probability", "novelty", "spans"}


def test_labels_that_are_not_probable_enough_are_question_marks(several_svm, tmp_path):
    texts = [*TEXTS[:2], "今天天气不错", "央行下调存款准备金率 北京二手房价格上涨 A股三大股指收涨"]
    plain = rows_of(answers(several_svm, "--format", "jsonl", *texts))
    values = sorted(value for row in plain for value in row["probabilities"])
    middle = values[len(values) // 2] - 1e-4
    done = answers(several_svm, "--format", "jsonl", "--min_confidence", middle, "--by_class", *texts)
    for row, before in zip(rows_of(done), plain, strict=True):
        pairs = zip(before["labels"], before["probabilities"], strict=True)
        assert row["labels"] == [name if value >= middle else "?" for name, value in pairs]
        assert row["probabilities"] == before["probabilities"]
    assert f"Labels with a probability below {middle:.4f}: " in done.stderr
    assert re.search(r"^  房产, below .* of the others are right, recall ", done.stderr, re.MULTILINE)
    table = answers(several_svm, "--min_confidence", middle, *texts).stdout.splitlines()[1:]
    assert [line.split("\t")[1] for line in table] == [",".join(row["labels"]) for row in rows_of(done)]
    (tmp_path / "own.txt").write_text("".join(f"{text}\t房产\n" for text in texts), encoding="utf-8")
    flags = ("--evaluate", tmp_path / "own.txt", "--min_confidence", middle, "--coverage", 0.9)
    report = answers(several_svm, *flags).stdout
    shown = [label for row in rows_of(done) for label in row["labels"]]
    assert f"With the threshold: {shown.count('?') / len(shown):.2%} of the predicted labels become ?" in report
    assert re.search(r"^Sets: [\d.]+% have all labels, [\d.]+ labels on average$", report, re.MULTILINE)


def test_a_precision_and_a_coverage_of_labels(several_svm):
    flags = ("--min_precision", 0.6, "--coverage", 0.9, "--format", "jsonl", *TEXTS)
    done = answers(several_svm, *flags)
    assert "Labels below their thresholds: " in done.stderr
    for row in rows_of(done):
        assert set(row["labels"]) - {"?"} <= set(row["set"])
    done = answers(several_svm, "--min_precision", 0.99, *TEXTS, check=False)
    assert done.returncode == 2
    assert "--min_precision 0.99: the 40 validation rows do not show it" in done.stderr
    done = answers(several_svm, "--min_confidence", 0.9, "--top_k", 2, *TEXTS, check=False)
    assert done.returncode == 2
    assert "--top_k prints labels whatever their thresholds" in done.stderr
