"""`compare.py` as a user runs it: what it prints and leaves, what it does not do twice, what it refuses."""

import json
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

import compare
from cli.console import UserError
from compared import MODELS, RUNS, SMALL, state
from conftest import ENVIRONMENT, assert_mistaken, command, compare_here, here, script
from engine.predictor import Predict
from evaluation import job
from evaluation.job import rows_seen
from evaluation.leaderboard import median_run
from evaluation.significance import mcnemar
from text.labelled import read_split


def test_what_it_prints_and_writes(compared):
    dataset, first, out, err = compared
    output = dataset / "leaderboard"
    pattern = r"[\d.]+(?= ms)|[\d.]+ ?%|\d+:\d\d:\d\d"
    lines = [re.sub(pattern, "N", re.sub(" +", " ", line)) for line in first.stdout.splitlines()]
    assert lines == ["TextCNN seed 1: Test Acc: N, Macro F1: N, Time: N", "TextCNN N, one headline N ms, Pareto front"]
    assert first.stderr.splitlines() == [
        f"TextCNN, seed 1: run 1 of 1, its output is in {output / 'TextCNN' / 'seed-1' / 'run.log'}",
        "TextCNN, speed of prediction",
        f"Leaderboard: {output / 'leaderboard.md'}, beside it .json and .png",
    ]
    lines = [re.sub(pattern, "N", re.sub(" +", " ", line)) for line in out.splitlines()]
    told = [f"{model} seed {seed}: Test Acc: N, Macro F1: N, Time: N" for model, seed in RUNS]
    assert lines[:4] == [told[0] + " (trained before)", *told[1:]]
    assert {line.split()[0] for line in lines[4:]} == {"TextCNN", "FastText"}
    assert f"TextCNN, seed 2: run 2 of 4, its output is in {output / 'TextCNN' / 'seed-2' / 'run.log'}" in err
    assert {path.name for path in output.iterdir() if path.is_file()} == {
        f"leaderboard.{s}" for s in ("md", "json", "png")
    }
    data = json.loads((output / "leaderboard.json").read_text(encoding="utf-8"))
    assert data["dataset"]["rows"] == {"train": 90, "dev": 30, "test": 30}
    assert data["command"].endswith("-- --num_epochs 1 --embed 8 --batch_size 40 --device cpu")
    for row in data["rows"]:
        assert row["accuracy"]["values"] == [run["accuracy"] for run in row["runs"]]
        assert row["speed"]["rows_per_second"] > 100
        assert row["speed"]["parameters"] > 1000
        for run in row["runs"]:
            assert run["train_rows"] == 90
            directory = output / row["model"] / f"seed-{run['seed']}"
            assert f"--seed {run['seed']} --output {directory}" in run["command"]
            (metrics,) = (directory / "log").rglob("metrics.json")
            metrics = json.loads(metrics.read_text(encoding="utf-8"))
            assert metrics["fingerprint"]["seed"] == run["seed"]
            assert [metrics["test"][key] for key in ("accuracy", "macro_f1")] == [run["accuracy"], run["macro_f1"]]
            assert "Test Acc" in (directory / "run.log").read_text(encoding="utf-8")
    page = (output / "leaderboard.md").read_text(encoding="utf-8")
    assert [line.split()[1] for line in page.splitlines() if line.startswith("| ")][2:] == [
        row["model"] for row in data["rows"]
    ]


def test_the_p_value_is_that_of_what_the_checkpoints_predict(compared):
    dataset = compared[0]
    texts, labels = read_split(dataset, "test")
    rows = json.loads((dataset / "leaderboard" / "leaderboard.json").read_text(encoding="utf-8"))["rows"]
    right = []
    for row in rows:
        directory = dataset / "leaderboard" / row["model"] / f"seed-{median_run(row['runs'])['seed']}"
        predictor = Predict(row["model"], dataset=directory, device="cpu")
        right.append(predictor.predict_proba(texts).argmax(axis=1) == labels)
    assert rows[0]["p"] is None
    assert rows[1]["p"] == rows[1]["p_holm"] == pytest.approx(mcnemar(*right))


def test_the_same_again_trains_nothing(compared):
    dataset, _, out, _ = compared
    before = state(dataset / "leaderboard")
    done = script("compare.py", *MODELS, "--dataset", dataset, *SMALL)
    assert [line.removesuffix(" (trained before)") for line in done.stdout.splitlines()] == [
        line.removesuffix(" (trained before)") for line in out.splitlines()
    ]
    assert done.stderr == f"Leaderboard: {dataset / 'leaderboard' / 'leaderboard.md'}, beside it .json and .png\n"
    assert state(dataset / "leaderboard") == before


def test_other_data_is_trained_anew_beside_a_baseline(copied, monkeypatch, capsys):
    with open(copied / "data" / "test.txt", "a", encoding="utf-8") as file:
        file.write("银行存款利率\t0\n")
    before = state(copied / "leaderboard" / "FastText" / "seed-1")
    monkeypatch.setitem(sys.modules, "fasttext", None)
    others = ("--baselines", "svm", "fasttext")
    compare_here("--models", "FastText", "--seeds", 1, *others, "--dataset", copied, *SMALL)
    printed = capsys.readouterr()
    assert "FastText, seed 1: the run in seed-1 had other test.txt; it is trained again" in printed.err
    assert "fasttext: the package fasttext is not installed (pip install fasttext); it has no row" in printed.err
    assert "trained before" not in printed.out
    aside = state(copied / "leaderboard" / "FastText" / "seed-1.before")
    assert list(aside.values()) == list(before.values())
    data = json.loads((copied / "leaderboard" / "leaderboard.json").read_text(encoding="utf-8"))
    assert {row["model"]: row["kind"] for row in data["rows"]} == {"FastText": "network", "svm": "baseline"}
    assert data["dataset"]["rows"]["test"] == 31
    assert data["rows"][0]["runs"][0]["peak_memory_mb"] is None or data["rows"][0]["runs"][0]["peak_memory_mb"] > 50


def test_a_run_that_fails_is_told_and_costs_no_finished_one(copied, monkeypatch, capsys):
    before = state(copied / "leaderboard" / "TextCNN" / "seed-1")
    done = script("compare.py", *MODELS, "--dataset", copied, "--", "--num_epoch", 1, check=False)
    log = copied / "leaderboard" / "TextCNN" / "seed-1" / "run.log"
    assert done.returncode == 1
    assert (
        f"TextCNN, seed 1: failed with exit status 2; the end of {log}: "
        "run.py: unrecognized arguments: --num_epoch 1 (--help lists the flags)"
    ) in done.stderr.splitlines()
    assert done.stderr.splitlines()[-1] == "Failed: TextCNN, FastText"
    monkeypatch.setattr(job, "call", None)  # nothing is trained
    here(monkeypatch, compare.main, *MODELS, "--dataset", copied, *SMALL)
    assert "had other flags; the one in seed-1.before is restored" in capsys.readouterr().err
    assert state(copied / "leaderboard" / "TextCNN" / "seed-1") == before
    assert not list(copied.rglob("seed-1.*"))


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent")
def test_an_interrupted_comparison_goes_on(tiny, tmp_path):
    arguments = ("compare.py", "--models", "TextCNN", "--seeds", 1, "--dataset", tiny, "--output", tmp_path, "--")
    arguments += ("--num_epochs", 40, "--embed", 8, "--batch_size", 8, "--eval_every", 5, "--device", "cpu")
    process = subprocess.Popen(command(*arguments), env=ENVIRONMENT, stderr=subprocess.PIPE, encoding="utf-8")
    while not (tmp_path / "TextCNN" / "seed-1" / "saved_dict" / "TextCNN.resume").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130
    assert errors.endswith("Interrupted: the same command continues\n")
    assert not (tmp_path / "leaderboard.md").exists()
    compare_here(*arguments[1:])
    log = (tmp_path / "TextCNN" / "seed-1" / "run.log").read_text(encoding="utf-8")
    steps = [int(step) for step in re.findall(r"Iter: +(\d+)", log)]
    assert steps.count(5) == 1  # not from the beginning
    assert steps[-1] == 40 * 12
    assert (tmp_path / "leaderboard.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "TextCN"), "argument --models: invalid choice: 'TextCN'"),
        (("--seeds", "0"), "argument --seeds: 0 is out of range, expected at least 1"),
        (("--baselines", "knn"), "argument --baselines: invalid choice: 'knn'"),
        (("--robustness", "1.1"), "argument --robustness: 1.1 is out of range, expected above 0 and at most 1"),
        (("--robustness", "0"), "argument --robustness: 0 is out of range, expected above 0 and at most 1"),
        (("--", "--seed", "3"), "--seed after --: it is set by compare.py"),
        (("--", "--output=x"), "--output after --: it is set by compare.py"),
        (("--num_epochs", "3"), "unrecognized arguments: --num_epochs 3"),
    ],
)
def test_mistaken_flags(arguments, message, monkeypatch, capsys):
    assert_mistaken(monkeypatch, capsys, compare.main, arguments, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "nowhere"), "--dataset nowhere: no such directory"),
        (("--models", "--dataset", "{tiny}"), "nothing to compare"),
        (("--dataset", "{tiny}", "--", "--embedding", "pre_trained"), "has no embedding_"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_trained(tiny, arguments, message, monkeypatch):
    with pytest.raises(UserError, match=message):
        here(monkeypatch, compare.main, *(argument.format(tiny=tiny) for argument in arguments))


@pytest.mark.parametrize(("rows", "batch", "step", "seen"), [(90, 40, 3, 90), (90, 40, 7, 220), (8, 4, 6, 24)])
def test_the_rows_that_a_training_took(rows, batch, step, seen):
    assert rows_seen({"fingerprint": {"batch_size": batch}, "history": [{"step": step}]}, rows) == seen


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is sent")
def test_a_training_ends_with_the_comparison(tiny, tmp_path):
    arguments = ("compare.py", "--models", "TextCNN", "--seeds", 1, "--dataset", tiny, "--output", tmp_path, "--")
    arguments += ("--num_epochs", 2000, "--embed", 8, "--batch_size", 8, "--device", "cpu")
    process = subprocess.Popen(command(*arguments), env=ENVIRONMENT, stderr=subprocess.DEVNULL)
    lock = tmp_path / "TextCNN" / "seed-1" / "saved_dict" / "TextCNN.lock"
    while not (lock.exists() and lock.read_text(encoding="utf-8")):
        assert process.poll() is None
        time.sleep(0.01)
    training = psutil.Process(int(re.search(r"process (\d+)", lock.read_text(encoding="utf-8"))[1]))
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 143
    assert not training.is_running()


def test_a_model_that_fails_costs_no_other(copied, monkeypatch, capsys):
    def call(command, log, what):
        raise UserError(f"{what}: failed with exit status 2")

    monkeypatch.setattr(job, "call", call)
    with pytest.raises(SystemExit) as stop:
        here(
            monkeypatch,
            compare.main,
            "--models",
            "TextCNN",
            "DPCNN",
            "FastText",
            "--seeds",
            2,
            "--dataset",
            copied,
            *SMALL,
        )
    assert stop.value.code == 1
    data = json.loads((copied / "leaderboard" / "leaderboard.json").read_text(encoding="utf-8"))
    assert {row["model"] for row in data["rows"]} == {"TextCNN", "FastText"}
    assert data["failures"] == {"DPCNN": "DPCNN, seed 1: failed with exit status 2"}
    assert "DPCNN (DPCNN, seed 1: failed with exit status 2)" in (copied / "leaderboard" / "leaderboard.md").read_text(
        "utf-8"
    )
    assert capsys.readouterr().err.endswith("Failed: DPCNN\n")
