"""An encoder's files: what is missing, what they name, and what they describe, before any weight is read."""

import json
import shutil

import pytest

from cli.console import UserError
from conftest import CLASSES
from models import model_module
from models.base import DataSpec
from models.encoder_files import fits_weights, read_config, weights_file


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("bert_pretrain", "bert"),
        ("ERNIE_pretrain", "ernie"),
        ("chinese-macbert-base", "hfl/chinese-macbert-base"),
        ("ernie-3.0-base-zh", "nghuyong/ernie-3.0-base-zh"),
    ],
)
def test_the_command_fetches_what_is_missing(directory, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"{directory}: no such directory; .*download.py {name} --output {directory}$"):
        read_config(directory)


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "/outside.safetensors", "a\\b.safetensors", "gone.safetensors"]
)
def test_an_index_names_files_beside_it(encoder, tmp_path, name):
    copy = shutil.copytree(encoder, tmp_path / "copy")
    (copy / "model.safetensors").rename(tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"embeddings.LayerNorm.bias": name}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UserError, match=r"index\.json names .*(expected files in the same directory|not beside it)"):
        weights_file(copy)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 10**6}, "config.json does not have num_hidden_layers, or not in range"),
        ({"num_hidden_layers": 999}, "config.json describes a larger model than its weights are for"),
        ({"vocab_size": 9 * 10**6}, "config.json describes a larger model than its weights are for"),
        ({"hidden_size": True}, "config.json does not have hidden_size"),
    ],
)
def test_sizes_are_compared_with_the_weights_first(encoder, tmp_path, config, message):
    copy = shutil.copytree(encoder, tmp_path / "copy")
    content = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(content | config | {"intermediate_size": 5000}), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        found = read_config(copy)
        with fits_weights(copy):
            model_module("bert").Model(model_module("bert").Config(), DataSpec(CLASSES, found["vocab_size"], found))


def test_a_config_nested_too_deeply_is_a_line(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.json: not JSON"):
        read_config(tmp_path)
