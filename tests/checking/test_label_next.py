import numpy as np
import pytest

from checking import label_next
from conftest import inside, sample_rows, script
from engine.predictor import Predict
from text.rows import spans_of

TEXTS = [text for text, _ in sample_rows("train", set(range(10)), 300)]
COPIES = [f"今日双色球开奖结果公告{chr(0x4E00 + i)}" for i in range(300)]


def test_picked_texts_are_unlike_each_other():
    texts = COPIES + TEXTS[:100]
    picked = label_next.pick(spans_of(texts), 40)
    assert len(set(picked.tolist())) == 40
    assert sum(i >= 300 for i in picked) > 30  # a quarter, if drawn at random


def test_a_large_cluster_comes_first():
    assert label_next.pick(spans_of(TEXTS[:60] + COPIES), 20)[0] >= 60


def test_with_a_model_uncertain_texts_are_picked_the_least_certain_first():
    margins = np.linspace(1, 0, 300)
    picked = label_next.pick(spans_of(TEXTS), 10, margins)
    assert len(set(picked.tolist())) == 10
    assert picked.min() >= 200
    assert (np.diff(margins[picked]) >= 0).all()


@pytest.mark.parametrize("margins", [None, np.linspace(0, 1, 5)])
def test_all_texts_are_picked_of_few(margins):
    assert sorted(label_next.pick(spans_of(TEXTS[:5]), 7, margins)) == list(range(5))


@pytest.mark.parametrize("count", [2, 29])
def test_the_number_of_picked_rows_is_exact(count):
    assert len(label_next.pick(spans_of(["甲" * (i + 1) for i in range(30)]), count)) == count


def test_the_rows_of_a_file_are_written_with_their_lines(tmp_path):
    (tmp_path / "new.txt").write_text("\n".join([TEXTS[0], "", TEXTS[1], f"{TEXTS[0]}！", TEXTS[2]]), encoding="utf-8")
    done = script("prepare.py", tmp_path / "new.txt", "--label_next", 100)
    header, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["line", "text"]
    assert sorted(rows) == [["1", TEXTS[0]], ["3", TEXTS[1]], ["5", TEXTS[2]]]
    assert "1 blank texts skipped" in done.stderr
    assert "has 3 different texts: all are written" in done.stderr


def test_with_a_checkpoint_the_prediction_is_written_too(tmp_path, tiny):
    inside("run.py", "--model", "SVM", "--dataset", tiny, "--output", tmp_path)
    (tmp_path / "new.csv").write_text("title\n" + "\n".join(TEXTS[:200]), encoding="utf-8")
    arguments = [tmp_path / "new.csv", "--text", "title", "--label_next", 12]
    arguments += ["--checkpoint", tmp_path / "saved_dict" / "SVM.ckpt", "--output", tmp_path / "next.tsv"]
    inside("prepare.py", *arguments)
    header, *rows = [line.split("\t") for line in (tmp_path / "next.tsv").read_text(encoding="utf-8").splitlines()]
    assert header == ["line", "text", "predicted", "probability"]
    assert len(rows) == 12
    assert {row[2] for row in rows} <= {"财经", "房产", "股票"}
    assert all(TEXTS[int(row[0]) - 1] == row[1] for row in rows)


def test_with_a_checkpoint_of_several_labels_the_predicted_labels_are_written(several_svm, tmp_path):
    (tmp_path / "new.txt").write_text("\n".join(TEXTS[:100]), encoding="utf-8")
    flags = ("--label_next", 8, "--checkpoint", several_svm / "saved_dict" / "SVM.ckpt")
    done = inside("prepare.py", tmp_path / "new.txt", *flags)
    header, *rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["line", "text", "predicted", "probability"]
    assert len(rows) == 8
    for _, _, names, values in rows:
        assert set(names.split(",")) <= {"财经", "房产", "股票", ""}
        assert len(names.split(",")) == len(values.split(","))


def test_texts_with_uncertain_labels_are_picked(several_svm):
    texts = spans_of(TEXTS[:60])
    _, _, certainty = label_next.predicted(several_svm / "saved_dict" / "SVM.ckpt", texts)
    probabilities = Predict(checkpoint=several_svm / "saved_dict" / "SVM.ckpt").predict_proba(TEXTS[:60])
    expected = [np.mean([binary_entropy(p) for p in row]) for row in probabilities.astype(float)]
    np.testing.assert_allclose(-certainty, expected, rtol=1e-4)


def binary_entropy(p):
    return -sum(q * np.log(q) for q in (p, 1 - p) if q > 0)


def test_a_large_file_is_sampled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(label_next, "MOST", 50)
    (tmp_path / "new.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    texts, lines = label_next.read_pool(str(tmp_path / "new.txt"), None)
    assert len(lines) == len(texts.lengths) == 50
    assert "50 of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.txt", "--label_next", 9], "none.txt"),
        (["{blank}", "--label_next", 9], "has no texts"),
        (["{blank}", "--label_next", 0], "out of range"),
        (["{text}", "{text}", "--label_next", 9], "takes one file"),
        (["{text}", "--label_next", 9, "--checkpoint", "none.ckpt"], "none.ckpt"),
    ],
)
def test_mistakes_are_one_line(tmp_path, arguments, message):
    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    (tmp_path / "text.txt").write_text("甲\n", encoding="utf-8")
    paths = {"blank": tmp_path / "blank.txt", "text": tmp_path / "text.txt"}
    done = inside("prepare.py", *(str(argument).format(**paths) for argument in arguments), check=False)
    assert done.returncode == 2
    assert message in done.stderr
