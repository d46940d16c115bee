import os

import pytest
import torch

from cli.console import UserError
from engine import checkpoint, resume
from engine.batches import Batch
from models import ENCODERS, NETWORKS, model_module
from text.vocabulary import Vocabulary


def saved(path, name="TextCNN", **settings):
    module = model_module(name)
    vocabulary = Vocabulary(["好", "学"], "space")
    config = module.Config(**settings).fit(2, len(vocabulary))
    model = module.Model(config).eval()
    checkpoint.save(path, name, config, ["财经", "房产"], vocabulary, model, {"dev_loss": 0.5})
    return model


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_a_checkpoint_is_the_model(tmp_path, name):
    model = saved(tmp_path / "m.ckpt", name, embed=10)
    loaded = checkpoint.load(tmp_path / "m.ckpt")
    assert (loaded.name, loaded.classes, loaded.metrics) == (name, ["财经", "房产"], {"dev_loss": 0.5})
    assert (loaded.vocabulary.tokens, loaded.vocabulary.segmenter) == (["好", "学", "<UNK>", "<PAD>"], "space")
    batch = Batch(torch.tensor([[0, 1, 2]]), torch.tensor([3]), torch.tensor([0]))
    torch.testing.assert_close(loaded.model(batch), model(batch), atol=1e-3, rtol=0)
    assert not loaded.model.training


def test_settings_that_are_not_the_defaults_come_back(tmp_path):
    saved(tmp_path / "m.ckpt", filter_sizes=(2, 5), pad_size=7, num_filters=3)
    config = checkpoint.load(tmp_path / "m.ckpt").config
    assert (config.filter_sizes, config.pad_size, config.num_filters) == ((2, 5), 7, 3)


def test_fasttexts_checkpoint_stays_under_100_mb(tmp_path):
    vocabulary = Vocabulary([chr(0x4E00 + i) for i in range(10000)])
    module = model_module("FastText")
    config = module.Config().fit(10, len(vocabulary))
    checkpoint.save(tmp_path / "m.ckpt", "FastText", config, list("abcdefghij"), vocabulary, module.Model(config), {})
    assert (tmp_path / "m.ckpt").stat().st_size < 100e6


def test_an_earlier_toolkits_weights_are_refused_with_the_reason(tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "old.ckpt")
    with pytest.raises(UserError, match="holds weights alone, as the earlier toolkit saved them: classes"):
        checkpoint.load(tmp_path / "old.ckpt")


@pytest.mark.parametrize("part", ["config", "weights", "vocabulary"])
def test_a_checkpoint_of_another_version_is_told(tmp_path, part):
    saved(tmp_path / "m.ckpt", embed=10)
    content = torch.load(tmp_path / "m.ckpt", weights_only=True)
    content[part]["no_longer_there"] = torch.zeros(1)
    torch.save(content, tmp_path / "m.ckpt")
    with pytest.raises(UserError, match=r"m\.ckpt does not fit this version of TextCNN"):
        checkpoint.load(tmp_path / "m.ckpt")


def test_a_state_to_resume_from_is_no_checkpoint(tmp_path):
    resume.State(tmp_path / "m.resume", {}, torch.device("cpu")).save({"step": 3})
    with pytest.raises(UserError, match="no checkpoint of this toolkit"):
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
