"""What is compared: a dataset, the plan of each competitor, and its jobs."""

import contextlib
import dataclasses
import json
import platform
import subprocess
import sys
from pathlib import Path

from cli.console import UserError, say
from cli.files import ROOT, digest_of
from engine import tuned
from evaluation import baselines
from evaluation.job import PAPER, Job
from models import ENCODERS, NETWORKS, model_module
from models.base import describe
from text import vectors
from text.kind import is_multi_label, kind_file
from text.labelled import read_classes


class Comparison:
    """A dataset, as far as a comparison needs it, and what its jobs share. flags: those of every training.

    The files are read line by line: on Linux a process begins with its parent's peak of memory, and this process is to
    stay below those that it starts. Bad rows are reported by the first job.
    """

    def __init__(self, dataset, output, flags):
        self.directory, self.flags, self.machine = Path(dataset), flags, machine()
        self.output = output or self.directory / "leaderboard"
        data = self.directory / "data"
        if not self.directory.is_dir():
            raise UserError(f"--dataset {dataset}: no such directory; expected one with data/class.txt")
        self.classes, self.multi_label = read_classes(data / "class.txt"), is_multi_label(data)
        files = ["class.txt", "train.txt", "dev.txt", "test.txt"]
        files += [kind_file(data).name] if kind_file(data).exists() else []
        self.digests = {name: digest_of(data / name)[:16] for name in files}
        self.rows = {split: _count_rows(data / f"{split}.txt") for split in ("train", "dev", "test")}

    def jobs(self, names, seeds, known):
        """The jobs of each competitor, one for each seed. known: the flags of a training that `plan_of_model` reads."""
        plans, configs = {}, [config_of(name) for name in names if name not in baselines.PARAMETERS]
        hyper_parameters = {name for config in configs for name in describe(config)}
        for name in names:
            if name in baselines.PARAMETERS:
                plan = {"parameters": baselines.parameters_of(name, self.multi_label)}
            else:
                plan = plan_of_model(name, self, known, hyper_parameters)
            plans[name] = json.loads(json.dumps(plan | self.digests))  # as it is read from a record
        seeds = range(1, seeds + 1)
        return [[Job(name, seed, plan, self) for seed in seeds] for name, plan in plans.items()]


def competitors(models, families, paper=False):
    """The names of these models, and of the baselines of these families that can run here.

    paper: whether the networks among them are also trained as in their papers.
    """
    names = list(models) + [name + PAPER for name in models if paper and name in NETWORKS]
    for family in dict.fromkeys(families):
        if why := baselines.missing(family):
            say(f"{family}: {why}; it has no row")
        else:
            names += baselines.BASELINES[family]
    if not names:
        raise UserError("nothing to compare: no --models, and no --baselines that can run here")
    return names


def plan_of_model(name, comparison, known, hyper_parameters=frozenset()):
    """All that decides a model's results except the seed and the dataset.

    hyper_parameters: the names of those of all models that are compared. The model is given the flags of its own.
    """
    model, config = name.removesuffix(PAPER), config_of(name)
    flags, dropped = without(comparison.flags, hyper_parameters - describe(config).keys())
    if dropped:
        say(f"{name} has no {', '.join(dropped)}: it is trained without")
    plan = {"flags": flags, "defaults": dataclasses.asdict(config())}
    if name != model:
        plan = {"flags": [*flags, "--paper"], "defaults": dataclasses.asdict(config(**config.paper))}
    if known.tuned:
        plan["tuned"] = tuned.read(model, [comparison.directory])[0]
    if model in ENCODERS:
        from models.encoder_files import digest_of_weights, weights_file  # transformers take seconds to import

        directory = known.bert_path or ROOT / config.directory
        plan["encoder"] = None if known.scratch else digest_of_weights(weights_file(directory))
    elif config.takes_vectors:
        path = vectors.find(comparison.directory, known.embedding)
        plan["vectors"] = path and digest_of(path)[:16]
    return plan


def config_of(name):
    """The `Config` class of a model, with or without `PAPER`."""
    return model_module(name.removesuffix(PAPER)).Config


def without(flags, names):
    """The command-line flags and their values except those of these names, and the flags that were left out."""
    kept, dropped, keeps = [], [], True
    for part in flags:
        flag = part.split("=")[0]
        if part.startswith("--"):
            keeps = flag.removeprefix("--") not in names
            dropped += [] if keeps else [flag]
        kept += [part] if keeps else []
    return kept, dropped


def machine():
    """The processor, and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration, subprocess.SubprocessError):
        if sys.platform == "linux":
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        elif sys.platform == "darwin":
            name = subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], encoding="utf-8").strip()
    return f"{name}, {baselines.cores()} cores"


def _count_rows(path):
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        return sum(not line.isspace() for line in file)
