"""Measures what datasets of extreme shapes cost: few and many classes, rows of one character and of 100,000.

    python -m benchmarks.extremes --output DIR                          # all cases and models
    python -m benchmarks.extremes --output DIR --cases 1000_classes --models TextCNN SVM
    python -m benchmarks.extremes --output DIR --cases long_rows -- --pad_size 2000

The datasets are synthetic and written to DIR. Prints for each case and model, each in its own process: the seconds
until the first step (reading the dataset, counting n-grams), the milliseconds of a training step, the seconds of an
epoch at that rate, and the peak memory. A linear model has one step, its whole training. (A step of Transformer on
long_rows takes minutes.)
"""

from cli.start import run_script

import multiprocessing
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from benchmarks.networks import Training, built
from cli.console import Parser, echo
from cli.device_flags import add_device_flags
from cli.files import peak_memory
from engine import fitting
from engine.device import Compute, keep_memory, tensor_floats
from models import LINEAR, NETWORKS

SECONDS, STEPS = 3.0, 30  # of training that is measured, after a first step: the shorter of the two


class Case(NamedTuple):
    """A dataset, and the flags with which it is measured."""

    rows: int
    classes: int
    characters: int  # of a row
    options: tuple = ()


CASES = {
    "2_classes": Case(20_000, 2, 20),
    "300_classes": Case(20_000, 300, 20),
    "1000_classes": Case(20_000, 1000, 20),
    "1_character": Case(20_000, 10, 1),
    "long_rows_cut": Case(200, 10, 100_000),
    "long_rows": Case(200, 10, 100_000, ("--pad_size", "100000", "--batch_size", "1")),
}


def write(directory, case):
    """Writes the dataset of a case. Of four characters of a row one is among the five of its class."""
    rng = np.random.default_rng(1)
    data = directory / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / "class.txt").write_text("".join(f"c{c}\n" for c in range(case.classes)), encoding="utf-8")
    for name, rows in (("train", case.rows), ("dev", case.rows // 10), ("test", 10)):
        with open(data / f"{name}.txt", "w", encoding="utf-8", newline="") as file:
            for label in rng.integers(case.classes, size=rows):
                codes = np.minimum(rng.zipf(1.2, case.characters), 5000)
                own = rng.random(case.characters) < 0.25
                codes[own] = 5000 + 5 * label + rng.integers(5, size=own.sum())
                file.write(f"{''.join(map(chr, 0x4E00 + codes))}\tc{label}\n")


def measure(directory, name, options, device, amp):
    """What a model costs on a dataset: seconds until the first step, of a step and of an epoch, and MB of memory."""
    start = time.perf_counter()
    keep_memory()  # as `engine.runs.training` does
    compute = Compute.of(SimpleNamespace(device=device, amp=amp, compile=False))
    if name in LINEAR:
        model, config, dataset, batches = built(name, directory, compute, options)
        first, begin = time.perf_counter() - start, time.perf_counter()
        fitting.fit(model, config, batches, dataset.batches("dev", config, compute.device), seed=1)
        step = time.perf_counter() - begin
        return {"start": first, "step": step, "epoch": step, "memory": peak_memory()}
    training = Training(name, directory, compute, options)
    first, steps = time.perf_counter() - start, -(-len(training.batches.lengths) // training.config.batch_size)
    run, done = training.steps(), 0
    with tensor_floats(compute.device, compute.amp):
        begin = time.perf_counter()
        next(run)
        step, begin = time.perf_counter() - begin, time.perf_counter()
        while step < SECONDS and done < STEPS and time.perf_counter() - begin < SECONDS:
            next(run)
            done += 1
    step = (time.perf_counter() - begin) / done if done else step
    return {"start": first, "step": step, "epoch": step * steps, "memory": peak_memory()}


def main():
    parser = Parser(__doc__)
    parser.add_argument("--output", type=Path, required=True, help="directory for the datasets")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), help="datasets to measure")
    parser.add_argument("--models", nargs="+", choices=NETWORKS + LINEAR, default=NETWORKS + LINEAR, help="models")
    add_device_flags(parser)
    parser.add_argument("options", nargs="*", help="after --: more flags of run.py for hyper-parameters")
    args = parser.parse_args()
    for case in args.cases:
        write(args.output / case, CASES[case])
        for name in args.models:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                options = [*CASES[case].options, *args.options]
                found = pool.apply(measure, (args.output / case, name, options, args.device, args.amp))
            line = f"{case:13} {name:11}  start {found['start']:6.1f} s  step {1000 * found['step']:10,.1f} ms"
            echo(f"{line}  epoch {found['epoch']:8,.1f} s  {found['memory']:7,.0f} MB")


if __name__ == "__main__":
    run_script(main)
