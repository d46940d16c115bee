"""Calibration: the temperature, and what a checkpoint keeps of the validation split."""

import json

import numpy as np
import pytest
import torch

from cli.console import UserError
from conftest import FIXTURES, inside, sample_rows, write_dataset
from engine import calibration, checkpoint
from engine.calibration import Calibration, calibrate_mean, sample, summary
from engine.label_calibration import MultiLabelCalibration
from engine.predictor import Predict
from engine.temperature import HIGHEST, LOWEST, best_temperature, tempered
from text.hierarchy import Hierarchy
from text.labelled import read_split

FLAT = Hierarchy("abcde")
MODELS = {"TextCNN": ("--num_epochs", 3, "--embed", 16, "--bigram_vocab", 99), "NBSVM": ()}


def drawn(rows, classes=5, seed=0):
    """Logits, (N, C), and labels drawn with their probabilities, (N,)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(rows, classes))
    return logits, (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


@pytest.mark.parametrize("logits", [np.zeros((4, 3)), np.full((4, 3), 1e30), np.eye(4)[:, :1], 1e4 * np.eye(4)])
def test_odd_logits_have_a_temperature(logits):
    found = Calibration.fit(torch.from_numpy(logits), torch.zeros(4, dtype=torch.int64), FLAT)
    assert LOWEST <= found.temperature <= HIGHEST
    content = {"calibration": found._asdict(), "classes": ["类"] * logits.shape[1]}
    assert Calibration.of("m.ckpt", content).temperature == found.temperature


def test_a_hierarchy_is_kept_with_the_results_of_its_nodes():
    logits, labels = drawn(60)
    tree = Hierarchy(["a/b", "a/c", "a", "d/e", "d/f"], True)
    found = Calibration.fit(torch.from_numpy(logits), torch.from_numpy(labels), tree)
    nodes, sums = tree.descend(found.probabilities(torch.from_numpy(logits)).numpy())
    assert found.sums.numpy() == pytest.approx(sums, abs=1e-6)
    assert found.agreeing.tolist() == tree.agreeing(nodes, labels).tolist()
    content = {"classes": tree.classes, "calibration": found._asdict()}
    assert Calibration.of("m.ckpt", content).hierarchical
    assert Calibration.fit(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64), tree).hierarchical
    earlier = {name: value for name, value in found._asdict().items() if name not in ("sums", "agreeing")}
    assert not Calibration.of("m.ckpt", content | {"calibration": earlier}).hierarchical


@pytest.mark.parametrize(
    "changes",
    [
        {"sums": torch.zeros(60)},
        {"sums": torch.zeros(59, 2)},
        {"sums": torch.full((60, 2), 2.0)},
        {"sums": torch.tensor([[0.5, 0.6]] * 60)},
        {"agreeing": torch.zeros(1, dtype=torch.int32)},
        {"agreeing": torch.zeros(60)},
        {"agreeing": None},
    ],
)
def test_wrong_results_of_nodes_are_a_line(changes):
    logits, labels = drawn(60)
    tree = Hierarchy(["a/b", "a/c", "a", "d/e", "d/f"], True)
    found = Calibration.fit(torch.from_numpy(logits), torch.from_numpy(labels), tree)
    content = {"classes": tree.classes, "calibration": found._asdict() | changes}
    with pytest.raises(UserError, match=r"m.ckpt: its calibration is not valid \("):
        Calibration.of("m.ckpt", content)


def test_the_calibration_of_an_ensemble_is_that_of_its_mean():
    logits, labels = drawn(2000)
    mean = torch.from_numpy(3 * logits).softmax(dim=1).numpy()
    mean[5] = 0  # a text without tokens
    found = calibrate_mean(mean, labels, FLAT)
    assert len(found.labels) == 1999
    assert found.temperature == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    "found", [Calibration(2.5), MultiLabelCalibration(torch.tensor([2.5, 0.5, 1.0]), torch.full((3,), 0.5))]
)
def test_logits_are_the_inverse_of_probabilities(found):
    probabilities = found.probabilities(torch.from_numpy(drawn(40)[0][:, :3])).numpy()
    assert found.probabilities(found.logits(probabilities)).numpy() == pytest.approx(probabilities, abs=1e-5)


def test_many_rows_are_sampled(monkeypatch):
    monkeypatch.setattr(calibration, "NUMBERS", 100)
    read = np.arange(500) % 2
    found = sample(read, 5)
    assert len(found) == 20
    assert read[found].all()
    assert (np.diff(found) > 0).all()
    assert np.array_equal(sample(read[:30], 5), np.arange(1, 30, 2))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A dataset whose validation labels are wrong in a third of the rows, with the checkpoints of `MODELS`."""
    dev = [(text, (label + (i % 3 == 0)) % 3) for i, (text, label) in enumerate(sample_rows("dev", {0, 1, 2}, 60))]
    splits = sample_rows("train", {0, 1, 2}, 200), dev, sample_rows("test", {0, 1, 2}, 60)
    dataset = write_dataset(tmp_path_factory.mktemp("calibrated"), ["财经", "房产", "股票"], *splits)
    for model, flags in MODELS.items():
        inside("run.py", "--model", model, "--dataset", dataset, "--device", "cpu", *flags)
    return dataset


@pytest.mark.parametrize("model", MODELS)
def test_training_calibrates_the_checkpoint(calibrated, model):
    predictor = Predict(model, dataset=calibrated, device="cpu")
    texts, labels = read_split(calibrated, "dev")
    found = predictor.saved.calibration
    probabilities = torch.from_numpy(predictor.predict_proba(texts))
    predicted, confidences, of_labels, _ = summary(probabilities, torch.from_numpy(labels)).numpy()
    assert found.temperature != 1
    assert found.labels.tolist() == labels.tolist()
    assert found.predicted.tolist() == predicted.tolist()
    assert found.answers[1].tolist() == (predicted == labels).tolist()
    assert found.confidences.numpy() == pytest.approx(confidences, abs=1e-5)
    assert found.of_labels.numpy() == pytest.approx(of_labels, abs=1e-5)
    logits = probabilities.double().log().numpy()
    assert best_temperature(logits, labels) == pytest.approx(1, abs=0.01)  # which it has already
    (log,) = (calibrated / "log" / model).iterdir()
    metrics = json.loads((log / "metrics.json").read_text(encoding="utf-8"))["calibration"]
    assert metrics["temperature"] == found.temperature
    assert metrics["before"] != metrics["after"]
    rows = (log / "predictions.tsv").read_text(encoding="utf-8").splitlines()[1:]
    again = predictor.predict_proba([row.split("\t")[0] for row in rows]).max(axis=1)
    assert again == pytest.approx([float(row.split("\t")[3]) for row in rows], abs=1e-4)


def test_an_ensemble_is_calibrated_on_its_mean(calibrated, tmp_path):
    files = [checkpoint.path_of(calibrated, model) for model in MODELS]
    path = tmp_path / "e.ckpt"
    output = ("--checkpoint", path, "--output", tmp_path / "log", "--device", "cpu")
    inside("evaluation.ensemble", "--members", *files, "--dataset", calibrated, *output)
    saved = checkpoint.load(path)
    assert saved.calibration.temperature != 1
    texts, labels = read_split(calibrated, "dev")
    members = [Predict(checkpoint=file, device="cpu").predict_proba(texts) for file in files]
    shares = dict(zip(MODELS, [0.0] * len(MODELS), strict=True)) | {
        member.name: share for member, share in zip(saved.members, saved.shares, strict=True)
    }
    mean = sum(shares[name] * probabilities for name, probabilities in zip(MODELS, members, strict=True))
    assert best_temperature(np.log(mean), labels) == pytest.approx(saved.calibration.temperature, rel=1e-2)
    expected = tempered(mean, saved.calibration.temperature)
    assert Predict(checkpoint=path, device="cpu").predict_proba(texts) == pytest.approx(expected, abs=1e-5)
    assert (tmp_path / "log" / "reliability.png").exists()


def test_an_earlier_checkpoint_has_the_temperature_1():
    saved = checkpoint.load(FIXTURES / "TextCNN.ckpt")
    assert saved.calibration.temperature == 1
    assert not len(saved.calibration.labels)


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": float("nan")},
        {"temperature": 0.0},
        {"temperature": "1"},
        {"temperature": torch.ones(1)},
        {"labels": torch.zeros(3, dtype=torch.int32)},
        {"labels": [0, 1]},
        {"confidences": None},
        {"more": torch.zeros(1)},
    ],
)
def test_a_changed_calibration_is_a_line(calibrated, tmp_path, changes):
    content = checkpoint.read(checkpoint.path_of(calibrated, "NBSVM"))
    content["calibration"] |= changes
    checkpoint.write(tmp_path / "m.ckpt", content)
    with pytest.raises(UserError, match=r"m\.ckpt: its calibration is not valid .*; train again") as error:
        checkpoint.load(tmp_path / "m.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["confidences", "of_labels", "predicted", "labels"])
def test_numbers_of_a_calibration_that_are_out_of_range_are_a_line(calibrated, tmp_path, name):
    content = checkpoint.read(checkpoint.path_of(calibrated, "NBSVM"))
    content["calibration"][name][0] = 7
    checkpoint.write(tmp_path / "m.ckpt", content)
    with pytest.raises(UserError, match="its calibration is not valid"):
        checkpoint.load(tmp_path / "m.ckpt")
