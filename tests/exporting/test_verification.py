import sys

import numpy as np
import pytest

from cli.console import UserError
from evaluation import timing
from exporting import verification
from saved_models import exported, saved_model
from text.labelled import read_split


@pytest.fixture
def quick(monkeypatch):
    """Measures speed on few texts, and no fresh processes."""
    monkeypatch.setattr(timing, "SECONDS", 1e-4)
    monkeypatch.setattr(timing, "CALLS", 3)
    monkeypatch.setattr(timing, "WARM_UP", 1)
    monkeypatch.setattr(verification, "start_up", lambda command: 0.25)


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_comparison_has_what_both_predict(multi_label, tiny, several, tmp_path, quick):
    predictor = saved_model("SVM", tmp_path, multi_label)
    found = exported(predictor, tmp_path / "onnx")
    texts, labels = read_split(several if multi_label else tiny, "dev")
    comparison = verification.compare(predictor, found, texts, labels)
    assert comparison.difference < 1e-6
    assert comparison.changed == 0
    assert comparison.scores[0] == comparison.scores[1] > 0
    assert comparison.sizes[0] == predictor.path.stat().st_size
    comparison.check(None, force=False)
    table = comparison.table
    assert len({len(line) for line in table}) == 1
    assert table[1].startswith("macro F1 on dev" if multi_label else "accuracy on dev")
    assert [line.split()[-4:] for line in table if "fresh" in line] == [["0.25", "s", "0.25", "s"]]


@pytest.mark.parametrize(
    ("changes", "quantize", "message"),
    [
        ({"difference": 2e-4}, None, "differs from the checkpoint by 2.0e-04 in a probability of '一条新闻'"),
        ({"difference": float("nan")}, None, "expected at most 0.0001; nothing is written"),
        ({"difference": 0.5, "scores": (0.92, 0.914)}, "int8", "lowers the accuracy from 92.00% to 91.40%"),
        ({"difference": 0.5, "scores": (0.92, 0.916)}, "int8", None),
        ({"difference": 0.5, "scores": None}, "int8", None),
    ],
)
def test_an_export_that_predicts_something_else_is_refused(changes, quantize, message):
    comparison = verification.Comparison(1e-6, "一条新闻", 0.0, "accuracy", (0.9, 0.9), (1, 1), (1, 1), ())
    comparison = comparison._replace(**changes)
    if message is None:
        comparison.check(quantize, force=False)
        return
    with pytest.raises(UserError) as error:
        comparison.check(quantize, force=False)
    assert message in str(error.value)
    if quantize:
        comparison.check(quantize, force=True)


def test_scores_are_the_accuracy_and_the_macro_f1():
    assert verification.score_of(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])) == 0.75
    predicted = np.array([[True, False], [True, False]])
    assert verification.score_of(predicted, np.array([[1, 0], [0, 1]])) == pytest.approx((2 / 3 + 0) / 2)


def test_texts_are_generated_of_the_vocabulary(encoder, tmp_path):
    for predictor in (saved_model("SVM", tmp_path), saved_model("bert", tmp_path, encoder=encoder)):
        texts = verification.generated_texts(predictor.saved)
        assert texts == verification.generated_texts(predictor.saved)
        assert len(texts) == verification.GENERATED
        assert predictor.predict_proba(texts).any(axis=1).all()


def test_a_process_that_fails_is_reported(tmp_path):
    (tmp_path / "predict_onnx.py").write_text("raise SystemExit('no such model')")
    with pytest.raises(UserError, match=r"predict_onnx.py does not run: no such model$"):
        verification.start_up([sys.executable, "-B", str(tmp_path / "predict_onnx.py")])


def test_the_export_stays_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr(verification, "STARTS", 1)
    predictor = saved_model("SVM", tmp_path)
    found = exported(predictor, tmp_path / "onnx")
    files = sorted(found.path.iterdir())
    assert verification.start_up(verification.commands_of(predictor, found, "央行降息")[1]) > 0
    assert sorted(found.path.iterdir()) == files
