"""Prediction in 8 bits: nearly the probabilities of float32, whatever texts are beside, and checked on dev once."""

import json

import numpy as np
import pytest
import torch

from cli.console import UserError
from conftest import FIXTURES, assert_mistaken, inside, sample_rows
from engine import int8
from engine.int8 import Int8Products, use_int8
from engine.predictor import Predict
from models.convolution import Convolution
from saved_models import ODD, saved_model
from text.files import read_json

TEXTS = [*ODD, *(text for text, _ in sample_rows("test", {0, 1, 2}, 60))]


@pytest.fixture(autouse=True)
def capable(monkeypatch):
    """Every processor computes the products, those without the instructions slowly."""
    found = dict(torch.cpu.get_capabilities()) | {"avx512_vnni": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    monkeypatch.setattr(int8, "LARGE", 1)  # the models of the tests are small


@pytest.mark.parametrize("name", ["TextCNN", "TextRCNN", "DPCNN", "Transformer", "FastText", "bert", "bert_CNN"])
def test_probabilities_are_nearly_those_of_float32(tmp_path, encoder, name):
    predictor = saved_model(name, tmp_path, encoder=encoder if name.startswith("bert") else None)
    expected = predictor.predict_proba(TEXTS)
    predictor.int8 = Int8Products(predictor.saved.model)
    assert len(predictor.int8.packed) >= 2
    found = predictor.predict_proba(TEXTS)
    assert 0 < np.abs(found - expected).mean() < 0.02
    alone = np.concatenate([predictor.predict_proba([text]) for text in TEXTS])
    np.testing.assert_allclose(alone, found, atol=5e-3)


def test_a_layer_is_computed_on_levels():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(30, 50), torch.nn.Linear(50, 7, bias=False)).requires_grad_(False)
    model[0].weight[3] = 0  # an output without weights
    x = 100 * torch.randn(4, 5, 30)
    x[2, 1] = 0

    def rounded(values):
        steps = (values.abs().amax(dim=-1, keepdim=True) / 127).clamp(min=1e-30)
        return (values / steps).round() * steps

    expected = rounded(x) @ rounded(model[0].weight).t() + model[0].bias
    expected = rounded(expected) @ rounded(model[1].weight).t()
    with Int8Products(model):
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
    assert expected.shape == (4, 5, 7)


def test_a_convolution_has_a_scale_for_each_text():
    torch.manual_seed(1)
    layer = Convolution(6, 5, 3, before=1).requires_grad_(False)
    x = torch.randn(2, 9, 6)
    x[1] *= 1000
    expected = layer(x)
    with Int8Products(layer):
        found = layer(x)
    assert (found - expected)[0].abs().max() < 0.1
    assert 1 < (found - expected)[1].abs().max() < 100


def test_dev_is_checked_once(tiny, tmp_path, monkeypatch, capsys):
    path = tmp_path / "TextCNN.ckpt"
    path.write_bytes((FIXTURES / "TextCNN.ckpt").read_bytes())
    predictor = Predict(checkpoint=path, device="cpu", amp="off")
    use_int8(predictor, tiny)
    found = read_json(tmp_path / "TextCNN.int8.json")
    assert found["rows"] == 30
    assert found["float32"] == pytest.approx(found["int8"], abs=0.04)
    assert "The accuracy of 30 rows of dev is " in capsys.readouterr().err
    again = Predict(checkpoint=path, device="cpu", amp="off")
    use_int8(again, tmp_path / "nowhere")
    assert again.int8.packed
    (tmp_path / "TextCNN.int8.json").write_text(json.dumps(found | {"checkpoint": "another"}), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"--int8 is checked on dev once, and .*nowhere has none; use --checkpoint .*ckpt --dataset D"
    ):
        use_int8(again, tmp_path / "nowhere")
    scores = iter([0.9, 0.896])
    monkeypatch.setattr(int8, "score_of", lambda *_: next(scores))
    again.int8 = None
    with pytest.raises(
        UserError, match=r"lowers the accuracy of 30 rows of dev from 90.00% to 89.60%, expected at most 0.3"
    ):
        use_int8(again, tiny)
    assert again.int8 is None
    with pytest.raises(UserError, match="lowers the accuracy"):  # remembered
        use_int8(again, tmp_path / "nowhere")


def test_a_check_that_cannot_be_stored_is_repeated(tiny, monkeypatch, capsys):
    def fails(*_, **__):
        raise UserError("X.int8.json cannot be written: no space left")

    monkeypatch.setattr(int8, "replacing", fails)
    predictor = Predict(checkpoint=FIXTURES / "TextCNN.ckpt", device="cpu", amp="off")
    use_int8(predictor, tiny)
    assert "The check of --int8 is repeated each time: X.int8.json cannot be written" in capsys.readouterr().err
    assert predictor.int8


def test_any_number_of_labels(several, tmp_path):
    inside("run.py", "--model", "TextCNN", "--dataset", several, "--output", tmp_path, "--num_epochs", 1, "--embed", 16)
    done = inside("predict.py", "--dataset", tmp_path, "--int8", "房价上涨", check=False)
    assert done.returncode == 2
    assert "TextCNN.ckpt --dataset DATASET" in done.stderr
    checkpoint = ("--checkpoint", tmp_path / "saved_dict" / "TextCNN.ckpt", "--dataset", several)
    done = inside("predict.py", *checkpoint, "--int8", "房价上涨")
    assert "The macro F1 of 40 rows of dev is" in done.stderr
    assert inside("predict.py", "--dataset", tmp_path, "--int8", "房价上涨").stdout == done.stdout


def test_what_it_is_not_for(tiny, trained_svm, monkeypatch, capsys):
    import predict

    assert_mistaken(
        monkeypatch, capsys, predict.main, ["--int8", "--amp", "bf16", "text"], "--int8 and --amp bf16 are both given"
    )
    with pytest.raises(UserError, match="--int8 is for large matrix products, and SVM has none; leave it out"):
        use_int8(Predict("SVM", dataset=trained_svm, device="cpu"), tiny)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(int8.INSTRUCTIONS, False))
    with pytest.raises(UserError, match="--int8 needs a processor with VNNI instructions, and this processor has none"):
        use_int8(Predict(checkpoint=FIXTURES / "TextCNN.ckpt", device="cpu"), tiny)
