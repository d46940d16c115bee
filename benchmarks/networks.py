"""Measures the speed of training, prediction and reading, and profiles training steps.

    python -m benchmarks.networks --dataset D                              # all networks
    python -m benchmarks.networks --dataset D --models TextCNN --profile   # the operators that take the time
    python -m benchmarks.networks --dataset D --amp off --int8             # prediction in 8 bits, as predict.py --int8
    python -m benchmarks.networks --dataset D --beside other.py            # ratios to another program
    python -m benchmarks.networks --dataset D --models FastText -- --n_grams 2 --embed 100

Training: complete steps of run.py with its defaults, including making the batches, without validation. Medians of
three turns. The shares are explained in `benchmarks.hardware`. The other program gets --dataset and --models, and
prints a JSON object a line with `model`, `train_rows_per_s`, `predict_rows_per_s` and `load_rows_per_s`.
"""

from cli.start import run_script

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch.profiler import profile

import run
from benchmarks.hardware import operations, product_rate
from cli.console import Parser, echo
from cli.device_flags import add_device_flags
from engine.device import Compute, autocast, keep_memory, pick_device, precision, tensor_floats
from engine.int8 import Int8Products
from engine.losses import Loss, Tally
from engine.optimizers import make_optimizers
from engine.runs import Updates
from models import NETWORKS, model_module
from models.base import add_config_flags
from text.aliases import aliases_of, count_characters
from text.labelled import read_classes, split_file
from text.vocabulary import character_vocabulary
from train_eval import take_step
from utils import read_dataset

SECONDS, TURNS, SHOWN = 2.0, 3, 15


def built(name, path, compute, options):
    """The model that run.py trains with these flags for hyper-parameters, its Config, the Dataset and its Batches."""
    parser = Parser()
    add_config_flags(parser, model_module(name).Config)
    parser.parse_args(options)  # other flags would have no effect
    own = ["--embedding", "random"] if "--embed" in options else []
    args = run.parse_args(["--model", name, "--dataset", str(path), *own, *options])
    config, dataset = run.read(args)
    config, weights, _ = run.fit_to_dataset(args, config, dataset)
    batches = dataset.batches("train", config, compute.device)
    model, config = run.build(args, config, dataset, weights, batches)
    return model.to(compute.device), config, dataset, batches


class Training:
    """A network's training steps, and predictions of its training rows."""

    def __init__(self, name, path, compute, options):
        self.model, self.config, _, self.batches = built(name, path, compute, options)
        updates = Updates(make_optimizers(self.model, self.config.learning_rate))
        self.run = SimpleNamespace(model=self.model, updates=updates, compute=compute, loss=Loss())
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.amp == "fp16")
        self.tally = Tally(compute.device, Loss())

    def steps(self):
        self.model.train()
        for epoch in range(1000):
            for row_ids in self.batches.shuffled(self.config.batch_size, 1, epoch):
                take_step(self.run, self.model, self.batches.parts(row_ids, 1), self.scaler, self.tally)
                yield len(row_ids)

    def predictions(self, int8=False):
        """Predictions, a batch after the other. int8: with products in 8 bits."""
        products = Int8Products(self.model) if int8 else None
        while True:
            batches = list(self.batches.by_length())
            random.Random(1).shuffle(batches)  # so that rows of all lengths are measured
            for row_ids in batches:
                device, amp, _ = self.run.compute
                with torch.inference_mode(), products or autocast(device, amp):
                    batch = self.batches.whole(row_ids)
                    batch.mean(self.model.eval()(batch)).argmax(dim=1).cpu()
                yield len(row_ids)

    def cost(self, rows, steps=5):
        """The operations of a row, of a generator that yields the number of rows of each step."""
        compute, counts = self.run.compute, []
        self.run.compute = compute._replace(amp="off")  # bfloat16 LSTMs cannot be counted, and have as many
        total = operations(lambda: counts.extend(next(rows) for _ in range(steps)))
        self.run.compute = compute
        return total / sum(counts)


def rate(rows, device, warm=10):
    """Rows a second, of a generator that yields the number of rows of each step."""
    for _ in range(warm):
        next(rows)
    turns = []
    for _ in range(TURNS):
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            count += next(rows)
        if device.type == "cuda":
            torch.cuda.synchronize()
        turns.append(count / (time.perf_counter() - start))
    return statistics.median(turns)


def reading_rates(path):
    """Rows a second: train.txt read, counted and encoded; a dataset read into a new cache; a dataset out of it."""

    def encode(directory):
        parts, counts = [], np.zeros(0x110000, np.int64)
        for texts, _ in split_file(directory, "train", read_classes(directory / "data" / "class.txt")):
            count_characters(texts, counts)
            parts.append(texts)
        vocabulary = character_vocabulary(counts, aliases_of("", counts), 10000)
        return sum(len(vocabulary.encode(part).lengths) for part in parts)

    def read(directory):
        dataset = read_dataset(directory)
        return sum(len(split.labels) for split in (dataset.train, dataset.dev, dataset.test))

    turns = []
    for _ in range(TURNS + 1):  # the first one warms up
        with tempfile.TemporaryDirectory() as directory:
            shutil.copytree(path / "data", Path(directory) / "data")
            turns.append([])
            for function in (encode, read, read):
                start = time.perf_counter()
                rows = function(Path(directory))
                turns[-1].append(rows / (time.perf_counter() - start))
    return [statistics.median(column) for column in zip(*turns[1:], strict=True)]


def other_rates(program, path, name):
    command = [sys.executable, program, "--dataset", path, "--models", name]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    return json.loads(done.stdout.splitlines()[-1])


def show_profile(training):
    steps, compute = training.steps(), training.run.compute
    with tensor_floats(compute.device, compute.amp):
        for _ in range(10):
            next(steps)
        with profile() as found:
            for _ in range(20):
                next(steps)
    operators = sorted(found.key_averages(), key=lambda operator: -operator.self_cpu_time_total)
    total = sum(operator.self_cpu_time_total for operator in operators)
    echo(f"  {total / 20e3:.1f} ms a step under the profiler, of which")
    for operator in operators[:SHOWN]:
        ms, calls = operator.self_cpu_time_total / 20e3, operator.count / 20
        echo(f"  {20e3 * ms / total:6.1%} {ms:8.2f} ms {calls:6.1f} calls  {operator.key}")


def main():
    parser = Parser(__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="directory of the dataset")
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=NETWORKS, help="networks to measure")
    add_device_flags(parser)
    parser.add_argument("--beside", help="program to compute ratios to")
    parser.add_argument("--int8", action="store_true", help="measure prediction alone, and prediction in 8 bits")
    parser.add_argument("--profile", action="store_true", help="print the operators that take the most time")
    parser.add_argument("options", nargs="*", help="after --: flags of run.py for hyper-parameters")
    args = parser.parse_args()
    device = pick_device(args.device)
    compute = Compute(device, precision(args.amp, device))
    other = other_rates(args.beside, args.dataset, args.models[0]).get("load_rows_per_s") if args.beside else None
    for how, rows in zip(("encoded", "into the cache", "out of it"), reading_rates(args.dataset), strict=True):
        echo(f"read, {how:14} {rows:12,.0f} rows/s" + (f" ({rows / other:.1f} x {other:,})" if other else ""))
    fastest = product_rate(compute)
    kind = "float32" if compute.amp == "off" else compute.amp
    echo(f"products in {kind}: {fastest / 1e9:,.0f} GFLOP/s, of which the rates below use")
    keep_memory()  # as `engine.runs.training` does
    for name in args.models:
        training = Training(name, args.dataset, compute, args.options)
        if args.profile:
            echo(name)
            show_profile(training)
            continue
        other = other_rates(args.beside, args.dataset, name) if args.beside else {}
        line = f"{name:12}"
        tasks = {"train": training.steps(), "predict": training.predictions()}
        if args.int8:
            del tasks["train"]
            if Int8Products(training.model).packed:
                tasks["in 8 bits"] = training.predictions(int8=True)
        for task, rows in tasks.items():
            cost = None if task == "in 8 bits" else training.cost(rows)
            with tensor_floats(device, compute.amp if task == "train" else "off"):  # as `train_eval.train` does
                found = rate(rows, device)
            beside = other.get(f"{task}_rows_per_s")
            line += f"  {task} {found:9,.0f} rows/s"
            line += f", {found * cost / fastest:4.0%}" if cost else ""
            line += f" ({found / beside:.1f} x {beside:,})" if beside else ""
        echo(line)


if __name__ == "__main__":
    run_script(main)
