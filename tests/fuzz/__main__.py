"""Gives damaged and odd files to the scripts, and counts what they do with them.

python -m tests.fuzz --count 10000                      # all kinds of files
python -m tests.fuzz --kinds model.ckpt vocab.pkl       # these kinds alone
python -m tests.fuzz --save failures                    # keeps the inputs that failed
python -m tests.fuzz --kinds model.ckpt --number 17     # one input again, with its traceback
"""

from cli.start import run_script

import os
import sys
import tempfile
from pathlib import Path

from cli.console import Parser, bar, echo, number
from tests.fuzz.guard import run_inputs
from tests.fuzz.kinds import KINDS
from tests.fuzz.report import lines_of_failures, table


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("--count", type=number(int, 1), default=1000, help="number of inputs, shared by the kinds")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of files (all)")
    parser.add_argument("--number", type=number(int, 0), help="run only the inputs with this number")
    parser.add_argument("--seed", type=number(int, 0), default=1, help="of the changes to the files")
    parser.add_argument("--workers", type=number(int, 1), default=os.cpu_count(), help="processes that run inputs")
    parser.add_argument("--save", type=Path, help="directory to which the inputs that failed are copied")
    return parser.parse_args()


def main():
    args = parse_args()
    inputs = [(args.kinds[i % len(args.kinds)], i // len(args.kinds)) for i in range(args.count)]
    if args.number is not None:
        inputs = [(kind, args.number) for kind in args.kinds]
    outcomes = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = run_inputs(inputs, folder, args.seed, min(args.workers, len(inputs)), args.save)
        for outcome in bar(running, total=len(inputs), desc="fuzz", unit="input"):
            outcomes.append(outcome)
            if args.number is not None:
                echo(f"{outcome.kind} {outcome.number}: {outcome.mutation}\n{outcome.result.trace}")
    for line in lines_of_failures(outcomes):
        echo(line)
    echo(table(outcomes))
    sys.exit(1 if any(outcome.result.verdict == "failed" for outcome in outcomes) else 0)


if __name__ == "__main__":
    run_script(main)
