"""Similar rows: the training rows that are alike are named, and the same text is known as such."""

import json
import shutil

import numpy as np
import pytest

from conftest import FIXTURES, inside, sample_rows, write_dataset
from engine import checkpoint
from engine.predictor import Predict
from engine.similar import Similar

TEXTS = [text for text, _ in sample_rows("train", {0, 1, 2}, 90)]


@pytest.mark.parametrize("name", ["TextCNN", "TextRNN"])
def test_a_row_of_the_training_is_most_like_itself(tiny, name):
    similar = Similar(Predict(checkpoint=FIXTURES / f"{name}.ckpt", device="cpu"), tiny, 3)
    asked = [TEXTS[4], f" {TEXTS[50]} ", "", "  "]
    found = similar(asked, None)
    for rows, line in zip(found, (5, 51), strict=False):
        assert [row["similarity"] for row in rows] == sorted((row["similarity"] for row in rows), reverse=True)
        assert (rows[0]["line"], rows[0]["text"], rows[0]["same"]) == (line, TEXTS[line - 1], True)
        assert rows[0]["similarity"] == pytest.approx(1, abs=2e-3)
        assert not any(row["same"] for row in rows[1:])
    assert found[2:] == [[], []]
    assert similar.shown(0, asked, None)[0] == f"same text, train.txt:5, {found[0][0]['label']}: {TEXTS[4]}"
    assert similar.shown(1, asked, None)[2] == ""
    assert [similar((text,), None)[0][0]["line"] for text in asked[:2]] == [5, 51]


def test_with_many_classes_the_features_alone_are_compared(tiny, monkeypatch):
    monkeypatch.setattr("engine.similar.MOST_CLASSES", 2)
    predictor = Predict(checkpoint=FIXTURES / "TextCNN.ckpt", device="cpu")
    similar = Similar(predictor, tiny, 1)
    assert similar.matrix.shape == (90, predictor.saved.model.classifier.in_features)
    assert similar([TEXTS[4]], None)[0][0]["same"]


@pytest.mark.parametrize("name", ["FastText", "bert"])
def test_rows_of_one_vector_are_all_the_most_similar(tiny, name):
    """The fixtures are so small that different texts have the same vector."""
    similar = Similar(Predict(checkpoint=FIXTURES / f"{name}.ckpt", device="cpu"), tiny, 90)
    ((first, *rest),) = similar([TEXTS[4]], None)
    (own,) = [row for row in (first, *rest) if row["same"]]
    assert own["line"] == 5
    assert [first["similarity"], own["similarity"]] == pytest.approx([1, 1], abs=2e-3)


def test_a_linear_model_compares_n_grams(trained_svm):
    predictor = Predict("SVM", dataset=trained_svm, device="cpu")
    similar = Similar(predictor, trained_svm, 2)
    lengths = np.sqrt(np.asarray(similar.matrix.multiply(similar.matrix).sum(axis=1)).ravel())
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    text = TEXTS[7]
    (rows,) = similar([text[:-2] + "。。"], None)
    assert (rows[0]["text"], rows[0]["same"]) == (text, False)
    assert 0.4 < rows[0]["similarity"] < 1
    assert similar(["\U0002a6a5" * 3], None) == [[]]


def test_lines_count_blank_ones_and_labels_are_joined(several, tmp_path):
    inside("run.py", "--model", "SVM", "--dataset", several, "--output", tmp_path, "--device", "cpu")
    rows = (several / "data" / "train.txt").read_text(encoding="utf-8").split("\n")
    dataset = write_dataset(tmp_path / "D", ["财经", "房产", "股票"], "\n\n" + "\n".join(rows))
    (dataset / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    text, label = rows[1].split("\t")
    similar = Similar(Predict("SVM", dataset=tmp_path, device="cpu"), dataset, 1)
    ((row,),) = similar([text], None)
    assert (row["line"], row["label"], row["same"]) == (4, label, True)


def test_an_ensemble_compares_with_its_main_member(trained_svm, tmp_path):
    file = trained_svm / "saved_dict" / "SVM.ckpt"
    checkpoint.save_ensemble(tmp_path / "e.ckpt", [file, file], [0.4, 0.6], ["财经", "房产", "股票"], {})
    found = Similar(Predict(checkpoint=tmp_path / "e.ckpt", device="cpu"), trained_svm, 2)(TEXTS[:3], None)
    assert found == Similar(Predict(checkpoint=file, device="cpu"), trained_svm, 2)(TEXTS[:3], None)


def test_predict_prints_them(trained_svm, tmp_path):
    flags = ("--checkpoint", trained_svm / "saved_dict" / "SVM.ckpt", "--device", "cpu", "--similar", 2, TEXTS[0], "")
    done = inside("predict.py", *flags)
    header, first, blank = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["text", "label", "probability", "similar_1", "similar_2"]
    assert first[3].startswith("same text, train.txt:1, ")
    assert blank[3:] == ["", ""]
    assert "--similar: 400 rows of" in done.stderr
    line = json.loads(inside("predict.py", *flags, "--format", "jsonl").stdout.splitlines()[0])
    assert [row["same"] for row in line["similar"]] == [True, False]
    assert f"{line['similar'][1]['text']}" in first[4]


def test_the_message_about_missing_training_rows_has_a_command_that_works(trained_svm, tmp_path):
    moved = tmp_path / "out" / "saved_dict" / "SVM.ckpt"
    moved.parent.mkdir(parents=True)
    shutil.copy(trained_svm / "saved_dict" / "SVM.ckpt", moved)
    similar = ("--device", "cpu", "--similar", 1, TEXTS[0])
    for flags in (
        ("--checkpoint", moved),
        ("--dataset", tmp_path / "out"),
        ("--checkpoint", moved, "--dataset", tmp_path),
    ):
        directory = tmp_path if len(flags) == 4 else tmp_path / "out"
        done = inside("predict.py", *flags, *similar, check=False)
        message = f"--similar needs the training rows, but {directory / 'data' / 'train.txt'} is missing"
        advice = f"--checkpoint {moved} --dataset DATASET"
        assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"predict.py: {message}; use {advice}")
    done = inside("predict.py", *advice.replace("DATASET", str(trained_svm)).split(), *similar)
    assert "same text, train.txt:1, " in done.stdout
