"""Datasets with any number of labels a row, from a file to predictions."""

import json
import re

import numpy as np
import pytest
from sklearn import metrics

from conftest import compare_here, inside, join_rows, write_dataset
from engine.predictor import Predict
from engine.runs import Progress
from evaluation import multi_label
from models import LINEAR, NETWORKS
from pretrain_predict import Predict as PretrainPredict

CLASSES = ["财经", "房产", "股票"]
SMALL = ("--num_epochs", 2, "--device", "cpu", "--batch_size", 32)


def test_the_metrics_are_scikit_learns():
    rng = np.random.default_rng(0)
    probabilities = rng.random((50, 3))
    labels, predicted = (rng.random((50, 3)) < 0.4).astype(np.uint8), probabilities > 0.5
    labels[:2], predicted[:2] = 0, False  # right rows without labels
    results, text = multi_label.test_results(labels, predicted, probabilities, CLASSES)
    for name in ("micro", "macro"):
        assert results[f"{name}_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average=name))
    by_row = [
        2 * (y & p).sum() / (y.sum() + p.sum()) if (y | p).any() else 1
        for y, p in zip(labels > 0, predicted, strict=True)
    ]
    assert results["sample_f1"] == pytest.approx(np.mean(by_row))
    assert results["subset_accuracy"] == pytest.approx((labels == predicted).all(axis=1).mean())
    assert results["hamming_loss"] == pytest.approx((labels != predicted).mean())
    expected = metrics.label_ranking_average_precision_score(labels, probabilities)
    assert results["ranking_average_precision"] == pytest.approx(expected)
    for line in ("Micro F1: ", "Sample F1: ", "Subset accuracy: ", "Hamming loss: ", "Ranking average precision: "):
        assert line in text
    assert "samples avg" not in text and " 财经 " in text


def read_predictions(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[0].split("\t"), [line.split("\t") for line in lines[1:]]


def vectors_of(fields):
    return np.array([[name in field.split(",") for name in CLASSES] for field in fields])


@pytest.fixture(scope="module")
def trained(several, tmp_path_factory):
    """A TextCNN trained on the dataset: its output directory and what was printed."""
    output = tmp_path_factory.mktemp("trained")
    return output, inside("run.py", "--dataset", several, "--output", output, "--embed", 16, *SMALL)


def test_the_lines_and_the_files_of_a_run(several, trained):
    output, done = trained
    pattern = r"Iter: {6}\d,  Train Loss: [ \d.]{5},  Train F1: [ \d.]{5}%,  Val Loss: [ \d.]{5},  Val F1: [ \d.]{5}%, "
    assert len(re.findall(pattern, done.stdout)) == 2
    assert "the best checkpoint is that with the highest macro F1 on dev" in done.stderr
    (log,) = (output / "log" / "TextCNN").iterdir()
    content = json.loads((log / "metrics.json").read_text(encoding="utf-8"))
    scores = content["test"]
    head = f"Test Micro F1: {scores['micro_f1']:>6.2%},  Test Macro F1: {scores['macro_f1']:>6.2%}"
    assert head in done.stdout and " micro avg " in done.stdout
    assert content["history"][0].keys() == {"step", "train_loss", "train_macro_f1", "dev_loss", "dev_macro_f1"}
    Progress(log="x", history=content["history"])
    header, rows = read_predictions(log / "predictions.tsv")
    assert header == ["text", "labels", "predicted", "probabilities"]
    assert sorted((row[0], row[1]) for row in rows) == sorted(join_rows("test", 40))
    labels, predicted = vectors_of([row[1] for row in rows]), vectors_of([row[2] for row in rows])
    assert scores["micro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="micro"))
    assert scores["subset_accuracy"] == pytest.approx((labels == predicted).all(axis=1).mean())
    right = (labels == predicted).all(axis=1).tolist()
    assert right == sorted(right)
    assert np.array(scores["confusion_matrices"]).shape == (3, 2, 2)
    assert (log / "confusion_matrix.png").exists() and (log / "loss.png").exists()


def test_a_checkpoint_predicts_as_its_test_did(trained):
    output, _ = trained
    (log,) = (output / "log" / "TextCNN").iterdir()
    _, rows = read_predictions(log / "predictions.tsv")
    predictor = Predict(dataset=output, device="cpu")
    texts = [row[0] for row in rows]
    found = predictor.predict_list(texts)
    assert [",".join(names) for names in found] == [row[2] for row in rows]
    assert predictor.predict(texts[0]) == found[0] and predictor.predict(" ") == []
    probabilities = predictor.predict_proba(texts)
    assert probabilities.shape == (40, 3)
    thresholds = predictor.saved.calibration.thresholds.numpy()
    assert np.array_equal(probabilities >= thresholds, vectors_of([row[2] for row in rows]))
    for row, names, values in zip(rows, found, probabilities, strict=True):
        own = [values[CLASSES.index(name)] for name in names]
        assert own == sorted(own, reverse=True)
        assert [float(value) for value in filter(None, row[3].split(","))] == pytest.approx(own, abs=1e-4)


def test_predictions_as_lines(trained, tmp_path):
    output, _ = trained
    where = ("--dataset", output, "--device", "cpu")
    texts = [text for text, _ in join_rows("test", 6)]
    expected = Predict(dataset=output, device="cpu").predict_list([*texts, ""])
    done = inside("predict.py", *where, *texts, "", "--novelty", "--explain")
    header, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert header == ["text", "labels", "probabilities", "novelty", "spans"]
    assert [line[1] for line in lines] == [",".join(names) for names in expected]
    assert all(len(line[1].split(",")) == len(line[2].split(",")) for line in lines)
    done = inside("predict.py", *where, *texts, "", "--format", "jsonl")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["labels"] for row in rows] == expected
    assert all(len(row["probabilities"]) == len(row["labels"]) for row in rows)
    done = inside("predict.py", *where, *texts, "--top_k", 2)
    assert all(len(line.split("\t")[1].split(",")) == 2 for line in done.stdout.splitlines()[1:])
    inside("predict.py", *where, "<b>", "--output", tmp_path / "x.html")
    assert "<td>&lt;b&gt;<td>" in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_a_labelled_file_is_evaluated(several, trained, tmp_path):
    output, done = trained
    path = several / "data" / "test.txt"
    found = inside(
        "predict.py", "--dataset", output, "--evaluate", path, "--output", tmp_path / "e.tsv", "--device", "cpu"
    )
    report = done.stdout[done.stdout.index("Precision, Recall") : done.stdout.rindex("Time usage")]
    assert report.strip() in found.stdout
    _, rows = read_predictions(tmp_path / "e.tsv")
    wrong = sum(sorted(row[1].split(",")) != sorted(row[2].split(",")) for row in rows)
    assert f"{wrong} of 40 rows have wrong labels" in found.stderr


@pytest.mark.parametrize("model", [*NETWORKS, *LINEAR])
def test_each_model_learns_any_number_of_labels(several, tmp_path, model):
    flags = ("--class_weight", "balanced") if model in ("DPCNN", "SVM") else ()
    flags += () if model in LINEAR else SMALL
    done = inside("run.py", "--model", model, "--dataset", several, "--output", tmp_path, "--device", "cpu", *flags)
    assert float(re.search(r"Test Micro F1: +([\d.]+)%", done.stdout)[1]) > 50
    found = Predict(dataset=tmp_path, device="cpu").predict_list([text for text, _ in join_rows("test", 20)])
    assert all(isinstance(names, list) for names in found) and any(found)


def test_an_encoder_learns_any_number_of_labels(several, encoder, tmp_path):
    flags = ("--dataset", several, "--output", tmp_path, "--bert_path", encoder, *SMALL)
    done = inside("pretrain_run.py", *flags)
    assert re.search(r"Test Micro F1: +[\d.]+%,  Test Macro F1: +[\d.]+%", done.stdout)
    assert isinstance(PretrainPredict(dataset=tmp_path, device="cpu").predict("股票大涨"), list)


@pytest.mark.parametrize("model", ["TextCNN", "SVM", "NBSVM"])
@pytest.mark.parametrize(
    "rows", [[("好天气", "好"), ("坏天气", "坏")], [("好", "好,坏"), ("坏", "好")], [("好", ""), ("坏", "好")]]
)
def test_few_rows_and_labels_that_all_or_no_rows_have(tmp_path, model, rows):
    dataset = write_dataset(tmp_path / "d", ["好", "坏", "无"], rows)
    (dataset / "data" / "dataset.json").write_text('{"multi_label": true}', encoding="utf-8")
    flags = () if model in LINEAR else SMALL
    done = inside("run.py", "--model", model, "--dataset", dataset, "--device", "cpu", *flags)
    assert "Test Micro F1: " in done.stdout


def test_a_finished_run_says_so(several, tmp_path):
    flags = ("--model", "FastText", "--dataset", several, "--output", tmp_path, *SMALL, "--n_gram_vocab", 999)
    inside("run.py", *flags)
    assert "This run is finished" in inside("run.py", *flags, "--resume").stderr


def test_models_are_compared_by_micro_f1(several, tmp_path, capsys):
    flags = ("--seeds", 1, "--dataset", several, "--output", tmp_path, "--rows", 60, "--ensemble")
    compare_here("--models", "SVM", "NBSVM", "--baselines", "svm", *flags)
    printed = capsys.readouterr()
    page = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "| model | micro F1, % | macro F1, % | p against the best |" in page
    assert "p: paired permutation test of the micro F1 on the test rows" in page
    assert "accura" not in page
    assert re.search(r"SVM +seed 1:  Test Micro F1: [ \d.]+%,  Macro F1: ", printed.out)
    data = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))
    rows = {row["model"]: row for row in data["rows"]}
    assert rows.keys() == {"SVM", "NBSVM", "svm", "ensemble"}
    assert rows["ensemble"]["micro_f1"]["mean"] > 0.5
    assert Predict(checkpoint=tmp_path / "ensemble.ckpt", device="cpu").saved.multi_label
    curves = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert curves["micro_f1"]["svm"]["120"]["values"] == rows["svm"]["micro_f1"]["values"]
    assert curves["macro_f1"]["NBSVM"].keys() == {"60", "120"}
    page = (tmp_path / "rows.md").read_text(encoding="utf-8")
    assert "Test micro F1 in %" in page and "Test macro F1 in %" in page
    assert (tmp_path / "rows.png").exists()
