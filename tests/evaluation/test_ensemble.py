"""Ensembles: which members are chosen, and a checkpoint that predicts their weighted mean."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from cli.console import UserError
from conftest import here, inside, write_dataset
from engine import checkpoint
from engine.predictor import Predict
from evaluation import ensemble
from evaluation.ensemble import select
from text.labelled import read_split

SMALL = {"TextCNN": ("--num_epochs", 2, "--embed", 16, "--word", "True"), "SVM": (), "NBSVM": ()}
TEXTS = ["央行下调存款准备金率", "北京二手房价格上涨", "", "A股三大股指收涨 券商股领跑" * 4]


def probabilities(*rows_of_members):
    """The probability of class 1 of each row, a list for each member, as (M, N, 2)."""
    ones = np.array(rows_of_members, np.float32)
    return np.stack((1 - ones, ones), axis=2)


@pytest.mark.parametrize(
    ("members", "labels", "expected"),
    [
        ([[0.9, 0.1]], [1, 0], [1]),
        ([[0.9, 0.1], [0.1, 0.9]], [1, 0], [1, 0]),  # the other one is wrong everywhere
        ([[0.1, 0.9], [0.9, 0.1]], [1, 0], [0, 1]),
        ([[0.9, 0.6], [0.4, 0.1]], [1, 0], [0.5, 0.5]),  # each is wrong in a row of which the other is certain
        ([[0.9, 0.8], [0.4, 0.1]], [1, 0], [1 / 3, 2 / 3]),  # needs the second twice
        ([[0.6, 0.4], [0.9, 0.1]], [1, 0], [0, 1]),  # equally accurate: less loss
    ],
)
def test_the_members_that_are_chosen(members, labels, expected):
    weights = select(probabilities(*members), np.array(labels))
    if expected == [0.5, 0.5]:
        mean = np.tensordot(weights, probabilities(*members), 1)
        assert (mean.argmax(axis=1) == labels).all()
        assert (weights > 0).all()
    elif expected == [1 / 3, 2 / 3]:
        assert 1 / 2 < weights[1] < 1
    else:
        assert weights.tolist() == expected


def test_the_choice_is_as_good_as_the_best_member_and_better_if_they_err_apart():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    logits = rng.normal(size=(8, 2000, 4))
    logits[:, np.arange(2000), labels] += np.linspace(0.5, 1.5, 8)[:, None]
    found = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    weights = select(found, labels)
    assert weights.sum() == pytest.approx(1)
    alone = (found.argmax(axis=2) == labels).mean(axis=1)
    assert (np.tensordot(weights, found, 1).argmax(axis=1) == labels).mean() > alone.max() + 0.05


@pytest.fixture(scope="module")
def members(tiny, tmp_path_factory):
    """Checkpoints of the tiny dataset, one with words as tokens."""
    output = tmp_path_factory.mktemp("members")
    for model, flags in SMALL.items():
        inside("run.py", "--model", model, "--dataset", tiny, "--output", output, "--device", "cpu", *flags)
    return [checkpoint.path_of(output, model) for model in SMALL]


def test_an_ensemble_predicts_the_weighted_mean_of_its_members(members, tmp_path):
    shares = [0.5, 0.3, 0.2]
    checkpoint.save_ensemble(tmp_path / "e.ckpt", members, shares, ["财经", "房产", "股票"], {"dev_accuracy": 0.5})
    predictor = Predict(checkpoint=tmp_path / "e.ckpt", device="cpu")
    found = predictor.predict_proba(TEXTS)
    alone = [Predict(checkpoint=path, device="cpu").predict_proba(TEXTS) for path in members]
    assert found == pytest.approx(np.tensordot(shares, alone, 1), abs=1e-6)
    assert found.sum(axis=1) == pytest.approx([1, 1, 0, 1])
    assert predictor.predict(TEXTS[2]) is None
    assert predictor.cut == 1  # of the network, which reads 32 tokens
    assert predictor.limit == 32
    assert [member.name for member in predictor.saved.members] == list(SMALL)
    done = inside("predict.py", "--checkpoint", tmp_path / "e.ckpt", "--device", "cpu", *TEXTS)
    assert [line.split("\t")[1] for line in done.stdout.splitlines()[1:]] == [
        label or "" for label in predictor.predict_list(TEXTS)
    ]
    assert "e.ckpt (ensemble, 3 classes)" in done.stderr
    timed = json.loads(timing_of(tmp_path / "e.ckpt", members))
    assert timed["parameters"] == sum(
        parameter.numel() for member in predictor.saved.members for parameter in member.model.parameters()
    )


def timing_of(path, members):
    from evaluation import timing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "SECONDS", 0.01)
        patch.setattr(timing, "CALLS", 2)
        patch.setattr(timing, "WARM_UP", 1)
        dataset = write_dataset(path.parent / "d", ["财经", "房产", "股票"], [("银行存款利率", 0)])
        output = path.with_name("speed.json")
        here(patch, timing.main, "--checkpoint", path, "--dataset", dataset, "--device", "cpu", "--output", output)
        return output.read_text(encoding="utf-8")


def test_the_script_writes_checkpoint_and_report(members, tiny, tmp_path, monkeypatch, capsys):
    path = tmp_path / "e.ckpt"
    flags = ("--dataset", tiny, "--checkpoint", path, "--output", tmp_path / "report", "--device", "cpu")
    here(monkeypatch, ensemble.main, "--members", *members, members[0], *flags)
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert f"Test Acc: {metrics['test']['accuracy']:>6.2%}" in printed
    saved = checkpoint.load(path)
    assert saved.shares == list(metrics["shares"].values())
    assert saved.metrics == {"dev_accuracy": metrics["dev_accuracy"]}
    texts, labels = read_split(tiny, "dev")
    found = Predict(checkpoint=path, device="cpu").predict_proba(texts).argmax(axis=1)
    assert (found == labels).mean() == pytest.approx(metrics["dev_accuracy"])
    alone = [Predict(checkpoint=file, device="cpu").predict_proba(texts).argmax(axis=1) for file in members]
    assert metrics["dev_accuracy"] >= max((one == labels).mean() for one in alone)
    rows = (tmp_path / "report" / "predictions.tsv").read_text(encoding="utf-8").splitlines()[1:]
    assert np.mean([row.split("\t")[1] == row.split("\t")[2] for row in rows]) == metrics["test"]["accuracy"]
    with pytest.raises(UserError, match=r"e\.ckpt is an ensemble already"):
        here(monkeypatch, ensemble.main, "--members", path, *flags)


def test_members_of_other_classes_are_named(members, tiny, tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好天气", 0), ("坏天气", 1)])
    inside("run.py", "--model", "SVM", "--dataset", dataset, "--device", "cpu")
    other = checkpoint.path_of(dataset, "SVM")
    with pytest.raises(UserError) as error:
        flags = ("--dataset", tiny, "--checkpoint", tmp_path / "e.ckpt", "--device", "cpu")
        here(monkeypatch, ensemble.main, "--members", members[1], other, *flags)
    names = tiny / "data" / "class.txt"
    assert str(error.value) == f"members with other classes than {names} (财经, 房产, 股票): {other} (好, 坏)"
    assert not (tmp_path / "e.ckpt").exists()


@pytest.mark.parametrize(
    ("members", "labels", "expected"),
    [
        ([[0.9, 0.1], [0.1, 0.9]], [1, 0], [1, 0]),
        ([[0.9, 0.3, 0.4], [0.4, 0.6, 0.1]], [1, 1, 0], [0.5, 0.5]),  # each has a row at the wrong place
        ([[0.6, 0.9], [0.7, 0.1]], [0, 1], [1, 0]),  # the threshold may be above 0.5
        ([[0.6, 0.4], [0.9, 0.1]], [1, 0], [0, 1]),  # equal F1: less loss
    ],
)
def test_members_are_chosen_by_the_macro_f1_of_any_number_of_labels(members, labels, expected):
    found = np.repeat(np.array(members, np.float32)[..., None], 2, axis=2)
    weights = select(found, np.repeat(np.array(labels, np.uint8)[:, None], 2, axis=1))
    if expected == [0.5, 0.5]:
        first, second, wrong = np.tensordot(weights, found, 1)[:, 0]
        assert min(first, second) > wrong and (weights > 0).all()
    else:
        assert weights.tolist() == expected


def test_an_ensemble_of_any_number_of_labels(several, members, tmp_path, monkeypatch, capsys):
    for model in ("SVM", "NBSVM"):
        inside("run.py", "--model", model, "--dataset", several, "--output", tmp_path, "--device", "cpu")
    path, files = tmp_path / "e.ckpt", [checkpoint.path_of(tmp_path, model) for model in ("SVM", "NBSVM")]
    flags = ("--dataset", several, "--checkpoint", path, "--output", tmp_path / "report", "--device", "cpu")
    here(monkeypatch, ensemble.main, "--members", *files, *flags)
    printed = capsys.readouterr().out
    content = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert f"Val F1: {content['dev_macro_f1']:>6.2%}" in printed
    assert f"Test Micro F1: {content['test']['micro_f1']:>6.2%}" in printed
    saved = checkpoint.load(path)
    assert saved.multi_label and saved.metrics == {"dev_macro_f1": content["dev_macro_f1"]}
    assert content["calibration"]["temperatures"] == saved.calibration.temperatures.tolist()
    predictor, (texts, labels) = Predict(checkpoint=path, device="cpu"), read_split(several, "dev")
    shares = dict(zip([member.name for member in saved.members], saved.shares, strict=True))
    alone = {name: Predict(name, tmp_path, device="cpu").predict_proba(texts) for name in shares}
    mean = sum(share * alone[name] for name, share in shares.items())
    assert predictor.predict_proba(texts) == pytest.approx(saved.calibration.of_mean(mean), abs=1e-6)
    predicted = predictor.saved.calibration.predicted(predictor.predict_proba(texts))
    assert f1_score(labels, predicted, average="macro") == pytest.approx(content["dev_macro_f1"])
    assert predictor.predict_proba([""]).tolist() == [[0, 0, 0]] and predictor.predict("") == []
    rows = [line.split("\t") for line in (tmp_path / "report" / "predictions.tsv").read_text("utf-8").splitlines()[1:]]
    assert predictor.predict_list([row[0] for row in rows]) == [list(filter(None, row[2].split(","))) for row in rows]
    assert (tmp_path / "report" / "confusion_matrix.png").exists()
    with pytest.raises(
        UserError, match=r"SVM\.ckpt predicts one label a row, but rows in .* any number of labels; use"
    ):
        here(monkeypatch, ensemble.main, "--members", members[1], *flags)
    content = checkpoint.read(path)
    checkpoint.write(path, {name: value for name, value in content.items() if name != "calibration"})
    with pytest.raises(UserError, match="is an ensemble whose members do not fit each other"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"shares": [0.5, 0.2]},
        {"shares": [1.5, -0.5]},
        {"shares": ["a", "b"]},
        {"shares": [1.0]},
        {"classes": ["甲", "乙", "丙"]},
        {"members": [3, 4]},
        {"members": []},
    ],
)
def test_a_changed_ensemble_is_a_line(members, tmp_path, fields):
    path = tmp_path / "e.ckpt"
    checkpoint.save_ensemble(path, members[:2], [0.5, 0.5], ["财经", "房产", "股票"], {})
    content = torch.load(path, weights_only=True)
    del content["digest"]
    torch.save(content | fields, path)
    with pytest.raises(
        UserError, match=r"e\.ckpt (is an ensemble whose members do not fit|holds no checkpoint)"
    ) as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)
