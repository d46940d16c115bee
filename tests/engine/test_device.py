"""Devices, and several processes that train together as one would."""

import json
import mmap
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cli.console import UserError
from conftest import ENVIRONMENT, ROOT, sample_rows, script, write_dataset
from engine import checkpoint
from engine.device import PRECISIONS, pick_device, precision
from test_run import weights


def test_a_device_that_is_not_there():
    with pytest.raises(UserError, match="--device tpu: expected auto, cpu, cuda"):
        pick_device("tpu")
    with pytest.raises(UserError, match="finds no such device"):
        pick_device("cuda:99")


@pytest.mark.parametrize(
    ("device", "bfloat16", "expected"),
    [("cuda", True, "bf16"), ("cuda", False, "fp16"), ("cpu", True, "bf16"), ("cpu", False, "off"), ("mps", 0, "off")],
)
def test_the_precision_is_what_the_hardware_has(monkeypatch, device, bfloat16, expected):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: bfloat16)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": bfloat16})
    assert precision("auto", torch.device(device)) == expected
    assert [precision(name, torch.device("cuda")) for name in PRECISIONS] == list(PRECISIONS)
    with pytest.raises(UserError, match="--amp fp16 is for GPUs, and this run is on cpu"):
        precision("fp16", torch.device("cpu"))


def test_what_is_wrong_with_one_process_is_told_by_it():
    command = [sys.executable, str(ROOT / "run.py"), "--dataset", "nowhere", "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", env={**ENVIRONMENT, "RANK": "1"})
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("run.py, rank 1: --dataset nowhere: no such directory;")
    assert done.stderr.count("\n") == 1


def ranks(count, *arguments):
    """Runs a script in several processes on gloo."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    launch += [str(ROOT / arguments[0]), *map(str, arguments[1:])]
    done = subprocess.run(launch, capture_output=True, encoding="utf-8", env={**ENVIRONMENT, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done


def history(directory):
    (log,) = directory.glob("log/*/*/metrics.json")
    metrics = json.loads(log.read_text(encoding="utf-8"))
    return [list(point.values()) for point in metrics["history"]], metrics["test"]["confusion_matrix"]


# 31 rows a batch are not the same number for both ranks; the last batch has one row, and so one rank none
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("pretrain_run.py", ("--model", "bert_CNN", "--bert_path", "{encoder}", "--accumulate", 2, "--batch_size", 89)),
        ("run.py", ("--model", "TextCNN", "--embed_dropout", 0, "--batch_size", 31, "--embed", 16)),
    ],
)
def test_two_processes_train_as_one(tiny, encoder, tmp_path, name, settings):
    settings = [str(setting).format(encoder=encoder) for setting in settings]
    settings += ["--dataset", tiny, "--dropout", 0, "--num_epochs", 2, "--device", "cpu", "--amp", "off"]
    settings += ["--class_weight", "balanced", "--label_smoothing", 0.1, "--learning_rate", 1e-3]
    alone = script(name, *settings, "--output", tmp_path / "one")
    together = ranks(2, name, *settings, "--output", tmp_path / "two")
    assert re.sub(r"Time.*", "", together.stdout) == re.sub(r"Time.*", "", alone.stdout)
    assert together.stderr.count("Device: cpu (1 threads, 2 processes") == 1
    (one, matrix), (two, other) = history(tmp_path / "one"), history(tmp_path / "two")
    assert np.array(two) == pytest.approx(np.array(one), abs=1e-4)
    assert matrix == other and np.sum(matrix) == 30
    expected, found = (weights(next(tmp_path.glob(f"{run}/saved_dict/*.ckpt"))) for run in ("one", "two"))
    for key, weight in expected.items():
        apart = (found[key] - weight).abs() > 1e-5  # Adam makes steps of gradients that are all rounding
        assert apart.float().mean() < 0.01, key


def test_counts_that_take_two_bytes_are_trained_with_in_two_processes(tmp_path):
    rows = [(f"第{text}", label) for text, label in sample_rows("train", {0, 1}, 400)]
    dataset = write_dataset(tmp_path, ["甲", "乙"], rows, rows[:30])
    arguments = ("--model", "FastText", "--dataset", dataset, "--num_epochs", 1, "--embed", 8, "--device", "cpu")
    ranks(2, "run.py", *arguments, "--n_gram_vocab", 99)
    saved = checkpoint.load(dataset / "saved_dict" / "FastText.ckpt", torch.device("cpu"))
    assert saved.model.counts.dtype == torch.int16


def test_two_processes_pre_train_as_one_and_resume(tiny, tmp_path):
    settings = ["pretrain_mlm.py", "--corpus", tiny / "data" / "train.txt", "--size", "tiny", "--amp", "off"]
    settings += ["--dropout", 0, "--num_epochs", 2, "--device", "cpu", "--batch_size", 29]
    alone = script(*settings, "--output", tmp_path / "one")
    together = ranks(2, *settings, "--output", tmp_path / "two")
    assert re.sub(r"Time.*", "", together.stdout) == re.sub(r"Time.*", "", alone.stdout)
    expected, found = (load_file(tmp_path / run / "model.safetensors") for run in ("one", "two"))
    for key, weight in expected.items():
        torch.testing.assert_close(found[key], weight, atol=1e-5, rtol=0, msg=key)
    again = ranks(2, *settings, "--output", tmp_path / "two", "--resume")
    assert "Iter" not in again.stdout
    assert "Best Val Loss" in again.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
def test_no_thread_of_the_group_is_left_to_abort_the_process(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        f"""import os, sys, torch
sys.path.insert(0, {str(ROOT)!r})
from engine.ranks import parallel
from pathlib import Path
from engine.runs import Output, training
def threads():
    return sum("gloo" in open(f"/proc/self/task/{{task}}/comm").read() for task in os.listdir("/proc/self/task"))
with training(torch.device("cpu"), Output(Path({str(tmp_path)!r}), "m")):
    model = parallel(torch.nn.Linear(3, 3), torch.device("cpu"))
    model(torch.ones(2, 3)).sum().backward()
    assert threads() > 0
    del model
assert threads() == 0
""",
        encoding="utf-8",
    )
    ranks(2, program)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="this is glibc's doing")
def test_memory_waits_for_the_next_step():
    program = """
import resource, torch
from engine import device
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1])
device.keep_memory()
before = faults()
for _ in range(40):
    torch.ones(1 << 24)
print(faults() - before)
before = resident()
device.release_memory()
print(before - resident())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", cwd=ROOT, check=True)
    faults, released = map(int, done.stdout.split())
    size = (1 << 26) // mmap.PAGESIZE
    assert faults < 10 * size
    assert released > 0.9 * size
