"""What a trained model reads of long texts."""

import numpy as np
import pytest

from conftest import here, inside
from engine.explanation import Explanation
from engine.novelty import Novelty
from engine.predictor import Predict
from text.truncation import MODES

SIZES = ("--num_epochs", 1, "--embed", 8, "--num_filters", 4, "--pad_size", 8, "--device", "cpu")
READ = {"head": [*range(8)], "head_tail": [0, 1, *range(194, 200)], "windows": [*range(98)]}  # of 200 characters


@pytest.fixture(scope="module", params=MODES)
def trained(request, tiny, tmp_path_factory):
    """A mode and the predictor of a model that was trained with it."""
    output = tmp_path_factory.mktemp(request.param)
    done = inside("run.py", "--dataset", tiny, "--output", output, "--long", request.param, *SIZES)
    assert "89 of 90 training rows (98.9%) are longer than 8 tokens and are" in done.stderr
    return request.param, Predict("TextCNN", dataset=output, device="cpu")


def long_text(predictor, length=200):
    """A text of the vocabulary's characters."""
    ids = np.random.default_rng(1).integers(0, len(predictor.saved.vocabulary.ids), length)
    return "".join(np.array([*predictor.saved.vocabulary.ids])[ids])


def test_no_other_character_changes_the_probabilities(trained):
    long, predictor = trained
    text = list(long_text(predictor))
    other = [text[i] if i in READ[long] else "的" for i in range(200)]
    first, second, alone = predictor.predict_proba(["".join(text), "".join(other), "".join(text[:8])])
    assert first == pytest.approx(second, abs=1e-6)
    assert (first == pytest.approx(alone, abs=1e-6)) == (long == "head")
    scores = Novelty(predictor)(["".join(text), "".join(other)], np.stack((first, second)))
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_no_other_character_has_a_mark(trained):
    long, predictor = trained
    text = long_text(predictor)
    (weights,) = Explanation(predictor).weights([f" {text}  "], predictor.predict_proba([text]))
    marked = set((np.flatnonzero(weights) - 1).tolist())
    assert marked and marked <= set(READ[long])
    if long == "head_tail":
        assert marked & set(range(2)) and marked & set(range(194, 200))


def test_what_is_cut_is_counted(trained, tmp_path, monkeypatch, capsys):
    import predict

    long, predictor = trained
    (tmp_path / "texts.txt").write_text("".join(f"{'好' * n}\n" for n in (8, 9, 98, 99)), encoding="utf-8")
    here(monkeypatch, predict.main, "--checkpoint", predictor.path, "--input", tmp_path / "texts.txt")
    cut, most = (1, 98) if long == "windows" else (3, 8)
    assert f"{cut} texts were longer than the {most} tokens that the model reads" in capsys.readouterr().err
