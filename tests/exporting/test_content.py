import json

import numpy as np
import pytest

from conftest import sample_rows
from exporting import content, features
from exporting.content import bytes_of, key_arrays
from exporting.graph import graph_of
from exporting.pruning import telling
from saved_models import ODD, exported, saved_model


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_keys_are_stored(quantize, count):
    keys = np.unique(np.random.default_rng(2).integers(0, 1 << 40, count))
    bits, arrays = key_arrays(keys, quantize)
    found = features.NGrams({"longest": 1, "words": 0, "kind": "NBSVM", "key_bits": bits}, arrays).keys
    assert found.tolist() == [*(keys >> 40 - bits).tolist(), 1 << bits]
    assert bits == 40 or arrays["low"].nbytes + arrays["high"].nbytes < 2.2 * (count + 8)


def test_numbers_are_stored_as_bytes():
    values = np.array([0, 1, 255, 256, 70000])
    planes = bytes_of(values)
    assert planes.shape == (3, 5)
    assert sum(plane.astype(int) << 8 * i for i, plane in enumerate(planes)).tolist() == values.tolist()


def test_the_directory_has_what_the_model_needs(tmp_path):
    predictor = saved_model("SVM", tmp_path, segmenter="jieba")
    found = exported(predictor, tmp_path / "onnx")
    names = ["README.md", "features.py", "model.json", "model.onnx", "n_grams.npz", "outputs.py", "predict_onnx.py"]
    assert sorted(path.name for path in found.path.iterdir()) == names
    readme = (found.path / "README.md").read_text(encoding="utf-8")
    assert "pip install numpy onnxruntime rjieba\n" in readme
    fields = json.loads((found.path / "model.json").read_text(encoding="utf-8"))
    assert fields["versions"].keys() == {"python", "torch", "numpy", "onnx", "onnxruntime"}
    assert fields["classes"] == predictor.classes
    assert str(tmp_path) not in json.dumps(fields) + readme


def test_int8_is_small_and_predicts_nearly_the_same(tmp_path, monkeypatch):
    predictor = saved_model("TextCNN", tmp_path, num_filters=64, embed=64)
    graph = graph_of(predictor.saved)  # which takes seconds
    monkeypatch.setattr(content, "graph_of", lambda member: graph)
    texts = [text for text, _ in sample_rows("train", {0, 1, 2}, 120)]
    sizes, found = [], []
    for quantize in (None, "int8"):
        own = exported(predictor, tmp_path / f"onnx_{quantize}", quantize, texts)
        sizes.append(sum(path.stat().st_size for path in own.path.iterdir() if path.suffix in (".onnx", ".npz")))
        found.append(own.predict_proba(ODD))
    assert sizes[1] < 0.4 * sizes[0]
    assert np.abs(found[0] - found[1]).mean() < 0.01


def test_n_grams_that_say_nearly_nothing_are_left_out(tmp_path):
    member = saved_model("TextCNN", tmp_path).saved
    texts = [text for text, _ in sample_rows("train", {0, 1, 2}, 120)]
    assert telling(member, texts).mean() > 0.9
    member.model.roots.data[3] = 0.01  # those of four characters
    kept = telling(member, texts)
    assert 0.2 < kept.mean() < 0.9
    assert telling(member, texts[:30]).sum() > kept.sum()  # the others may be of any length
