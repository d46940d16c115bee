"""The model that is measured is the one that run.py trains."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.networks import built
from conftest import inside, write_dataset
from engine import checkpoint
from engine.device import Compute

COMPUTE = Compute.of(SimpleNamespace(device="cpu", amp="auto", compile=False))


@pytest.mark.parametrize(
    ("name", "most", "vectors", "options"),
    [
        ("TextCNN", 1000, True, ("--pad_size", "40")),
        ("TextCNN", 1, False, ()),
        ("DPCNN", 1000, True, ("--embed", "5")),
        ("NBSVM", 1, True, ()),
    ],
)
def test_it_is_the_model_of_run(tmp_path, monkeypatch, name, most, vectors, options):
    monkeypatch.setattr("engine.counting.MOST_CLASSES", most)
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("今天天气好", 0), ("今天天气坏", 1)] * 4)
    if vectors:
        (tmp_path / "v.txt").write_text("好 9 9 9\n坏 -9 -9 -9\n", encoding="utf-8")
        inside("utils.py", "--dataset", dataset, "--vectors", tmp_path / "v.txt")
    own = ("--embedding", "random") if "--embed" in options else ()
    inside("run.py", "--model", name, "--dataset", dataset, *options, *own, "--device", "cpu")
    trained = checkpoint.load(dataset / "saved_dict" / f"{name}.ckpt", COMPUTE.device)
    model, config, found, batches = built(name, dataset, COMPUTE, options)
    assert config == trained.config
    assert found.vocabulary.digest == trained.vocabulary.digest
    if name == "NBSVM":  # its weights are those of the solver
        return
    shapes = [{key: tensor.shape for key, tensor in each.state_dict().items()} for each in (model, trained.model)]
    assert shapes[0] == shapes[1]
    assert np.array_equal(batches.lengths, np.full(8, 5))
