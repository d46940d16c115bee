"""`run.py` as a user runs it: what it prints, what it leaves, how it resumes and refuses."""

import json
import re
import signal
import subprocess
import time

import pytest
import torch

import run
from conftest import ENVIRONMENT, ROOT, assert_mistaken, command, here, inside, sample_rows, script, write_dataset
from engine.predictor import Predict
from models import LINEAR, NETWORKS
from text.aliases import RARER, aliases_of

SMALL = ("--num_epochs", 2, "--embed", 16, "--bigram_vocab", 999, "--device", "cpu")


def weights(path):
    return torch.load(path, weights_only=True)["weights"]


def test_the_lines_and_the_files_of_a_run(tiny, tmp_path):
    done = script("run.py", "--dataset", tiny, "--output", tmp_path, *SMALL, "--batch_size", 40)
    lines = re.sub(r"\d+(\.\d+)?(e[-+]\d+)?", "N", re.sub(r" +", " ", done.stdout)).splitlines()
    iteration = "Iter: N, Train Loss: N, Train Acc: N%, Val Loss: N, Val Acc: N%, Time: N:N:N"
    expected = [
        "Loading data...",
        "Vocab size: N",
        "Time usage: N:N:N",
        "Epoch [N/N]",
        iteration,
        "Epoch [N/N]",
        iteration,
    ]
    expected += ["Test Loss: N, Test Acc: N%", "Precision, Recall and FN-Score..."]
    expected += [" precision recall fN-score support", "", " 财经 N N N N", " 房产 N N N N", " 股票 N N N N", ""]
    expected += [" accuracy N N", " macro avg N N N N", "weighted avg N N N N", "", "Confusion Matrix..."]
    assert [line.rstrip(" *") for line in lines[: len(expected)]] == expected
    assert lines[-1] == "Time usage: N:N:N"
    assert re.search(
        r"Iter: {6}3,  Train Loss: [ \d.]{5},  Train Acc: [ \d.]{5}%,  Val Loss: [ \d.]{5},  ", done.stdout
    )
    assert "Device: cpu (" in done.stderr
    assert (tmp_path / "saved_dict" / "TextCNN.ckpt").exists()
    (log,) = (tmp_path / "log" / "TextCNN").iterdir()
    files = {path.name for path in log.iterdir() if not path.name.startswith("events.out.tfevents")}
    pictures = {"confusion_matrix.png", "loss.png", "reliability.png", "risk_coverage.png"}
    assert files == {"metrics.json", "predictions.tsv"} | pictures
    metrics = json.loads((log / "metrics.json").read_text(encoding="utf-8"))
    assert f"Test Acc: {metrics['test']['accuracy']:>6.2%}" in done.stdout
    assert metrics["classes"] == ["财经", "房产", "股票"]
    assert [point["step"] for point in metrics["history"]] == [3, 6]
    rows = [line.split("\t") for line in (log / "predictions.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    assert sorted(row[0] for row in rows) == sorted(text for text, _ in sample_rows("test", {0, 1, 2}, 30))
    right = [row[1] == row[2] for row in rows]
    assert right == sorted(right)
    assert sum(right) / 30 == pytest.approx(metrics["test"]["accuracy"])


@pytest.mark.parametrize("model", LINEAR)
def test_a_linear_model_has_one_iteration_and_the_report_of_a_network(tiny, tmp_path, model):
    flags = ("--model", model, "--dataset", tiny, "--output", tmp_path, "--device", "cpu")
    done = inside("run.py", *flags, "--accumulate", 2, "--label_smoothing", 0.1)
    assert f"{model} has no embedding and no training steps: --accumulate, --label_smoothing without" in done.stderr
    assert "random vectors" not in done.stderr
    assert re.findall(r"Epoch|Iter: +\d+", done.stdout) == ["Iter:      1"]
    for part in ("Test Acc: ", "macro avg", "Confusion Matrix...\n[["):
        assert part in done.stdout
    (log,) = (tmp_path / "log" / model).iterdir()
    metrics = json.loads((log / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["accuracy"] > 0.45
    assert metrics["history"][0]["train_accuracy"] > metrics["history"][0]["dev_accuracy"] > 0.45
    assert metrics["fingerprint"]["C"] == (0.5 if model == "SVM" else 0.1)
    assert (log / "confusion_matrix.png").exists()
    rows = [line.split("\t") for line in (log / "predictions.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    predictor = Predict(dataset=tmp_path, device="cpu")
    assert predictor.path == tmp_path / "saved_dict" / f"{model}.ckpt"
    probabilities = predictor.predict_proba([row[0] for row in rows])
    assert probabilities.max(axis=1) == pytest.approx([float(row[3]) for row in rows], abs=1e-4)
    assert predictor.predict_list([row[0] for row in rows]) == [row[2] for row in rows]
    finished = inside("run.py", *flags, "--accumulate", 2, "--label_smoothing", 0.1, "--resume")
    assert "This run is finished" in finished.stderr
    assert "Iter" not in finished.stdout
    refused = inside("run.py", *flags, "--C", 3, "--resume", check=False)
    assert re.search(r"C is 0\.[15] there, 3\.0 here", refused.stderr)


@pytest.mark.parametrize("model", LINEAR)
@pytest.mark.parametrize("rows", [[("好天气", 0)], [("好天气", 0), ("坏天气", 1)], [("好", 0), ("好", 1), ("好", 1)]])
def test_a_linear_model_of_few_rows(tmp_path, model, rows):
    dataset = write_dataset(tmp_path / "d", ["好", "坏", "无"], rows)
    done = inside("run.py", "--model", model, "--dataset", dataset, "--device", "cpu")
    assert "Test Acc: 66.67%" in done.stdout or "Test Acc: 100.00%" in done.stdout


KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no SIGKILL


@pytest.mark.parametrize(("model", "how"), [("TextRNN_Att", KILL), ("FastText", signal.SIGINT)])
def test_an_interrupted_run_resumes_to_the_same_weights(tiny, tmp_path, model, how):
    settings = ("--model", model, "--dataset", tiny, "--num_epochs", 12, "--embed", 16, "--device", "cpu")
    settings += ("--batch_size", 8, "--require_improvement", 100000, "--eval_every", 5)
    settings += (
        ("--n_gram_vocab", 5000) if model == "FastText" else ("--hidden_size", 32, "--long", "windows", "--pad_size", 8)
    )
    whole, broken = ("--output", tmp_path / "whole"), ("--output", tmp_path / "broken")
    inside("run.py", *settings, *whole)
    interrupt(how, tmp_path / "broken" / "saved_dict" / f"{model}.resume", "run.py", *settings, *broken)
    done = script("run.py", *settings, *broken, "--resume")
    assert int(re.search(r"Iter: +(\d+)", done.stdout)[1]) > 5  # not from the beginning
    expected, resumed = (weights(tmp_path / name / "saved_dict" / f"{model}.ckpt") for name in ("whole", "broken"))
    assert all(torch.equal(expected[key], resumed[key]) for key in expected)
    logs = [next((tmp_path / name / "log" / model).iterdir()) for name in ("whole", "broken")]
    histories = [json.loads((log / "metrics.json").read_text(encoding="utf-8"))["history"] for log in logs]
    assert histories[0] == histories[1]


def interrupt(how, state, *arguments):
    """Starts a script and sends the signal as soon as the state is saved."""
    process = subprocess.Popen(
        command(*arguments), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8"
    )
    while not state.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(how)
    errors = process.communicate()[1]
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert errors.endswith("Interrupted: the same command with --resume continues from the last saved state\n")


def test_a_finished_run_says_so_and_other_settings_or_data_are_refused(tmp_path, monkeypatch):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好天气", 0), ("坏天气", 1)])
    arguments = ("run.py", "--dataset", dataset, *SMALL)
    done = inside(*arguments, "--resume")
    assert "Nothing to resume" in done.stderr
    assert "Test Acc" in done.stdout
    finished = inside(*arguments, "--resume")
    assert "This run is finished" in finished.stderr
    assert "Iter" not in finished.stdout
    with monkeypatch.context() as patch:
        patch.setattr("utils.aliases_of", lambda known, counts: aliases_of(known, counts) + "很好")
        patch.setattr("utils.RARER", RARER + 1)  # in the key of the cache
        refused = inside(*arguments, "--resume", check=False)
    assert refused.returncode == 2 and re.search(r"vocabulary is '\w+' there, '\w+' here", refused.stderr)
    with open(dataset / "data" / "train.txt", "a", encoding="utf-8") as file:
        file.write("大好天气\t0\n")
    refused = inside(*arguments, "--resume", "--pad_size", 9, check=False)
    assert refused.returncode == 2
    assert "there, 9 here" in refused.stderr
    assert re.search(r"train.txt is '\w+' there", refused.stderr)
    assert "Test Acc" in inside(*arguments).stdout  # without --resume it is trained anew


@pytest.mark.parametrize("model", NETWORKS)
def test_one_row_one_class_is_trained_at_the_first_epochs_end(tmp_path, monkeypatch, capsys, model):
    dataset = write_dataset(tmp_path / "d", ["唯一"], [("一", 0)])
    settings = ("--pad_size", 1, "--num_epochs", 1, "--embed", 8, "--device", "cpu")
    settings += ("--n_gram_vocab", 99) if model == "FastText" else ("--bigram_vocab", 99)
    here(monkeypatch, run.main, "--model", model, "--dataset", dataset, *settings)
    printed = capsys.readouterr().out
    assert "Iter:      1," in printed
    assert "Test Acc: 100.00%" in printed


def test_the_model_saved_is_not_that_of_step_0(tmp_path):
    rows = sample_rows("train", {7, 8}, 100)
    dataset = write_dataset(tmp_path / "d", [f"类{i}" for i in range(10)], rows)
    done = inside("run.py", "--dataset", dataset, "--num_epochs", 8, "--device", "cpu")
    assert done.stdout.count("Iter:") == 8
    assert "Test Acc: 100.00%" in done.stdout
    assert "has no row of 8 classes: 类0, 类1" in done.stderr
    assert re.search(r"类3 +0\.0000 +0\.0000 +0\.0000 +0\n", done.stdout)


def test_two_hundred_classes_by_name_with_all_the_options(tmp_path, monkeypatch, capsys):
    names = [f"类别{i}" for i in range(200)]
    dataset = write_dataset(tmp_path / "d", names, [(f"第 {i} 类 的 新闻", names[i]) for i in range(200)])
    settings = ("--word", "True", "--segmenter", "jieba", "--class_weight", "balanced", "--label_smoothing", 0.1)
    settings += ("--max_vocab", 50, "--eval_every", 1, "--filter_sizes", 1, 5, "--batch_size", 100, *SMALL)
    here(monkeypatch, run.main, "--dataset", dataset, "--embedding", "random", *settings)
    printed = capsys.readouterr().out
    assert "Vocab size: 52" in printed
    assert printed.count("Iter:") == 4


def test_vectors_are_used_where_the_dataset_has_some(tmp_path):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好天气", 0), ("坏天气", 1)])
    vectors = tmp_path / "v.txt"
    vectors.write_text("好 9 9 9\n坏 -9 -9 -9\n", encoding="utf-8")
    made = inside("utils.py", "--dataset", dataset, "--vectors", vectors)
    assert "embedding_v.npz: 2 of 4 tokens found, 3 wide; the others start random" in made.stderr
    still = ("--num_epochs", 1, "--learning_rate", 1e-9, "--device", "cpu")
    done = inside("run.py", "--dataset", dataset, *still)
    assert "Vectors: embedding_v.npz, 3 wide, for 2 of 4 tokens; the others start random" in done.stderr
    content = torch.load(dataset / "saved_dict" / "TextCNN.ckpt", weights_only=True)
    place = content["vocabulary"]["tokens"].index("好")
    assert content["weights"]["model.embedding.tokens.weight"][place].tolist() == pytest.approx([9, 9, 9])
    refused = inside("run.py", "--dataset", dataset, "--embed", 5, check=False)
    assert "--embed 5, but the vectors" in refused.stderr
    fast = ("--model", "FastText", "--n_gram_vocab", 99, "--embedding", "pre_trained")
    assert "FastText starts from random vectors" in inside("run.py", "--dataset", dataset, *fast, *still).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "TextGNN"), "--model: invalid choice: 'TextGNN'"),
        (("--batch_size", "-1"), "argument --batch_size: -1 is out of range, expected at least 0"),
        (("--dropout", "x"), "argument --dropout: invalid float value: 'x'"),
        (("--word", "maybe"), "'maybe' is neither True nor False"),
        (("--batchsize", "3"), "unrecognized arguments: --batchsize 3"),
        (("--model", "FastText", "--filter_sizes", "3"), "unrecognized arguments: --filter_sizes 3"),
    ],
)
def test_a_mistaken_flag_is_told(arguments, message, monkeypatch, capsys):
    assert_mistaken(monkeypatch, capsys, run.parse_args, arguments, message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--dataset", "nowhere"), "--dataset nowhere: no such directory; expected one with data/class.txt"),
        (("--device", "cuda"), "--device cuda: torch"),
    ],
)
def test_a_mistake_ends_in_one_line(arguments, message):
    done = inside("run.py", *arguments, check=False)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_bad_rows_are_told_by_the_inside(tmp_path):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], "好天气\t0\n坏天气\n坏天气\t7\n")
    done = inside("run.py", "--dataset", dataset, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(
        f"run.py: {dataset / 'data' / 'train.txt'}: 2 bad rows of 3; expected"
    )
    assert done.stderr.splitlines()[1:] == ["  line 2: no tab in '坏天气'", "  line 3: label 7 is out of range, 0 to 1"]


def test_long_rows_are_told(tmp_path):
    dataset = write_dataset(tmp_path / "d", ["好", "坏"], [("好" * 50, 0), ("坏天气", 1)])
    assert "Tokens read of a row: 50 (--pad_size)" in inside("run.py", "--dataset", dataset, *SMALL).stderr
    done = inside("run.py", "--dataset", dataset, *SMALL, "--pad_size", 32)
    assert "1 of 2 training rows (50.0%) are longer than 32 tokens and are cut; --pad_size 50 keeps 99 %" in done.stderr


def test_help_shows_the_models_own_defaults():
    text = re.sub(r"\s+", " ", inside("run.py", "--model", "TextRNN", "--help").stdout)
    assert "--num_layers NUM_LAYERS LSTM layers (default: 2)" in text
    assert "hyper-parameters of TextRNN" in text
    assert "--filter_sizes" not in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--embed", "1000000000", "--embedding", "random"),
            "out of memory on cpu: lower --batch_size or --pad_size or",
        ),
        (
            ("--pad_size", "2147483648"),
            "argument --pad_size: 2147483648 is out of range, expected at least 0 and at most",
        ),
        (("--output", ROOT / "README.md"), "cannot be written: "),
        (("--output", "a" * 300), "cannot be written: File name too long; use --output DIR"),
    ],
)
def test_a_flag_that_cannot_be_used_ends_in_one_line(tiny, tmp_path, flags, message):
    done = inside("run.py", "--dataset", tiny, "--output", tmp_path, "--device", "cpu", *flags, check=False)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_second_training_in_the_same_directory_names_the_first(tiny, tmp_path):
    flags = ("--dataset", tiny, "--output", tmp_path, "--num_epochs", 2000, "--embed", 8, "--batch_size", 8)
    first = subprocess.Popen(command("run.py", *flags), env=ENVIRONMENT, stdout=subprocess.PIPE, encoding="utf-8")
    while not first.stdout.readline().startswith("Iter"):
        assert first.poll() is None
    second = script("run.py", *flags, check=False)
    first.kill()
    first.communicate()
    assert second.returncode == 2
    path = tmp_path / "saved_dict" / "TextCNN.ckpt"
    assert f"run.py: another training writes {path}: process {first.pid}, since " in second.stderr
    assert "Iter" not in second.stdout
