"""Novelty: texts unlike those of the training come out on top."""

import numpy as np
import pytest

from conftest import FIXTURES, inside, sample_rows
from engine import checkpoint
from engine.novelty import Novelty
from engine.predictor import Predict

MODELS = {"TextCNN": ("--num_epochs", 2, "--embed", 16), "NBSVM": (), "FastText": ("--paper", "--n_gram_vocab", 99)}
STRANGE = ["これは日本語の文章です", "한국어 문장입니다", "ъэжщюя ыбфц", "龘靐齉爩麤灪", "𪚥𪚥𪚥"]


@pytest.mark.parametrize("model", MODELS)
def test_strange_texts_are_newer_than_those_of_the_training(tiny, tmp_path, model):
    inside("run.py", "--model", model, "--dataset", tiny, "--output", tmp_path, "--device", "cpu", *MODELS[model])
    predictor = Predict(model, dataset=tmp_path, device="cpu")
    own = [text for text, _ in sample_rows("train", {0, 1, 2}, 90)]
    texts = [*own, *STRANGE, "", "  "]
    found = np.array(Novelty(predictor)(texts, predictor.predict_proba(texts)))
    assert ((found >= 0) & (found <= 1)).all()
    assert found[90:95].min() > found[:90].max()
    assert found[95:].tolist() == [0, 0]
    if model != "FastText":  # it has no dictionary: its n-grams are hashed
        common = "".join(own)
        mixed = "".join(common[i] for i in np.random.default_rng(0).integers(0, len(common), 20))
        assert Novelty(predictor)([mixed], predictor.predict_proba([mixed]))[0] > np.quantile(found[:90], 0.9)


def test_an_encoder_and_a_text_without_tokens():
    predictor = Predict(checkpoint=FIXTURES / "bert.ckpt", device="cpu")
    texts = ["基金公司", "\ufffd\ufffd", ""]
    found = Novelty(predictor)(texts, predictor.predict_proba(texts))
    assert 0 < found[0] < 1
    assert found[2] == 0


def test_an_ensemble_scores_by_its_members(tiny, tmp_path):
    for model in ("SVM", "NBSVM"):
        inside("run.py", "--model", model, "--dataset", tiny, "--output", tmp_path, "--device", "cpu")
    files = [tmp_path / "saved_dict" / f"{model}.ckpt" for model in ("SVM", "NBSVM")]
    checkpoint.save_ensemble(tmp_path / "e.ckpt", files, [0.5, 0.5], ["财经", "房产", "股票"], {})
    predictor = Predict(checkpoint=tmp_path / "e.ckpt", device="cpu")
    same = np.full((1, 3), 1 / 3, np.float32)
    alone = [Novelty(Predict(checkpoint=file, device="cpu"))(["央行下调准备金"], same)[0] for file in files]
    assert Novelty(predictor)(["央行下调准备金"], same)[0] == pytest.approx(np.mean(alone), abs=1e-4)
