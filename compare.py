"""Trains models with several seeds each and compares them: the leaderboard of a dataset.

    python compare.py                                              # the seven networks, three seeds each
    python compare.py --models TextCNN bert_CNN --seeds 5 --dataset D --peers svm fasttext
    python compare.py --models TextCNN DPCNN -- --num_epochs 3 --device cpu      # after --: flags of every training

Writes `leaderboard.md`, `.json` and `.png` into D/leaderboard, and there, under MODEL/seed-N, what each training
writes, with what it prints in `run.log`. A training is a process of its own; the .json names its command. What is
finished is not trained again: after an interruption the same command goes on, and with more models or seeds it trains
only those. With other data, vectors, encoder, flags or defaults a run is made anew, and the one before is kept in
seed-N.before. A new version of the code is not noticed: remove the directory.
"""

import contextlib
import dataclasses
import datetime
import hashlib
import json
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from cli.console import Parser, UserError, echo, number, run_script, say
from cli.files import ROOT, default_dataset
from evaluation import baselines as peers
from evaluation.job import Job
from models import ENCODERS, NETWORKS, model_module
from text import vectors
from text.labelled import read_classes
from utils import add_dataset_flag

OURS = ("model", "dataset", "seed", "output", "resume")  # flags of a training that are given here


def parse_args():
    """The flags; those after -- are `flags`, a list, and what a comparison has to know of them."""
    ours, flags = sys.argv[1:], []
    if "--" in ours:
        place = ours.index("--")
        ours, flags = ours[:place], ours[place + 1 :]
    parser = Parser(__doc__)
    names = (*NETWORKS, *ENCODERS)
    parser.add_argument("--models", nargs="*", metavar="MODEL", choices=names, default=NETWORKS, help=", ".join(names))
    parser.add_argument("--seeds", type=number(int, 1), default=3, help="runs of each model, with the seeds 1, 2, …")
    parser.add_argument("--peers", nargs="+", choices=peers.PEERS, default=(), help="what else one would take")
    add_dataset_flag(parser)
    parser.add_argument("--output", type=Path, help="directory to write to (leaderboard in the dataset's)")
    args = parser.parse_args(ours)
    known = Parser(add_help=False)
    known.add_argument("--scratch", action="store_true")
    known.add_argument("--device", default="auto")
    known.add_argument("--amp", default="auto")
    for name in ("embedding", "bert_path", *OURS):
        known.add_argument(f"--{name}", nargs="?", const="")
    known = known.parse_known_args(flags)[0]
    if twice := [name for name in OURS if getattr(known, name) is not None]:
        parser.error(f"--{twice[0]} after --: each training is given its own")
    args.flags, args.known = flags, known
    return args


class Data:
    """What a comparison knows of a dataset: its classes, the splits' rows, each file's digest.

    The files are read line by line: a process begins with its parent's peak of memory, on Linux, and this one is to
    stay below those that it starts. What is wrong with a row the first run tells.
    """

    def __init__(self, directory):
        self.directory = Path(directory)
        data = self.directory / "data"
        if not self.directory.is_dir():
            raise UserError(f"--dataset {directory}: no such directory; expected one that holds data/class.txt")
        self.classes = read_classes(data / "class.txt")
        try:
            self.digests = {name: _digest(data / name) for name in ("class.txt", "train.txt", "dev.txt", "test.txt")}
            self.rows = {split: _count_rows(data / f"{split}.txt") for split in ("train", "dev", "test")}
        except OSError as error:
            raise UserError(f"{error.filename}: {error.strerror}") from error


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _count_rows(path):
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        return sum(not line.isspace() for line in file)


def plan_of_model(name, data, args):
    """All that decides a model's results but for the seed."""
    module = model_module(name)
    plan = {"flags": args.flags, "defaults": dataclasses.asdict(module.Config())}
    if name in ENCODERS:
        from models.encoder_files import weights_digest, weights_file

        directory = args.known.bert_path or ROOT / module.Config.directory
        plan["encoder"] = None if args.known.scratch else weights_digest(weights_file(directory))
    elif module.Config.takes_vectors:
        path = vectors.find(data.directory, args.known.embedding)
        plan["vectors"] = path and _digest(path)
    return plan


def jobs_of(args, data):
    """Each competitor's jobs, one a seed: the models, and the peers that can run here."""
    plans = {name: plan_of_model(name, data, args) for name in args.models}
    for peer in dict.fromkeys(args.peers):
        if reason := peers.missing(peer):
            say(f"{peer}: {reason}; it has no row")
        else:
            plans |= {name: {"settings": peers.SETTINGS[name]} for name in peers.PEERS[peer]}
    if not plans:
        raise UserError("nothing to compare: no --models, and no --peers that can run here")
    here, seeds = machine(), range(1, args.seeds + 1)
    plans = json.loads(json.dumps({name: plan | data.digests for name, plan in plans.items()}))  # as a record gives it
    return [[Job(name, s, plan, data, args.output, args.flags, here) for s in seeds] for name, plan in plans.items()]


def machine():
    """The processor, and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration, subprocess.SubprocessError):
        if sys.platform == "linux":
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        elif sys.platform == "darwin":
            name = subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], encoding="utf-8").strip()
    return f"{name}, {peers.cores()} cores"


def about(args, data, rows):
    """What a leaderboard says beside its rows, as data."""
    runs = [run for row in rows for run in row["runs"]]
    devices = [row["speed"]["device"] for row in rows if row["kind"] != "peer"] or [rows[0]["speed"]["device"]]
    versions = {}
    for name, version in (item for run in runs for item in run["versions"].items()):
        versions.setdefault(name, []).append(version)
    return {
        "dataset": {
            "name": data.directory.resolve().name,
            "rows": data.rows,
            "classes": len(data.classes),
            "digests": data.digests,
        },
        "command": shlex.join(["python", "compare.py", *sys.argv[1:]]),
        "seeds": list(range(1, args.seeds + 1)),
        "flags": args.flags,
        "machines": list(dict.fromkeys(run["machine"] for run in runs)),
        "devices": list(dict.fromkeys(devices)),
        "versions": {name: " and ".join(sorted(set(found))) for name, found in versions.items()},
        "date": datetime.date.today().isoformat(),
    }


def main():
    args = parse_args()
    data = Data(args.dataset or default_dataset())
    args.output = args.output or data.directory / "leaderboard"
    competitors = jobs_of(args, data)
    jobs = [job for competitor in competitors for job in competitor]
    try:
        records = {job: job.finish(f"{i} of {len(jobs)}") for i, job in enumerate(jobs, 1)}
        speeds = [competitor[0].speed(args.known.device, args.known.amp) for competitor in competitors]
    except KeyboardInterrupt:
        say("Interrupted: the same command goes on")
        sys.exit(130)

    from evaluation import leaderboard  # matplotlib and scikit-learn, which a mistaken flag need not wait for

    rows = []
    for competitor, speed in zip(competitors, speeds, strict=True):
        runs = [records[job] | {"predictions": str(job.predictions())} for job in competitor]
        rows.append(leaderboard.standing(competitor[0].name, competitor[0].kind, runs, speed))
    rows = leaderboard.rank(rows)
    leaderboard.write(args.output, about(args, data, rows), rows)
    for row in rows:
        accuracy, p50 = leaderboard.percent(row["accuracy"]), leaderboard.milliseconds(row["speed"]["p50_ms"])
        echo(f"{row['model']:<12} {accuracy} %, one headline {p50}{', Pareto front' if row['pareto'] else ''}")
    say(f"Leaderboard: {args.output / 'leaderboard.md'}, beside it .json and .png")


if __name__ == "__main__":
    run_script(main)
