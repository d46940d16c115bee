"""Measures how long it takes to order an epoch, and the memory: until the first batch, and for all batches.

python -m benchmarks.order --rows 1000000 10000000 100000000
"""

from cli.start import run_script

import time
import tracemalloc

import numpy as np

from cli.console import Parser, echo, number
from engine.plan import Plan

BATCH = 128


def lengths_of(count):
    """Lengths of rows like those of headlines: 20 tokens on average, 32 at most."""
    rng = np.random.default_rng(1)
    lengths = np.empty(count, np.uint8)
    for block in np.array_split(lengths, max(1, count >> 20)):
        block[:] = np.clip(rng.normal(20, 4, len(block)), 1, 32)
    return lengths


def main():
    parser = Parser(__doc__)
    parser.add_argument("--rows", type=number(int, 1), nargs="+", default=[1_000_000], help="numbers of rows")
    args = parser.parse_args()
    for count in args.rows:
        lengths = lengths_of(count)
        start, padded = time.perf_counter(), 0
        plan = Plan(lengths, BATCH, seed=1, epoch=0)
        first = len(plan[0]) and time.perf_counter() - start
        for rows in plan:
            padded += len(rows) * int(lengths[rows].max())
        seconds = time.perf_counter() - start
        tracemalloc.start()
        len(Plan(lengths, BATCH, seed=1, epoch=0)[-1])
        memory = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        padding = padded / int(lengths.sum(dtype=np.int64)) - 1
        echo(f"{count:13,} rows  first {first:5.2f} s  all {seconds:6.1f} s  {memory:5.0f} MB  padding {padding:.2%}")


if __name__ == "__main__":
    run_script(main)
