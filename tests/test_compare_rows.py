"""`compare.py`: rows of other kinds than networks, and accuracy by number of training rows."""

import json
import re
import sys

import pytest

import compare
from cli.console import UserError
from compared import SMALL, state
from conftest import compare_here, here
from engine.predictor import Predict
from evaluation import job
from evaluation.comparison import Comparison
from evaluation.significance import mcnemar
from text.labelled import read_split


def test_an_encoder_is_trained_by_its_own_script_and_its_weights_are_part_of_the_plan(
    tiny, encoder, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["compare.py", "--models", "bert", "--", "--bert_path", str(encoder)])
    args = compare.parse_args()
    ((first, *_),) = Comparison(tiny, tmp_path, args.flags).jobs(args.models, 1, args.known)
    assert first.kind == "encoder"
    assert first.command[:3] == ["pretrain_run.py", "--model", "bert"]
    assert re.fullmatch("[0-9a-f]{16}", first.plan["encoder"])


def test_an_ensemble_of_the_runs_is_a_row_and_a_checkpoint(copied, capsys):
    output = copied / "leaderboard"
    models = ("--models", "TextCNN", "FastText", "SVM", "--seeds", 2, "--ensemble")
    compare_here(*models, "--dataset", copied, *SMALL)
    first = capsys.readouterr()
    assert f"ensemble, seed 1: run 1 of 1, its output is in {output / 'ensemble' / 'run.log'}\n" in first.err
    data = json.loads((output / "leaderboard.json").read_text(encoding="utf-8"))
    rows = {row["model"]: row for row in data["rows"]}
    row = rows["ensemble"]
    (run,) = row["runs"]
    assert row["kind"] == "ensemble"
    assert sum(run["members"].values()) == pytest.approx(1)
    runs = {f"{name}, seed {run['seed']}": run for name, each in rows.items() for run in each["runs"]}
    assert run["members"].keys() <= runs.keys()
    assert run["train_seconds"] > sum(runs[name]["train_seconds"] for name in run["members"])
    assert run["train_rows"] == sum(runs[name]["train_rows"] for name in run["members"])
    notes = re.search(
        "- Ensemble: the weighted mean of the probabilities of (.*)\\.\n",
        (output / "leaderboard.md").read_text("utf-8"),
    )
    assert sorted(notes[1].split("; ")) == sorted(f"{name} ({share:.2f})" for name, share in run["members"].items())
    texts, labels = read_split(copied, "test")
    predictor = Predict(checkpoint=output / "ensemble.ckpt", device="cpu")
    right = predictor.predict_proba(texts).argmax(axis=1) == labels
    assert right.mean() == run["accuracy"] == row["accuracy"]["mean"]
    svm = Predict(checkpoint=output / "SVM" / "seed-1" / "saved_dict" / "SVM.ckpt", device="cpu")
    assert row["against"]["SVM"]["p"] == pytest.approx(
        mcnemar(right, svm.predict_proba(texts).argmax(axis=1) == labels)
    )
    before = state(output)
    compare_here(*models, "--dataset", copied, *SMALL)
    assert "ensemble     seed 1:" in capsys.readouterr().out
    assert state(output) == before
    compare_here("--models", "TextCNN", "--seeds", 2, "--ensemble", "--dataset", copied, *SMALL)
    data = json.loads((output / "leaderboard.json").read_text(encoding="utf-8"))
    row = next(row for row in data["rows"] if row["model"] == "ensemble")
    assert {name.split(",")[0] for name in row["runs"][0]["members"]} == {"TextCNN"}


def test_the_network_of_the_paper_is_a_row_of_its_own(copied, capsys):
    compare_here("--models", "TextCNN", "SVM", "--seeds", 1, "--paper", "--dataset", copied, *SMALL)
    assert "TextCNN (paper) seed 1" in capsys.readouterr().out
    data = json.loads((copied / "leaderboard" / "leaderboard.json").read_text(encoding="utf-8"))
    rows = {row["model"]: row for row in data["rows"]}
    assert rows.keys() == {"TextCNN", "TextCNN (paper)", "SVM"}
    (run,) = rows["TextCNN (paper)"]["runs"]
    assert run["command"].endswith("--paper --resume")
    assert run["plan"]["defaults"]["evidence"] == 0
    checkpoint = copied / "leaderboard" / "TextCNN-paper" / "seed-1" / "saved_dict" / "TextCNN.ckpt"
    assert Predict(checkpoint=checkpoint, device="cpu").saved.members[0].config.evidence == 0


def test_accuracy_by_number_of_training_rows(copied, capsys):
    output = copied / "leaderboard"
    arguments = ("--models", "TextCNN", "SVM", "--seeds", 2, "--rows", 40, 20, 90, 1000, "--dataset", copied, *SMALL)
    compare_here(*arguments)
    printed = capsys.readouterr()
    assert "--rows 1000: the training split has 90 rows, which are the last point\n" in printed.err
    assert printed.err.count("rows-20") == printed.err.count("rows-40") == 4
    points = json.loads((output / "rows.json").read_text(encoding="utf-8"))["accuracy"]
    assert {name: list(of_model) for name, of_model in points.items()} == {name: ["20", "40", "90"] for name in points}
    assert len(points["SVM"]["20"]["values"]) == 2
    lines = {name: (output / name / "data" / "train.txt").read_bytes().splitlines() for name in ("rows-20", "rows-40")}
    train = (copied / "data" / "train.txt").read_bytes().splitlines()
    assert [len(found) for found in lines.values()] == [20, 40]
    assert set(lines["rows-20"]) <= set(lines["rows-40"]) <= set(train)
    assert (output / "rows-20" / "data" / "test.txt").read_bytes() == (copied / "data" / "test.txt").read_bytes()
    page = (output / "rows.md").read_text(encoding="utf-8")
    assert "| rows | 20 | 40 | 90 |" in page
    assert (output / "rows.png").stat().st_size > 1000
    assert (output / "leaderboard.md").exists()
    compare_here(*arguments)
    assert "run 1 of" not in capsys.readouterr().err


def test_without_a_finished_run_there_are_no_parts(tiny, tmp_path, monkeypatch, capsys):
    def call(command, log, what):
        raise UserError(f"{what}: failed with exit status 2")

    monkeypatch.setattr(job, "call", call)
    with pytest.raises(SystemExit) as stop:
        flags = ("--models", "DPCNN", "--seeds", 1, "--rows", 20)
        here(monkeypatch, compare.main, *flags, "--dataset", tiny, "--output", tmp_path, *SMALL)
    assert stop.value.code == 1
    assert capsys.readouterr().err.endswith("Failed: DPCNN\n")


def test_one_run_is_no_ensemble(copied, capsys):
    compare_here("--models", "TextCNN", "--seeds", 1, "--ensemble", "--dataset", copied, *SMALL)
    assert "--ensemble: no two runs to combine\n" in capsys.readouterr().err
    assert not (copied / "leaderboard" / "ensemble.ckpt").exists()


def test_a_linear_model_is_compared_without_the_flags_that_it_does_not_have(copied, capsys):
    models = ("--models", "TextCNN", "NBSVM", "--seeds", 1)
    compare_here(*models, "--dataset", copied, *SMALL)
    printed = capsys.readouterr()
    assert "NBSVM has no --num_epochs, --embed, --batch_size: it is trained without\n" in printed.err
    assert "TextCNN      seed 1" in printed.out
    assert "(trained before)" in printed.out
    page = (copied / "leaderboard" / "leaderboard.md").read_text(encoding="utf-8")
    assert "p against NBSVM" in page
    data = json.loads((copied / "leaderboard" / "leaderboard.json").read_text(encoding="utf-8"))
    rows = {row["model"]: row for row in data["rows"]}
    assert rows["NBSVM"]["kind"] == "linear"
    assert rows["NBSVM"]["runs"][0]["train_rows"] == 90
    assert rows["NBSVM"]["runs"][0]["plan"]["flags"] == ["--device", "cpu"]
    other = next(row for row in rows.values() if row["p"] is not None)
    assert rows["TextCNN"]["against"]["NBSVM"]["p"] == other["p"]


def test_the_robustness_of_the_models_is_measured_once(copied, capsys):
    models = ("--models", "TextCNN", "SVM", "--seeds", 1, "--ensemble", "--baselines", "svm", "--dataset", copied)
    compare_here(*models, "--robustness", 0.5, 0.2, *SMALL)
    first = capsys.readouterr()
    output = copied / "leaderboard"
    found = json.loads((output / "robustness.json").read_text(encoding="utf-8"))
    assert list(found["models"]) == ["TextCNN", "SVM", "ensemble"]
    assert found["strengths"] == [0.2, 0.5]
    table = first.out[first.out.index("| change") :]
    assert table in (output / "robustness.md").read_text(encoding="utf-8")
    assert first.err.endswith(f"Robustness: {output / 'robustness.md'}, beside it .json, .tsv and .png\n")
    board = json.loads((output / "leaderboard.json").read_text(encoding="utf-8"))
    accuracies = {row["model"]: row["accuracy"]["mean"] for row in board["rows"]}
    assert found["models"]["SVM"]["clean"]["accuracy"] == pytest.approx(accuracies["SVM"])
    compare_here(*models, "--robustness", 0.5, 0.2, *SMALL)
    assert capsys.readouterr().out.endswith(table)
    assert (output / "robustness.log").read_text(encoding="utf-8").count("(measured before)") == 3


def test_a_training_on_changed_rows_is_another_one(copied, capsys):
    models = ("--models", "SVM", "--seeds", 1, "--dataset", copied)
    compare_here(*models, "--", "--device", "cpu")
    compare_here(*models, "--", "--device", "cpu", "--augment", 0.5)
    assert "SVM, seed 1: the run in seed-1 had other flags; it is trained again" in capsys.readouterr().err
    log = (copied / "leaderboard" / "SVM" / "seed-1" / "run.log").read_text(encoding="utf-8")
    assert re.search(r"--augment 0\.5: \d+ of 90 training rows are changed", log)
