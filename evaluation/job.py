"""A training of a comparison: a process of its own, in a directory of its own, with a record of its result."""

import json
import os
import shlex
import shutil
import subprocess
import sys

from cli.console import UserError, duration, echo, say
from cli.files import ROOT, digest_of, replacing
from engine import checkpoint
from engine.checkpoint import ENSEMBLE
from evaluation import baselines
from models import ENCODERS, LINEAR, trainer

MEASURES = {"accuracy": "accuracy", "micro_f1": "micro F1"}  # of results; the latter if rows have any number of labels
PAPER = " (paper)"  # after the name of a network that is trained as in its paper
PATIENCE = 20.0  # seconds that a script has to end itself


class Job:
    """A model's or a baseline's run with a seed.

    name: that of the model, with `PAPER` for the network of its paper, or that of the baseline. plan: all that decides
    its result except the seed, as data. comparison: an `evaluation.comparison.Comparison`. The record, `run.json`, is
    written when the training begins, with the plan, and when it has ended, with the result.
    """

    def __init__(self, name, seed, plan, comparison):
        self.name, self.seed, self.plan, self.comparison = name, seed, plan, comparison
        model = name.removesuffix(PAPER)
        kinds = {"baseline": baselines.PARAMETERS, "encoder": ENCODERS, "linear": LINEAR, "ensemble": [ENSEMBLE]}
        self.kind = next((kind for kind, names in kinds.items() if name in names), "network")
        self.directory = comparison.output / name.replace(PAPER, "-paper") / f"seed-{seed}"
        self.checkpoint = checkpoint.path_of(self.directory, model)
        self.log = self.directory / "run.log"
        where = ["--dataset", str(comparison.directory), "--seed", str(seed), "--output", str(self.directory)]
        if self.kind == "baseline":
            self.command = ["-m", "evaluation.baselines", "--baseline", name, *where]
        else:
            self.command = [trainer([model]), "--model", model, *where, *plan["flags"], "--resume"]

    def run_or_load(self, progress):
        """Trains unless that is done; returns the record. progress: this run's number among all, as text.

        Raises UserError if the training fails.
        """
        what = f"{self.name}, seed {self.seed}"
        self._set_other_plan_aside(what)
        record = _record(self.directory)
        if is_done(record):
            self._echo(record, " (trained before)")
            return record
        say(f"{what}: run {progress}, its output is in {self.log}")
        record = {"seed": self.seed, "command": shlex.join(["python", *self.command]), "plan": self.plan}
        record["machine"] = self.comparison.machine
        self._write(record)
        call(self.command, self.log, what)
        record |= self._result()
        self._write(record)
        self._echo(record)
        return record

    def predictions(self):
        """The file with what the run predicted for the test split."""
        return self._newest("predictions.tsv")

    def speed(self, device, amp):
        """The speed of the run's checkpoint, by `evaluation.timing`; that of a baseline is in its metrics."""
        if self.kind == "baseline":
            return self._metrics()["speed"]
        path = self.directory / "speed.json"
        if not path.exists():
            what = f"{self.name}, speed of prediction"
            say(what)
            where = ["--checkpoint", self.checkpoint, "--dataset", self.comparison.directory, "--output", path]
            call(["-m", "evaluation.timing", *map(str, where), "--device", device, "--amp", amp], self.log, what)
        return json.loads(path.read_text(encoding="utf-8"))

    def _set_other_plan_aside(self, what):
        """Renames the directory of a run with another plan, and restores one with this plan, so that no run is lost."""
        here, aside = self.directory, self.directory.with_name(f"{self.directory.name}.before")
        record = _record(here)
        found = record.get("plan", self.plan)
        if found == self.plan:
            return
        changed = ", ".join(key for key in found | self.plan if found.get(key) != self.plan.get(key))
        if _record(aside).get("plan") == self.plan:
            say(f"{what}: the run in {here.name} had other {changed}; the one in {aside.name} is restored")
            back = aside.rename(here.with_name(f"{here.name}.back"))
        else:
            say(f"{what}: the run in {here.name} had other {changed}; it is trained again")
            back = None
        if is_done(record):
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
        result = {key: metrics["test"][key] for key in (measure_of(metrics["test"]), "macro_f1")}
        result |= {key: metrics[key] for key in ("train_seconds", "peak_memory_mb", "versions")}
        rows = metrics.get("train_rows") or rows_seen(metrics, metrics.get("epoch_rows", self.comparison.rows["train"]))
        return result | {"train_rows": rows}

    def _echo(self, record, more=""):
        measure = measure_of(record)
        name = "Acc" if measure == "accuracy" else "Micro F1"
        shares = f"Test {name}: {record[measure]:>6.2%},  Macro F1: {record['macro_f1']:>6.2%}"
        echo(f"{self.name:<12} seed {self.seed}:  {shares},  Time: {duration(record['train_seconds'])}{more}")


class EnsembleJob(Job):
    """Combines the finished runs of other jobs: `evaluation.ensemble` as a job with the same record."""

    def __init__(self, jobs, comparison, device, amp):
        self.members = {f"{job.name}, seed {job.seed}": job for job in jobs}
        digests = {name: digest_of(job.checkpoint)[:16] for name, job in self.members.items()}
        super().__init__(ENSEMBLE, 1, {"members": digests, "flags": []} | comparison.digests, comparison)
        self.directory = comparison.output / ENSEMBLE
        self.checkpoint, self.log = comparison.output / f"{ENSEMBLE}.ckpt", self.directory / "run.log"
        where = ["--dataset", comparison.directory, "--checkpoint", self.checkpoint, "--output", self.directory]
        files = [job.checkpoint for job in jobs]
        options = ["--device", device, "--amp", amp, "--members"]
        self.command = ["-m", "evaluation.ensemble", *map(str, (*where, *options, *files))]

    def _set_other_plan_aside(self, what):
        """Removes the files of an ensemble of other runs: it takes seconds to build it again."""
        if _record(self.directory).get("plan") != self.plan or not self.checkpoint.exists():
            shutil.rmtree(self.directory, ignore_errors=True)

    def _result(self):
        """Training time and rows are the sums over the members, and the time of the selection."""
        shares = self._metrics()["shares"]
        files = {name: str(job.checkpoint) for name, job in self.members.items()}
        members = {name: shares[file] for name, file in files.items() if file in shares}
        result = super()._result() | {"members": members}
        records = [_record(self.members[name].directory) for name in members]
        result["train_rows"] = sum(record["train_rows"] for record in records)
        result["train_seconds"] += sum(record["train_seconds"] for record in records)
        return result


def is_done(record):
    return any(name in record for name in MEASURES)


def measure_of(results):
    """The name of the first measure in results of a test, by which models are ranked."""
    return next(name for name in MEASURES if name in results)


def _record(directory):
    path = directory / "run.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def rows_seen(metrics, rows):
    """The number of rows that a training took: a batch a step; the last batch of an epoch has the remaining rows."""
    batch = metrics["fingerprint"].get("batch_size", rows)  # a linear model has a single step
    epochs, steps = divmod(metrics["history"][-1]["step"], -(-rows // batch))
    return epochs * rows + steps * batch


def call(command, log, what, watch=None):
    """Runs a script, or with -m a module, and appends its output to a log. Raises UserError if it fails.

    watch: is called twice a second meanwhile; what it raises ends the script.
    """
    module = command[0] == "-m"
    arguments = [sys.executable, *(["-P", *command] if module else [str(ROOT / command[0]), *command[1:]])]
    environment = os.environ | ({"PYTHONPATH": str(ROOT)} if module else {})  # so that any directory will do
    options = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "env": environment}
    with open(log, "ab") as file:
        process = subprocess.Popen(arguments, stdout=file, **options)
        try:
            status = _wait(process, watch)
        except BaseException:  # Ctrl-C, or the end of this process by SIGTERM
            _end(process)
            raise
    if status:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "nothing")
        raise UserError(f"{what}: failed with exit status {status}; the end of {log}: {last}")


def _wait(process, watch):
    """The exit status of a process."""
    while watch:
        try:
            return process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            watch()
    return process.wait()


def _end(process):
    """Ends a process, also one that hangs or is stopped. The files that it saved are complete."""
    process.terminate()
    try:
        process.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
