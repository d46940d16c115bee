"""`Predict`: the same probabilities however texts come, and what it refuses."""

import numpy as np
import pytest
import torch

import run
from cli.console import UserError
from conftest import FIXTURES, here, in_other_forms
from engine.predictor import Predict
from models import NETWORKS

TEXTS = ["央行下调存款准备金率", "北京二手房价格上涨", "", "A股三大股指收涨 券商股领跑" * 4]
FEW = ("--num_epochs", 2, "--embed", 16, "--device", "cpu")


@pytest.mark.parametrize("model", NETWORKS)
def test_each_network_predicts_the_same_each_time(tiny, tmp_path, monkeypatch, model):
    small = ("--n_gram_vocab", 999) if model == "FastText" else ("--bigram_vocab", 999)
    here(monkeypatch, run.main, "--model", model, "--dataset", tiny, "--output", tmp_path, *FEW, *small)
    predictor = Predict(model, dataset=tmp_path)
    probabilities = predictor.predict_proba(TEXTS)
    assert probabilities.shape == (4, 3)
    assert probabilities.sum(axis=1) == pytest.approx([1, 1, 0, 1])
    assert np.array_equal(predictor.predict_proba(TEXTS), probabilities)
    alone = np.concatenate([predictor.predict_proba([text]) for text in TEXTS])
    assert alone == pytest.approx(probabilities, abs=1e-5)
    others = in_other_forms(TEXTS, predictor.saved.vocabulary.aliases)
    assert others != TEXTS and np.array_equal(predictor.predict_proba(others), probabilities)
    names = predictor.predict_list(TEXTS)
    assert set(names) <= {"财经", "房产", "股票", None}
    assert names[2] is None
    assert predictor.predict(TEXTS[0]) == names[0]
    (log,) = (tmp_path / "log" / model).iterdir()  # what the test saw is what prediction gives
    tested = [line.split("\t") for line in (log / "predictions.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    again = predictor.predict_proba([row[0] for row in tested])
    assert again.max(axis=1) == pytest.approx([float(row[3]) for row in tested], abs=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"dataset": "nowhere"},
            "no checkpoint of TextCNN, .*Transformer, SVM, NBSVM in nowhere.saved_dict; train one: python run.py",
        ),
        ({"model": "DPCNN", "dataset": "nowhere"}, "no DPCNN.ckpt in nowhere"),
        ({"checkpoint": "nowhere.ckpt"}, "nowhere.ckpt: no such file"),
    ],
)
def test_a_checkpoint_that_is_not_there(settings, message):
    with pytest.raises(UserError, match=message):
        Predict(**settings)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("一条新闻", "expected a list of texts, got one str; predict takes a single text"),
        (b"text", "expected a list of texts, got one bytes"),
        ([None], r"expected a list of texts \(str\), but item 0 is NoneType"),
        (["好", 1], r"expected a list of texts \(str\), but item 1 is int"),
    ],
)
def test_other_types_than_lists_of_texts(texts, message):
    predictor = Predict(checkpoint=FIXTURES / "TextCNN.ckpt", device="cpu")
    for method in (predictor.predict_list, predictor.predict_proba):
        with pytest.raises(TypeError, match=message):
            method(texts)
    with pytest.raises(TypeError, match="predict expects a text"):
        predictor.predict(["好"])


def test_numbers_that_are_not_finite_are_refused():
    predictor = Predict(checkpoint=FIXTURES / "TextCNN.ckpt", device="cpu")
    next(predictor.saved.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(UserError, match=r"TextCNN\.ckpt: the model computes numbers that are not finite"):
        predictor.predict("一条新闻")


def test_the_model_decides_how_many_threads_predict():
    """Also if predict.py is given the checkpoint of an encoder, of which each thread needs all activations."""
    assert Predict(checkpoint=FIXTURES / "bert.ckpt", device="cpu").workers == (1, torch.get_num_threads())
    assert Predict(checkpoint=FIXTURES / "TextCNN.ckpt", device="cpu").workers[1] == 1
