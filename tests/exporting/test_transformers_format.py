import ast
import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers

from cli.console import UserError
from conftest import build_encoder, sample_rows, write_encoder
from engine.batches import Batches
from engine.calibration import Calibration
from engine.checkpoint import Classifier, save
from engine.counting import count
from engine.label_calibration import MultiLabelCalibration
from engine.predictor import Predict
from exporting.safetensors_format import save_safetensors
from models import model_module
from models.evidence import with_evidence
from text.wordpiece_files import read_wordpieces

NAMES = ["财经", "房产", "股票"]
TEXTS = [
    "a",
    "房",
    "今日股票大涨 CPI is 3.5%",
    "[SEP] 股票 [MASK]",
    "😀 emoji 𠀀",
    "x" * 40,
    "词语" * 60,
    "词语" * 9,
    "Ａ全角 Ｂ",
    "上海楼市 成交量\t上涨\n 房价",
    "\u200b\x00",
    "  前后空格  ",
    "上海樓市　成交量上漲３％\u200b",
    "樓\u200d價\ufeff ＣＰＩ 房\u00ad\U0002f800",
    "樓\u0301市²\u20e3上漲\u0488",
]


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """The directory to which `transformers` copies a model's code."""
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", list(sys.path))


def predictor_of(directory, name="bert", kind="Bert", several=False, **settings):
    """The `Predict` of a model with random weights on a tiny encoder, which has a calibration."""
    write_encoder(directory / "encoder", kind)
    settings = {"pad_size": 20, "smoothing": 0.1, "learning_rate": 1e-4} | settings
    config = model_module(name).Config(**settings)
    model = build_encoder(name, directory / "encoder", **settings)
    vocabulary = read_wordpieces(directory / "encoder", model.embedding.body.config.vocab_size).with_aliases()
    rows = sample_rows("train", {0, 1, 2}, 200)
    labels = np.array([label for _, label in rows])
    calibration = Calibration(1.7)
    if several:
        labels = np.eye(3, dtype=np.int64)[labels]
        temperatures, thresholds = torch.tensor([0.5, 1.5, 2.0]), torch.tensor([0.5, 0.25, 0.75])
        calibration = MultiLabelCalibration(temperatures, thresholds)
    for parameter in model.classifier.parameters():
        parameter.data.normal_(std=0.5)
    if config.evidence:
        batches = Batches(vocabulary.encode_texts([text for text, _ in rows]), labels, vocabulary, config.truncation)
        model = with_evidence(model, config, count(batches, 3, config.evidence))
        model.roots.data.uniform_(0.1, 0.6)
        model.bias.data.normal_()
    encoder = json.loads((directory / "encoder" / "config.json").read_text(encoding="utf-8"))
    encoder = {key: encoder[key] for key in encoder if key not in ("architectures", "dtype")}
    save(directory / "a.ckpt", Classifier(name, config, NAMES, vocabulary, encoder, model, {}, calibration))
    return Predict(checkpoint=directory / "a.ckpt", device="cpu", amp="off")


def scores(pipe, **options):
    """The scores of the texts, (N, C)."""
    rows = [{found["label"]: found["score"] for found in row} for row in pipe(TEXTS, top_k=None, **options)]
    return np.array([[row[name] for name in NAMES] for row in rows])


@pytest.mark.parametrize(("kind", "several"), [("Bert", False), ("Ernie", True), ("Albert", False)])
def test_a_plain_model_is_one_of_the_library(tmp_path, kind, several):
    predictor = predictor_of(tmp_path, kind=kind, several=several, evidence=0)
    save_safetensors(predictor.saved, tmp_path / "saved")
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "saved"))
    assert type(pipe.model).__name__ == f"{kind}ForSequenceClassification"
    np.testing.assert_allclose(scores(pipe, truncation=True), predictor.predict_proba(TEXTS), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind", "several", "evidence"),
    [
        ("bert", "Bert", False, 4),
        ("ERNIE", "Electra", True, 0),
        ("bert_CNN", "Ernie", True, 1),
        ("bert_RNN", "Electra", False, 4),
        ("bert_RCNN", "Bert", True, 4),
        ("bert_DPCNN", "Albert", False, 5),
        ("bert_LayerAtt", "Albert", False, 0),
    ],
)
def test_other_models_bring_their_code(tmp_path, name, kind, several, evidence):
    predictor = predictor_of(tmp_path, name, kind, several, evidence=evidence)
    save_safetensors(predictor.saved, tmp_path / "saved")
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "saved"), trust_remote_code=True)
    expected = predictor.predict_proba(TEXTS)
    np.testing.assert_allclose(scores(pipe), expected, atol=1e-5)
    np.testing.assert_allclose(scores(pipe, batch_size=5), expected, atol=1e-5)


def test_evidence_without_known_n_grams(tmp_path):
    predictor = predictor_of(tmp_path)
    empty = {name: tensor[:0] for name, tensor in predictor.saved.model.content.items() if name != "rows"}
    predictor.saved.model.content |= empty
    save_safetensors(predictor.saved, tmp_path / "saved")
    pipe = transformers.pipeline("text-classification", model=str(tmp_path / "saved"), trust_remote_code=True)
    assert np.isfinite(scores(pipe)).all()


def test_code_is_not_executed_unless_it_is_trusted(tmp_path):
    save_safetensors(predictor_of(tmp_path).saved, tmp_path / "saved")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        transformers.pipeline("text-classification", model=str(tmp_path / "saved"), trust_remote_code=False)


def test_labels_and_thresholds_are_in_the_config(tmp_path):
    save_safetensors(predictor_of(tmp_path, several=True, evidence=0).saved, tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "财经", "1": "房产", "2": "股票"}
    assert config["problem_type"] == "multi_label_classification"
    assert config["thresholds"] == [0.5, 0.25, 0.75]


def test_the_code_in_the_readme_works(tmp_path):
    predictor = predictor_of(tmp_path)
    save_safetensors(predictor.saved, tmp_path / "saved")
    code = (tmp_path / "saved" / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "saved", env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    found = {row["label"]: row["score"] for row in ast.literal_eval(done.stdout)}
    expected = predictor.predict_proba(["一条新闻"])[0]
    assert found == pytest.approx(dict(zip(NAMES, expected.tolist(), strict=True)), abs=1e-4)


def test_models_that_the_library_does_not_support(tmp_path):
    saved = predictor_of(tmp_path, evidence=0, long="windows").saved
    with pytest.raises(UserError, match="--long windows, which transformers does not support; use --format onnx"):
        save_safetensors(saved, tmp_path / "saved")
    one = saved._replace(classes=NAMES[:1], config=dataclasses.replace(saved.config, long="head"))
    with pytest.raises(UserError, match="bert has one class"):
        save_safetensors(one, tmp_path / "saved")
