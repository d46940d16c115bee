import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cli.console import UserError
from conftest import sample_rows
from engine.batches import Batches
from engine.calibration import Calibration
from engine.checkpoint import Classifier, Ensemble
from engine.counting import count
from engine.label_calibration import MultiLabelCalibration
from exporting.safetensors_format import save_safetensors
from models import LINEAR, model_module
from models.base import DataSpec
from models.evidence import with_evidence
from models.tables import keys_of
from text.vocabulary import Vocabulary

NAMES = ["财经", "房产", "股票"]
SETTINGS = {"TextCNN": {"embed": 8, "num_filters": 4}, "FastText": {"embed": 8, "n_gram_vocab": 50}, "SVM": {}}


def classifier_of(name):
    """A Classifier with random weights. FastText has several labels a row."""
    rows = sample_rows("train", {0, 1, 2}, 60)
    labels = np.array([label for _, label in rows])
    calibration = Calibration(1.7)
    if name == "FastText":
        labels, calibration = np.eye(3, dtype=np.int64)[labels], MultiLabelCalibration.usual(3)
    texts = [text for text, _ in rows]
    vocabulary = Vocabulary(sorted(set("".join(texts))), marks_words=True, aliases="房戶")
    module = model_module(name)
    smoothing = {} if name in LINEAR else {"smoothing": 0.1}
    config = module.Config(pad_size=20, **smoothing, **SETTINGS[name])
    batches = Batches(vocabulary.encode_texts(texts), labels, vocabulary, config.truncation)
    counts = count(batches, 3, 2 if name in LINEAR else config.evidence, words=config.words)
    model = module.Model(config, DataSpec(3, len(vocabulary)))
    if name in LINEAR:
        model.build(counts.dictionary()[0])
        model.table.weight.data[:-1].normal_()
    else:
        model = with_evidence(model, config, counts)
    return Classifier(name, config, NAMES, vocabulary, None, model.eval(), {}, calibration)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def run_readme(directory):
    """What the code in a directory's README.md prints."""
    code = (directory / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    command = [sys.executable, "-X", "utf8", "-c", code]
    return subprocess.run(command, cwd=directory, capture_output=True, encoding="utf-8", check=True).stdout


@pytest.mark.parametrize("name", ["TextCNN", "FastText", "SVM"])
def test_the_files_of_a_model(tmp_path, name):
    saved = classifier_of(name)
    save_safetensors(saved, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    expected = saved.model.state_dict()
    assert {key for key in weights if not key.startswith("n_grams.")} == set(expected)
    assert all(torch.equal(weights[key], tensor) for key, tensor in expected.items())
    config, vocabulary = read(tmp_path / "config.json"), read(tmp_path / "vocabulary.json")
    assert (config["model"], config["classes"], config["multi_label"]) == (name, saved.classes, name == "FastText")
    assert config["config"]["pad_size"] == saved.config.pad_size
    assert config["num_tokens"] == len(vocabulary["tokens"])
    assert vocabulary["tokens"][vocabulary["unk"]] == "<UNK>" and vocabulary["aliases"] == "房戶"
    assert len(config["thresholds"]) == (len(saved.classes) if saved.multi_label else 0)


def test_the_code_in_the_readme_works(tmp_path):
    save_safetensors(classifier_of("SVM"), tmp_path)
    assert run_readme(tmp_path).startswith("['财经', '房产', '股票'] ")


@pytest.mark.parametrize("name", ["TextCNN", "FastText", "SVM"])
def test_n_grams_are_found_by_their_keys(tmp_path, name):
    saved = classifier_of(name)
    save_safetensors(saved, tmp_path)
    tensors, n_grams = load_file(tmp_path / "model.safetensors"), read(tmp_path / "config.json")["n_grams"]
    rows = saved.vocabulary.encode_texts([sample_rows("train", {1}, 1)[0][0]])
    batch = Batches(rows, None, saved.vocabulary, saved.config.truncation).whole(np.array([0]))
    keys = keys_of(batch.tokens, n_grams["longest"], None, batch.word_ends, n_grams["words"])
    known = tensors["n_grams.keys"]
    index = torch.searchsorted(known, keys).clamp(max=len(known) - 1)
    is_known = known[index] == keys
    if name == "SVM":
        assert torch.equal(is_known, saved.model.find(keys) > 0)
        return
    counts = tensors["n_grams.counts"][tensors["n_grams.rows"][index] * is_known].float()
    assert counts.sum() > 0
    assert torch.equal(counts, saved.model.count(batch))


def test_an_ensemble_is_a_directory_for_each_member(tmp_path):
    members = [classifier_of(name) for name in ("TextCNN", "SVM")]
    save_safetensors(Ensemble(NAMES, members, [0.25, 0.75], {}), tmp_path / "saved")
    found = read(tmp_path / "saved" / "ensemble.json")
    assert found["members"] == [{"directory": "1_TextCNN", "share": 0.25}, {"directory": "2_SVM", "share": 0.75}]
    assert (found["classes"], found["temperatures"]) == (NAMES, [1.0])
    assert read(tmp_path / "saved" / "2_SVM" / "config.json")["model"] == "SVM"
    assert "1_TextCNN" in run_readme(tmp_path / "saved")


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be written"):
        save_safetensors(classifier_of("SVM"), tmp_path / "file")
