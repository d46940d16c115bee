"""A search for the flags of a model: trials, each a training in a process of its own, compared by validation score.

The score is the accuracy, or the macro F1 if rows have any number of labels. The values are proposed by the
tree-structured Parzen estimator, Bergstra et al. 2011,
https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization (package optuna). A trial that is below
three quarters of those completed, at the same point of the data, is stopped: with the median most would be, since
what they are compared with becomes better and better. The test split has no influence.
"""

import json
import math
import re
import shutil
import time
import warnings
from functools import partial
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.trial import TrialState

from cli.console import UserError, bar, duration, echo, excerpt, reason, say
from cli.files import locked, replacing, shown
from engine import checkpoint, tuned
from engine.losses import tally_class
from engine.runs import Output
from evaluation.comparison import plan_of_model
from evaluation.job import call
from models import model_module, trainer
from models.base import Range, describe

REPORTS = 4  # of the validation score to the pruner, an epoch
FAILURES = 5  # trials, all of which failed, after which the search ends
VALIDATION = re.compile(r"^Iter: *(\d+),.*Val (?:Acc|F1): *([\d.]+)%", re.MULTILINE)
MACHINE = ("device", "amp", "compile", "seed")  # flags that are not part of what was found


class OutOfTime(Exception):
    """The time of the search is over."""


class Stopped(Exception):
    """A trial is not worth finishing. Its text says why."""


class Search:
    """The trials of a model, stored in `tune/MODEL` of a directory `output`, and what they have found so far.

    data: the dataset, a `Comparison`, with the flags of every training. training: those flags, parsed. max_mb: the
    largest size of a checkpoint, in MB, or None. Raises UserError if the directory holds a search with others.
    """

    def __init__(self, name, data, training, output, max_mb=None):
        self.name, self.data, self.training, self.max_mb = name, data, training, max_mb
        self.output, self.directory = Output(output, name), Path(output) / "tune" / name
        self.tuned, self.tally = tuned.path_of(output, name), tally_class(data.multi_label)
        self.measure = f"dev_{self.tally.measure}"  # by which trials are compared
        self.groups, plan = groups_of(data.flags), plan_of_model(name, data, training)
        fields = describe(model_module(name).Config)
        fixed = {*self.groups, *(["embed"] if plan.get("vectors") else [])}  # the vectors have a width
        self.ranges = {n: field["search"] for n, field in fields.items() if field["search"] and n not in fixed}
        self.defaults = {n: as_choice(fields[n]["default"]) for n in self.ranges}
        plan |= {"max_mb": max_mb, "ranges": {f"range of {n}": r for n, r in self.ranges.items()}}
        plan["flags"] = " ".join(data.flags) or "none"
        plan |= {split: digest for split, digest in data.digests.items() if split != "test.txt"}
        self.study = self._open(json.loads(json.dumps(plan)))

    def run(self, seconds, most=None):
        """Runs trials for so many seconds, or until `most` have ended. The one at hand is interrupted and kept."""
        start, ended = time.monotonic(), 0
        with bar(total=round(seconds), desc="search", unit="s", bar_format="{desc} {bar} {remaining} left") as progress:
            try:
                while most is None or ended < most:
                    self._run_trial(start + seconds, progress)
                    ended += 1
                    trials = self.finished()
                    if len(trials) >= FAILURES and all("error" in trial.user_attrs for trial in trials):
                        raise UserError(f"all {len(trials)} trials failed; {trials[-1].user_attrs['error']}")
            except OutOfTime:
                pass

    def finished(self):
        """The trials that have ended, in their order."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def best(self):
        """The completed trial with the highest validation score, the first of equal ones; None if there is none."""
        completed = [trial for trial in self.finished() if trial.state == TrialState.COMPLETE]
        return max(completed, key=lambda trial: (trial.value, -trial.number), default=None)

    def flags_of(self, params):
        """These values as command-line arguments, those alone that differ from the defaults."""
        texts = {n: (as_text(params[n], r), as_text(self.defaults[n], r)) for n, r in self.ranges.items()}
        return [part for n, (text, default) in texts.items() if text != default for part in (f"--{n}", *text.split())]

    def found(self):
        """What the search has found, as data: the content of the file that `--tuned` reads."""
        best = self.best()
        fixed = [part for name, parts in self.groups.items() if name not in MACHINE for part in parts]
        flags = fixed + self.flags_of(best.params)
        return {"model": self.name, "flags": flags, self.measure: best.value, "trials": len(self.finished())}

    def output_of(self, trial):
        """The directory that a trial writes to."""
        return self.directory / f"trial-{trial.number + 1}"

    def checkpoint_of(self, trial):
        return checkpoint.path_of(self.output_of(trial), self.name)

    def copy_best(self):
        """Copies the best checkpoint to where predict.py finds it; returns a sentence that says so, or why not."""
        source, target = self.checkpoint_of(self.best()), self.output.checkpoint
        try:
            with locked(self.output.lock, "another training writes it"):
                if "weights" in _content(self.output.state):
                    raise UserError("an interrupted training there can be resumed")
                score = (_content(target).get("metrics") or {}).get(self.measure, 0.0)
                if round(score, 4) > self.best().value:
                    raise UserError(f"the one there has a higher validation {self.tally.title}, {score:.2%}")
                with open(source, "rb") as content, replacing(target) as file:
                    shutil.copyfileobj(content, file)
        except (UserError, OSError) as error:
            return f"Best checkpoint: {shown(source)}, not copied to {shown(target)}: {reason(error)}"
        return f"Best checkpoint: {shown(target)}, copied from {shown(source)}"

    def _open(self, plan):
        """The study, with the trials before."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = str(self.directory / "study.log")
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            storage = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
            pruner = optuna.pruners.PercentilePruner(75, n_startup_trials=3, n_warmup_steps=REPORTS, n_min_trials=3)
            study = optuna.create_study(
                storage=storage, pruner=pruner, study_name="tune", direction="maximize", load_if_exists=True
            )
            trials = study.get_trials(deepcopy=False)
        except OSError as error:
            raise UserError(f"{self.directory} cannot be written ({reason(error)}); use --output DIR") from error
        except Exception as error:  # a damaged file can make optuna raise anything
            raise UserError(f"{path} is damaged ({reason(error)}): delete {self.directory} to start again") from error
        before = study.user_attrs.get("plan", plan)
        if before != plan:
            raise UserError(
                f"{shown(self.directory)} is of a search with other data or flags: {differences(before, plan)}. "
                "Use those or another --output, or delete it"
            )
        study.set_user_attr("plan", plan)
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            study.sampler = optuna.samplers.TPESampler(
                seed=(self.training.seed + len(trials)) % 2**32,  # a search that continues draws other values
                n_startup_trials=1,  # near the defaults from the second trial on: they are no bad start
                multivariate=True,
                constraints_func=(lambda trial: (self._excess(trial),)) if self.max_mb else None,
            )
        if all("error" in trial.user_attrs for trial in trials):
            study.enqueue_trial(self.defaults)
        return study

    def _excess(self, trial):
        """By how many MB a trial's checkpoint is larger than it may be."""
        return trial.user_attrs.get("mb", 0.0) - self.max_mb if self.max_mb else 0.0

    def _next_trial(self):
        """The trial that was interrupted, otherwise a new one, with its values."""
        started = [t for t in self.study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]
        trial = optuna.trial.Trial(self.study, started[0]._trial_id) if started else self.study.ask()
        for name, searched in self.ranges.items():
            if not isinstance(searched, Range):
                trial.suggest_categorical(name, [as_choice(value) for value in searched])
            elif isinstance(self.defaults[name], int):
                trial.suggest_int(name, searched.low, searched.high, step=searched.step or 1, log=searched.log)
            else:
                trial.suggest_float(name, searched.low, searched.high, step=searched.step, log=searched.log)
        return trial

    def _run_trial(self, end, progress):
        """Runs a trial and prints its line. Raises OutOfTime at `end`."""
        trial = self._next_trial()
        output, number = self.output_of(trial), trial.number + 1
        log = output / "run.log"
        output.mkdir(exist_ok=True)
        say(f"Trial {number}: {duration(end - time.monotonic())} left, its output is in {shown(log)}")
        where = ["--model", self.name, "--dataset", str(self.data.directory), "--output", str(output)]
        command = [trainer([self.name]), *where, *self.data.flags, *self.flags_of(trial.params), "--resume"]
        start, before, remark = time.monotonic(), trial.user_attrs.get("seconds", 0.0), ""
        try:
            call(command, log, f"trial {number}", partial(self._watch, trial, end, progress))
            self._report(trial)
            self._measure(trial)
        except Stopped as stopped:
            remark = str(stopped)
        except UserError as error:
            trial.set_user_attr("error", str(error))
            remark = str(error).split(": ", 1)[-1]
        finally:
            trial.set_user_attr("seconds", before + time.monotonic() - start)
        score = max(validations(log).values(), default=0.0)
        # to optuna, trials that failed or are too large are pruned ones too, so that it proposes fewer like them
        completed = {"values": score} if not remark else {"state": TrialState.PRUNED}
        trial = self.study.tell(trial, **completed)
        self._close(trial, score, remark)

    def _watch(self, trial, end, progress):
        """Raises OutOfTime, or Stopped if the trial is not worth finishing."""
        progress.n = min(progress.total, round(progress.total - (end - time.monotonic())))
        progress.refresh()
        if time.monotonic() > end:
            raise OutOfTime
        if self.checkpoint_of(trial).exists():
            self._measure(trial)
        if self._report(trial):
            raise Stopped("stopped: among the lowest quarter")

    def _measure(self, trial):
        """Stores the size of a trial's checkpoint. Raises Stopped if that is too large."""
        size = self.checkpoint_of(trial).stat().st_size / 1e6
        if size != trial.user_attrs.get("mb"):
            trial.set_user_attr("mb", size)
        if self._excess(trial) > 0:
            raise Stopped(f"stopped: larger than --max_mb {self.max_mb:g}")

    def _report(self, trial):
        """Reports the validations in a trial's log; returns whether it should be stopped."""
        rows, batch_size = self.data.rows["train"], trial.params.get("batch_size", self.training.batch_size)
        steps = math.ceil(rows / (batch_size or model_module(self.name).Config.batch_size_for(rows)))  # of an epoch
        reported = self.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        last, best, stop = max(reported, default=0), 0.0, False
        for step, score in validations(self.output_of(trial) / "run.log").items():
            best, point = max(best, score), step * REPORTS // steps
            if point > last:
                trial.report(best, point)
                last, stop = point, stop or trial.should_prune()
        return stop

    def _close(self, trial, score, remark):
        """Prints a trial's line, and keeps of all trials but the best one only their logs."""
        best = self.best()
        flags = " ".join(self.flags_of(trial.params)) or "default flags"
        shares = f"Val {self.tally.shown}: {score:>6.2%},  " if score else ""
        shares += f"Time: {duration(trial.user_attrs['seconds'])}"
        shares += f",  Size: {trial.user_attrs['mb']:.1f} MB" if "mb" in trial.user_attrs else ""
        star = " *" if best and best.number == trial.number else ""
        echo(f"Trial {trial.number + 1:>3}:  {shares},  {flags}{f'  ({remark})' if remark else ''}{star}")
        for other in self.finished():
            if other.number != (best and best.number):
                for name in ("saved_dict", "log"):
                    shutil.rmtree(self.output_of(other) / name, ignore_errors=True)
        if star:
            tuned.write(self.tuned, self.found())


def _content(path):
    """What a checkpoint or a state holds; nothing if it is absent or damaged."""
    try:
        content = checkpoint.read(path)
    except UserError:
        content = None
    return content if isinstance(content, dict) else {}


def validations(log):
    """The validation accuracy, or macro F1, at each step in the log of a training."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    return {int(step): float(percent) / 100 for step, percent in VALIDATION.findall(text)}


def groups_of(flags):
    """Command-line arguments by the flag that they belong to: its name, and the arguments, itself included."""
    groups, name = {}, ""
    for part in flags:
        name = part.split("=")[0][2:] if part.startswith("--") else name
        groups.setdefault(name, []).append(part)
    return groups


def differences(before, now):
    """What differs between two dicts, and in dicts among their values, as text."""
    parts = []
    for key in before | now:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            parts += [differences(old, new)] if old != new else []
        elif old != new:
            parts.append(f"{key} was {excerpt(str(old))}, is {excerpt(str(new))}")
    return "; ".join(parts)


def as_choice(value):
    """A value as optuna stores it: a tuple as text."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else value


def as_text(value, searched):
    """A value on the command line: two digits of one on a log scale."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2g}" if isinstance(searched, Range) and searched.log else f"{value:g}"
