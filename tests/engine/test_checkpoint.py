import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cli.console import UserError
from conftest import FIXTURES, ROOT, assert_close, with_evidence
from engine import checkpoint, resume
from engine.batches import Batch
from engine.checkpoint import Classifier
from engine.predictor import Predict
from models import ENCODERS, NETWORKS, model_module
from models.base import DataSpec
from models.tables import Table
from text.vocabulary import Vocabulary


def saved(path, name="TextCNN", **settings):
    module = model_module(name)
    vocabulary = Vocabulary(["好", "学"], "space")
    config = module.Config(**{"pad_size": 32, "smoothing": 0.1} | settings)
    model = with_evidence(module.Model(config, DataSpec(2, len(vocabulary))), config, len(vocabulary), 2).eval()
    checkpoint.save(path, Classifier(name, config, ["财经", "房产"], vocabulary, None, model, {"dev_loss": 0.5}))
    return model


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_a_checkpoint_is_the_model(tmp_path, name):
    model = saved(tmp_path / "m.ckpt", name, embed=10)
    loaded = checkpoint.load(tmp_path / "m.ckpt")
    assert (loaded.name, loaded.classes, loaded.metrics) == (name, ["财经", "房产"], {"dev_loss": 0.5})
    assert (loaded.vocabulary.tokens, loaded.vocabulary.segmenter) == (["好", "学", "<UNK>", "<PAD>"], "space")
    ends = torch.tensor([[False, True, True]])
    batch = Batch(torch.tensor([[0, 1, 2]]), torch.tensor([3]), torch.tensor([0]), word_ends=ends)
    torch.testing.assert_close(loaded.model(batch), model(batch), atol=1e-3, rtol=0)
    assert not loaded.model.training


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_weights_in_fewer_bytes_are_the_model(tmp_path, name):
    model = saved(tmp_path / "m.ckpt", name, embed=10, evidence=0)
    for table in (module for module in model.modules() if isinstance(module, Table)):
        table.weight[:9].normal_(std=1e-3)
    classifier = checkpoint.load(tmp_path / "m.ckpt")._replace(model=model)
    sizes = []
    for store, tolerance in ((None, 1e-3), ("half", 1e-3), ("int8", 7e-3)):  # half a level is a 254th
        checkpoint.save(tmp_path / "m.ckpt", classifier, store)
        loaded = checkpoint.load(tmp_path / "m.ckpt")
        sizes.append((tmp_path / "m.ckpt").stat().st_size)
        for key, weight in loaded.model.state_dict().items():
            expected = model.state_dict()[key]
            assert weight.dtype == expected.dtype
            assert (weight - expected).abs().max() <= tolerance * expected.abs().max()
        batch = Batch(torch.tensor([[0, 1, 2]]), torch.tensor([3]), torch.tensor([0]))
        assert_close(loaded.model(batch), model(batch), 10 * tolerance)
    assert sizes[0] >= sizes[1] > sizes[2]


def test_settings_that_are_not_the_defaults_come_back(tmp_path):
    saved(tmp_path / "m.ckpt", filter_sizes=(2, 5), pad_size=7, num_filters=3)
    config = checkpoint.load(tmp_path / "m.ckpt").config
    assert (config.filter_sizes, config.pad_size, config.num_filters) == ((2, 5), 7, 3)


def test_fasttexts_checkpoint_stays_under_100_mb(tmp_path):
    vocabulary = Vocabulary([chr(0x4E00 + i) for i in range(10000)])
    module = model_module("FastText")
    config, classes = module.Config(), list("abcdefghij")
    model = with_evidence(module.Model(config, DataSpec(10, len(vocabulary))), config, len(vocabulary), 10)
    checkpoint.save(tmp_path / "m.ckpt", Classifier("FastText", config, classes, vocabulary, None, model, {}))
    assert (tmp_path / "m.ckpt").stat().st_size < 100e6


@pytest.mark.parametrize("is_zip", [True, False])
def test_an_earlier_toolkits_weights_are_refused_with_the_reason(tmp_path, is_zip):
    weights = torch.nn.Linear(2, 2).state_dict()
    torch.save(weights, tmp_path / "old.ckpt", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(UserError, match="holds weights alone, as the earlier toolkit saved them: classes"):
        checkpoint.load(tmp_path / "old.ckpt")


@pytest.mark.parametrize("part", ["config", "weights", "vocabulary"])
def test_a_checkpoint_of_another_version_is_told(tmp_path, part):
    saved(tmp_path / "m.ckpt", embed=10)
    content = torch.load(tmp_path / "m.ckpt", weights_only=True)
    content[part]["no_longer_there"] = torch.zeros(1)
    del content["digest"]
    torch.save(content, tmp_path / "m.ckpt")
    with pytest.raises(UserError, match=r"m\.ckpt does not fit this version of TextCNN"):
        checkpoint.load(tmp_path / "m.ckpt")


def test_a_state_to_resume_from_is_no_checkpoint(tmp_path):
    resume.State(tmp_path / "m.resume", {}, torch.device("cpu")).save({"step": 3})
    with pytest.raises(UserError, match="holds no checkpoint"):
        checkpoint.load(tmp_path / "m.resume")


class Hostile:
    def __reduce__(self):
        return os.system, ("touch owned",)


def test_a_hostile_file_runs_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 1, "model": Hostile()}, "m.ckpt")
    with pytest.raises(UserError, match=r"m.ckpt is damaged or no checkpoint"):
        checkpoint.load("m.ckpt")
    assert not os.path.exists("owned")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_other_files(tmp_path, content):
    (tmp_path / "m.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"m.ckpt is damaged or no checkpoint"):
        checkpoint.load(tmp_path / "m.ckpt")
    with pytest.raises(UserError, match=r"none.ckpt: no such file"):
        checkpoint.load(tmp_path / "none.ckpt")


def test_the_newest_of_the_models_asked_for(tmp_path):
    assert checkpoint.newest(tmp_path, NETWORKS) is None
    (tmp_path / "saved_dict").mkdir()
    for age, name in enumerate(["bert", "DPCNN", "TextCNN"]):
        path = checkpoint.path_of(tmp_path, name)
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert checkpoint.newest(tmp_path, NETWORKS) == tmp_path / "saved_dict" / "DPCNN.ckpt"
    assert checkpoint.newest(tmp_path, ENCODERS) == tmp_path / "saved_dict" / "bert.ckpt"


def test_every_flipped_byte_is_refused_or_harmless(tmp_path):
    model = saved(tmp_path / "m.ckpt", embed=4, num_filters=2, bigram_vocab=3, word_n_grams=0)
    whole, batch = (
        (tmp_path / "m.ckpt").read_bytes(),
        Batch(torch.tensor([[0, 1]]), torch.tensor([2]), torch.tensor([0])),
    )
    refused = 0
    for i in range(0, len(whole), 23):
        (tmp_path / "m.ckpt").write_bytes(whole[:i] + bytes([whole[i] ^ 64]) + whole[i + 1 :])
        try:
            loaded = checkpoint.load(tmp_path / "m.ckpt")
            assert torch.equal(loaded.model(batch), model(batch))
        except UserError as error:
            assert "is damaged or no checkpoint" in str(error)
            refused += 1
    assert refused > len(whole) // 23 // 4


def change(path, **fields):
    """Writes a checkpoint again with other fields, as an earlier version would, without a digest."""
    content = torch.load(path, weights_only=True)
    del content["digest"]
    torch.save(content | fields, path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": torch.ones(2)}, "holds no checkpoint"),
        ({"classes": ["a", 1]}, "does not fit this version of TextCNN .the classes are not names"),
        ({"classes": {"a": 1}}, "holds no checkpoint"),
        ({"weights": {3: torch.ones(2)}}, "does not fit"),
        ({"weights": {"a": [1]}}, "does not fit"),
        ({"vocabulary": {"tokens": ["好", "学习"], "segmenter": "char"}}, "not a single character"),
        ({"vocabulary": {"tokens": ["好", 7], "segmenter": "space"}}, "a token of the vocabulary is not text"),
        ({"config": {"embed": "wide"}}, "--embed 'wide' is of the wrong type, expected int"),
        ({"config": {"filter_sizes": [2] * 200_000}}, "describes a larger model than its weights are for"),
        ({"config": {"embed": 10**9}}, "does not fit"),
        ({"model": "TextRNN", "config": {"num_layers": 10**6}}, "describes a larger model than its weights are for"),
        ({"model": "../run"}, "is a checkpoint of ../run; expected one of"),
    ],
)
def test_a_checkpoint_with_wrong_fields_is_a_line(tmp_path, fields, message):
    saved(tmp_path / "m.ckpt", embed=10)
    change(tmp_path / "m.ckpt", **fields)
    with pytest.raises(UserError, match=message) as error:
        checkpoint.load(tmp_path / "m.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files")
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "m.ckpt"
    checkpoint.write(path, {"a": torch.zeros(10)})
    before = path.read_bytes()
    program = f"""
import resource, signal, sys, torch
sys.path.insert(0, {str(ROOT)!r})
from engine import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoint.write({str(path)!r}, {{"a": torch.zeros(100_000)}})
except checkpoint.UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == f"{path} cannot be written: File too large\n"
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.ckpt"]


@pytest.mark.parametrize("name", ["TextCNN", "TextRNN", "FastText", "bert"])
def test_a_checkpoint_from_before_the_rooms_still_predicts(name):
    expected = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))
    predictor = Predict(checkpoint=FIXTURES / f"{name}.ckpt", device="cpu", amp="off")
    found = predictor.predict_proba(expected["texts"])
    assert found == pytest.approx(np.array(expected["probabilities"][name]), abs=1e-4)
