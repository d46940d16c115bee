"""`tune.py` as a user runs it: what it prints and leaves, how it ends and continues, and `--tuned`."""

import contextlib
import importlib
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

import compare
import tune
from cli.console import UserError
from conftest import ENVIRONMENT, assert_mistaken, command, here, inside, script
from engine import tuned
from engine.checkpoint import read, write
from engine.predictor import Predict
from evaluation import search
from evaluation.comparison import Comparison

SMALL = ("--", "--num_epochs", 2, "--embed", 8, "--n_gram_vocab", 99, "--device", "cpu")


def tune_here(*arguments):
    """Calls `tune.main` with its trainings in this process too, which saves the seconds that each takes to load."""

    def call(command, log, what, watch):
        with open(log, "a", encoding="utf-8") as file, contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            here(patch, importlib.import_module(command[0].removesuffix(".py")).main, *command[1:])
        watch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "call", call)
        return inside("tune.py", *arguments)


@pytest.fixture(scope="module")
def searched(tiny, tmp_path_factory):
    """The tiny dataset with the search for FastText's flags, of three trials, and what was printed."""
    dataset = shutil.copytree(tiny, tmp_path_factory.mktemp("searched") / "tiny")
    return dataset, tune_here("--model", "FastText", "--trials", 3, "--dataset", dataset, *SMALL)


def test_what_it_prints_and_leaves(searched):
    dataset, done = searched
    *trials, last = done.stdout.splitlines()
    numbers = [re.match(r"Trial +(\d):  Val Acc: [ \d.]{5}%,  Time: 0:00:\d\d,  Size: ", line)[1] for line in trials]
    assert numbers == ["1", "2", "3"]
    assert ",  default flags" in trials[0]
    accuracies = [float(re.search(r"([\d.]+)%", line)[1]) for line in trials]
    best = accuracies.index(max(accuracies)) + 1
    directory = dataset / "tune" / "FastText"
    message = f"Best: trial {best}, validation accuracy {max(accuracies):.2f}% (default flags: {accuracies[0]:.2f}%)"
    assert message in done.stderr
    assert "Test Acc" not in done.stdout + done.stderr
    saved = json.loads((dataset / "tuned" / "FastText.json").read_text(encoding="utf-8"))
    assert saved["dev_accuracy"] == pytest.approx(max(accuracies) / 100)
    assert saved["flags"][:6] == list(map(str, SMALL[1:7]))  # but not --device
    assert last == shlex.join(["python", "run.py", "--model", "FastText", "--dataset", str(dataset), *saved["flags"]])
    checkpoint = dataset / "saved_dict" / "FastText.ckpt"
    assert f"Best checkpoint: {checkpoint}, copied from {directory / f'trial-{best}'}" in done.stderr
    assert read(checkpoint)["metrics"]["dev_accuracy"] == pytest.approx(max(accuracies) / 100, abs=1e-4)
    assert Predict("FastText", dataset=dataset, device="cpu").predict("银行") in ("财经", "房产", "股票")
    assert (directory / "search.png").exists()
    assert [path.name for path in directory.rglob("*.ckpt")] == ["FastText.ckpt"]
    assert sorted(path.parent.name for path in directory.rglob("run.log")) == ["trial-1", "trial-2", "trial-3"]


def test_tuned_uses_the_flags_that_were_found_and_those_given_win(searched, tmp_path):
    dataset, _ = searched
    flags = tuned.read("FastText", [dataset])[0]
    done = inside("run.py", "--model", "FastText", "--dataset", dataset, "--output", tmp_path, "--tuned", "--embed", 4)
    assert f"Tuned flags, from {dataset / 'tuned' / 'FastText.json'}: {shlex.join(flags)}\n" in done.stderr
    config = read(tmp_path / "saved_dict" / "FastText.ckpt")["config"]
    assert (config["num_epochs"], config["n_gram_vocab"], config["embed"]) == (2, 99, 4)


def test_what_is_found_is_part_of_a_comparison(searched, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compare.py", "--models", "FastText", "--", "--tuned"])
    args = compare.parse_args()
    ((job, *_),) = Comparison(searched[0], None, args.flags).jobs(args.models, 1, args.known)
    assert job.plan["tuned"] == tuned.read("FastText", [searched[0]])[0]


def test_a_better_checkpoint_or_an_interrupted_training_is_kept(searched, tmp_path):
    dataset = shutil.copytree(searched[0], tmp_path / "tiny")
    arguments = ("--model", "FastText", "--trials", 1, "--dataset", dataset, *SMALL)
    path = dataset / "saved_dict" / "FastText.ckpt"
    content = read(path)
    write(path, content | {"metrics": content["metrics"] | {"dev_accuracy": 1.01}})
    done = tune_here(*arguments)
    assert "not copied to " in done.stderr
    assert "the one there has a higher validation accuracy, 101.00%\n" in done.stderr
    assert read(path)["metrics"]["dev_accuracy"] == 1.01
    write(path.with_suffix(".resume"), {"weights": {}})
    assert "an interrupted training there can be resumed\n" in tune_here(*arguments).stderr


@pytest.mark.parametrize("content", [None, "{", "[]", '{"flags": "--embed 4"}', '{"flags": [4]}'])
def test_a_file_that_is_absent_or_damaged(tiny, tmp_path, content):
    if content:
        (tmp_path / "tuned").mkdir()
        (tmp_path / "tuned" / "TextCNN.json").write_text(content, encoding="utf-8")
    expected = "is no file of tune.py; write it again with" if content else "search for the flags with"
    done = inside("run.py", "--dataset", tiny, "--output", tmp_path, "--tuned", check=False)
    assert done.returncode == 2
    assert done.stderr.endswith(f"{expected}: python tune.py --model TextCNN --dataset {tiny}\n")


def test_a_time_that_is_shorter_than_a_trial(tiny, tmp_path):
    arguments = ("--model", "FastText", "--dataset", tiny, "--output", tmp_path)
    done = script("tune.py", *arguments, "--minutes", 0.005, *SMALL, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[1:] == [
        "tune.py: --minutes 0.005 is shorter than one trial; the same command with more minutes continues it"
    ]
    done = tune_here(*arguments, "--trials", 1, *SMALL)
    assert done.stdout.startswith("Trial   1:  ")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent")
def test_an_interrupted_search_keeps_the_best_and_continues(tiny, tmp_path):
    arguments = ("--model", "FastText", "--dataset", tiny, "--output", tmp_path, *SMALL)
    process = subprocess.Popen(
        command("tune.py", *arguments),
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    directory = tmp_path / "tune" / "FastText"
    while not (directory / "trial-2" / "run.log").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate()
    assert process.returncode == 130
    assert "Interrupted: the same command continues the search\n" in errors
    assert out.startswith("Trial   1:  ")
    assert out.splitlines()[-1].startswith("python run.py --model FastText --dataset ")
    assert (tmp_path / "saved_dict" / "FastText.ckpt").exists()
    done = tune_here("--trials", 1, *arguments)
    assert done.stdout.startswith("Trial   2:  ")


def test_an_encoder_is_tuned_by_its_own_script(tiny, encoder, tmp_path):
    after = ("--", "--bert_path", encoder, "--num_epochs", 1, "--device", "cpu")
    where = ("--model", "bert_CNN", "--dataset", tiny, "--output", tmp_path)
    done = tune_here(*where, "--trials", 1, *after)
    assert done.stdout.splitlines()[-1].startswith("python pretrain_run.py --model bert_CNN --dataset ")
    done = inside("pretrain_run.py", *where, "--tuned", "--device", "cpu")
    assert f"bert_CNN.json: --bert_path {encoder} --num_epochs 1\n" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "TextCN"), "argument --model: invalid choice: 'TextCN'"),
        (("--minutes", "0"), "argument --minutes: 0 is out of range, expected above 0"),
        (("--max_mb", "-1"), "argument --max_mb: -1 is out of range, expected above 0"),
        (("--", "--output=x"), "--output after --: it is set by tune.py"),
        (("--", "--tuned"), "--tuned after --: it is set by tune.py"),
        (("--", "--num_epoch", "3"), "unrecognized arguments: --num_epoch 3"),
        (("--num_epochs", "3"), "unrecognized arguments: --num_epochs 3"),
    ],
)
def test_mistaken_flags(arguments, message, monkeypatch, capsys):
    assert_mistaken(monkeypatch, capsys, tune.main, arguments, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "nowhere"), "--dataset nowhere: no such directory"),
        (("--model", "bert", "--dataset", "{tiny}", "--", "--bert_path", "nowhere"), "nowhere"),
    ],
)
def test_what_is_missing_is_reported_before_anything_is_trained(tiny, arguments, message, monkeypatch):
    with pytest.raises(UserError, match=message):
        here(monkeypatch, tune.main, *(argument.format(tiny=tiny) for argument in arguments))


def test_trials_of_any_number_of_labels_are_compared_by_macro_f1(several, tmp_path):
    flags = ("--model", "FastText", "--dataset", several, "--output", tmp_path)
    done = tune_here(*flags, "--trials", 2, *SMALL)
    scores = [float(score) for score in re.findall(r"Val F1: +([\d.]+)%,  Time", done.stdout)]
    assert len(scores) == 2
    assert f"validation macro F1 {max(scores):.2f}% (default flags: {scores[0]:.2f}%)" in done.stderr
    saved = json.loads((tmp_path / "tuned" / "FastText.json").read_text(encoding="utf-8"))
    assert saved["dev_macro_f1"] == pytest.approx(max(scores) / 100)
    path = tmp_path / "saved_dict" / "FastText.ckpt"
    assert read(path)["metrics"]["dev_macro_f1"] == pytest.approx(max(scores) / 100, abs=1e-4)
    write(path, read(path) | {"metrics": {"dev_macro_f1": 1.01}})
    done = tune_here(*flags, "--trials", 1, *SMALL)
    assert "the one there has a higher validation macro F1, 101.00%\n" in done.stderr
