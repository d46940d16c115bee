"""A training of a comparison: a process of its own, in a directory of its own, with a record of what came of it."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from cli.console import UserError, duration, echo, say
from cli.files import ROOT, replacing
from engine import checkpoint
from evaluation import baselines as peers
from models import ENCODERS, trainer


class Job:
    """A model's or a peer's run with a seed.

    plan: all that decides its result but for the seed, as data. dataset: a `compare.Data`. flags: of the training.
    The record, `run.json`, is written when the training begins, with the plan, and when it has ended, with the result.
    """

    def __init__(self, name, seed, plan, dataset, output, flags, machine):
        self.name, self.seed, self.plan, self.dataset, self.machine = name, seed, plan, dataset, machine
        self.kind = "peer" if name in peers.SETTINGS else "encoder" if name in ENCODERS else "network"
        self.directory = Path(output) / name / f"seed-{seed}"
        self.log = self.directory / "run.log"
        where = ["--dataset", str(dataset.directory), "--seed", str(seed), "--output", str(self.directory)]
        if self.kind == "peer":
            self.command = ["-m", "evaluation.baselines", "--peer", name, *where]
        else:
            self.command = [trainer([name]), "--model", name, *where, *flags, "--resume"]

    def finish(self, place):
        """Trains what is not trained yet; returns the record. place: this run's among all, a text."""
        what = f"{self.name}, seed {self.seed}"
        self._make_way(what)
        record = _record(self.directory)
        if "accuracy" in record:
            self._tell(record, " (trained before)")
            return record
        say(f"{what}: run {place}, its output is in {self.log}")
        record = {"seed": self.seed, "command": shlex.join(["python", *self.command]), "machine": self.machine}
        record["plan"] = self.plan
        self._write(record)
        call(self.command, self.log, what)
        record |= self._result()
        self._write(record)
        self._tell(record)
        return record

    def predictions(self):
        """Where the run wrote what it predicts for the test split."""
        return self._newest("predictions.tsv")

    def speed(self, device, amp):
        """What evaluation.timing says of the run's checkpoint, or a peer of itself; measured once."""
        if self.kind == "peer":
            return self._metrics()["speed"]
        path = self.directory / "speed.json"
        if not path.exists():
            what = f"{self.name}, speed of prediction"
            say(what)
            file = checkpoint.path_of(self.directory, self.name)
            where = ["--checkpoint", str(file), "--dataset", str(self.dataset.directory), "--output", str(path)]
            call(["-m", "evaluation.timing", *where, "--device", device, "--amp", amp], self.log, what)
        return json.loads(path.read_text(encoding="utf-8"))

    def _make_way(self, what):
        """Sets a run of another plan aside, and takes back one of this plan: a mistaken flag costs no finished run."""
        here, aside = self.directory, self.directory.with_name(f"{self.directory.name}.before")
        record = _record(here)
        there = record.get("plan", self.plan)
        if there == self.plan:
            return
        changed = ", ".join(key for key in there | self.plan if there.get(key) != self.plan.get(key))
        if _record(aside).get("plan") == self.plan:
            say(f"{what}: the run in {here.name} had other {changed}; the one set aside in {aside.name} is taken back")
            back = aside.rename(here.with_name(f"{here.name}.back"))
        else:
            say(f"{what}: the run in {here.name} had other {changed}; it runs anew")
            back = None
        if "accuracy" in record:
            shutil.rmtree(aside, ignore_errors=True)
            here.rename(aside)
        else:
            shutil.rmtree(here)
        if back:
            back.rename(here)

    def _write(self, record):
        with replacing(self.directory / "run.json", "w", encoding="utf-8") as file:
            json.dump(record, file, ensure_ascii=False, indent=2)

    def _newest(self, name):
        return max(self.directory.rglob(name), key=lambda path: path.stat().st_mtime)

    def _metrics(self):
        return json.loads(self._newest("metrics.json").read_text(encoding="utf-8"))

    def _result(self):
        metrics = self._metrics()
        result = {key: metrics["test"][key] for key in ("accuracy", "macro_f1")}
        result |= {key: metrics[key] for key in ("train_seconds", "peak_memory_mb", "versions")}
        return result | {"train_rows": metrics.get("train_rows") or rows_seen(metrics, self.dataset.rows["train"])}

    def _tell(self, record, more=""):
        shares = f"Test Acc: {record['accuracy']:>6.2%},  Macro F1: {record['macro_f1']:>6.2%}"
        echo(f"{self.name:<12} seed {self.seed}:  {shares},  Time: {duration(record['train_seconds'])}{more}")


def _record(directory):
    path = directory / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def rows_seen(metrics, rows):
    """The rows that a training took: steps of a batch, the last one of an epoch being what is left."""
    batch = metrics["settings"]["batch_size"]
    epochs, steps = divmod(metrics["history"][-1]["step"], -(-rows // batch))
    return epochs * rows + steps * batch


def call(command, log, what):
    """Runs a script to its end, its output added to a log. Raises UserError where it fails."""
    module = command[0] == "-m"  # found from the user's directory too
    arguments = [sys.executable, *(["-P", *command] if module else [str(ROOT / command[0]), *command[1:]])]
    environment = os.environ | ({"PYTHONPATH": str(ROOT)} if module else {})
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "env": environment}
    with open(log, "ab") as file:
        process = subprocess.Popen(arguments, stdout=file, **options)
        try:
            status = process.wait()
        except BaseException:
            process.terminate()  # what it saved last is whole
            process.wait()
            raise
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        raise UserError(f"{what}: failed with exit status {status}; the end of {log}: {last}")
