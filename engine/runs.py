"""A training run: what it is made of, the flags that set it up, and how far it is."""

import contextlib
import dataclasses
import datetime
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import nn

from cli.console import RANK, RANKS, UserError, boolean, number, reason, say
from cli.device_flags import add_device_flags
from cli.files import locked
from engine import checkpoint
from engine.batches import Batches
from engine.calibration import Calibration
from engine.device import Compute, enough_memory, keep_memory
from engine.label_calibration import MultiLabelCalibration
from engine.losses import Loss, balanced_weights
from engine.ranks import broadcast_object, join_ranks, leave_ranks
from text.digests import confirm
from text.hierarchy import Hierarchy, find_hierarchy

POINT = {"step", "train_loss", "dev_loss"}  # of a validation; besides the accuracy, or the macro F1, of train and dev


class Output(NamedTuple):
    """Where a run writes."""

    directory: Path
    name: str  # of the model

    @property
    def checkpoint(self):
        return checkpoint.path_of(self.directory, self.name)

    @property
    def state(self):
        return self.checkpoint.with_name(f"{self.name}.resume")

    @property
    def lock(self):
        return self.checkpoint.with_name(f"{self.name}.lock")

    @property
    def logs(self):
        return self.directory / "log" / self.name


class Updates(NamedTuple):
    """How a step changes the weights."""

    optimizers: list
    schedule: Callable[[int, int], float] | None = None  # the factor of the learning rate at a step, of so many steps
    max_norm: float | None = None  # to which gradients are clipped
    accumulate: int = 1  # parts that a batch is split into


@dataclass
class Run:
    """A training run."""

    config: object
    model: nn.Module
    train: Batches
    dev: Batches
    updates: Updates | None  # None for a model that is not trained in steps
    compute: Compute
    output: Output
    fingerprint: dict  # all that decides the weights, including the data
    keep: Callable[[dict], None]  # saves the model, the best one so far, with its metrics
    loss: Loss = field(default_factory=Loss)
    hierarchy: Hierarchy | None = None  # of the classes, if the model classifies
    eval_every: int | None = None
    seed: int = 1
    resume: bool = False

    @classmethod
    def of(cls, args, fingerprint, **fields):
        """A Run with the values of the flags of `add_training_flags`. fingerprint: what else decides the weights."""
        flags = {"seed": args.seed, "eval_every": args.eval_every}
        fingerprint = fingerprint | dataclasses.asdict(fields["config"]) | flags | {"amp": fields["compute"].amp}
        return cls(fingerprint=fingerprint, resume=args.resume, **flags, **fields)


@dataclass
class Progress:
    """How far a training is. Raises ValueError if a field is of the wrong type."""

    log: str  # the name of the run's directory under `Output.logs`
    step: int = 0  # steps done
    epoch: int = 0  # epochs done
    step_in_epoch: int = 0
    best_accuracy: float = -1.0  # of a validation; with any number of labels a row its macro F1
    best_loss: float = math.inf
    best_step: int = 0
    validations_since_best: int = 0
    history: list = field(default_factory=list)  # a dict for each validation, with the keys `POINT` and two more
    seconds: float = 0.0  # of training and validation
    stopped: bool = False  # early
    finished: bool = False  # including the test

    def __post_init__(self):
        wrong = [f.name for f in dataclasses.fields(self) if type(getattr(self, f.name)) is not f.type]
        numbers = [value for point in self.history for value in point.values()]
        counts = (self.step, self.epoch, self.step_in_epoch, self.best_step, self.validations_since_best, self.seconds)
        complete = all(point.keys() >= POINT and len(point) == len(POINT) + 2 for point in self.history)
        if wrong or Path(self.log).name != self.log or not all(type(n) in (int, float) for n in numbers):
            raise ValueError(f"wrong types of {wrong or 'history'}")
        if not complete or not all(0 <= n < 2**53 for n in counts):
            raise ValueError("numbers out of range")


def hierarchy_of(args, dataset):
    """The Hierarchy of a dataset's classes, for `--hierarchy`. Raises UserError if the flag does not fit."""
    if not dataset.multi_label:
        return find_hierarchy(dataset.classes, args.hierarchy)
    if args.hierarchy:
        raise UserError(f"--hierarchy takes one label a row, and the rows of {args.dataset} may have several")
    return Hierarchy(dataset.classes)


def run_of_classifier(args, compute, classifier, dataset, hierarchy, updates, fingerprint):
    """The Run of a script that trains a `checkpoint.Classifier`. fingerprint: what else decides the weights."""
    flags = {"class_weight": args.class_weight, "label_smoothing": args.label_smoothing}
    digests = {f"{split}.txt": getattr(dataset, split).digest for split in ("train", "dev", "test")}
    flags |= {"store": args.store} if args.store else {}
    flags |= {"augment": args.augment} if args.augment else {}
    flags |= {} if args.hierarchy is None else {"hierarchy": args.hierarchy}
    flags |= {"multi_label": True} if dataset.multi_label else {}
    kind, like = (MultiLabelCalibration, len(hierarchy.paths)) if dataset.multi_label else (Calibration, hierarchy)
    classifier = classifier._replace(calibration=kind.usual(like))
    weights = None
    if args.class_weight:
        weights = balanced_weights(dataset.train, len(dataset.classes), compute.device)
    output = Output(args.output or args.dataset, args.model)
    return Run.of(
        args,
        fingerprint | {"classes": dataset.classes} | flags | digests,
        config=classifier.config,
        model=classifier.model,
        train=dataset.batches("train", classifier.config, compute.device),
        dev=dataset.batches("dev", classifier.config, compute.device),
        updates=updates,
        compute=compute,
        output=output,
        hierarchy=hierarchy,
        keep=lambda metrics: checkpoint.save(output.checkpoint, classifier._replace(metrics=metrics), args.store),
        loss=Loss(weights, args.label_smoothing),
    )


def new_log(directory):
    """Makes a new directory, named by the time; returns its name, on all ranks."""
    return broadcast_object(_make_log(directory) if RANK == 0 else None)


def _make_log(directory):
    name = datetime.datetime.now().strftime("%Y-%m-%d_%H.%M.%S")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        while (directory / name).exists():  # two runs in one second
            name += "+"
        (directory / name).mkdir()
    except OSError as error:
        raise UserError(f"{directory} cannot be written ({reason(error)}); use --output DIR") from error
    return name


def add_run_flags(parser):
    """Adds the flags of every script that trains a classifier."""
    parser.add_argument("--output", type=Path, help="directory for saved_dict and log (the dataset's)")
    parser.add_argument("--tuned", action="store_true", help="use the flags that tune.py found; others given here win")
    add_training_flags(parser)
    parser.add_argument(
        "--class_weight", choices=["balanced"], help="balanced: give all classes the same total weight in the loss"
    )
    parser.add_argument(
        "--store", choices=checkpoint.STORES, help="store weights in fewer bytes (float32, large tables as half)"
    )
    parser.add_argument(
        "--hierarchy", type=boolean, nargs="?", const=True, help="take class names for paths (if two share a prefix)"
    )
    parser.add_argument("--label_smoothing", type=number(float, 0, 1), default=0.0, help="label smoothing of the loss")
    parser.add_argument(
        "--augment",
        type=number(float, 0, 1),
        default=0.0,
        help="share of the training rows to perturb at random",
    )


def add_training_flags(parser):
    """Adds the flags of every script that trains."""
    add_device_flags(parser)
    parser.add_argument(
        "--seed", type=number(int, 0, 2**63 - 1), default=1, help="seed of weights, order of rows and dropout"
    )
    parser.add_argument(
        "--eval_every", type=number(int, 1), help="steps between validations (as many as cost a tenth of the training)"
    )
    parser.add_argument("--compile", action="store_true", help="compile the training step (GPU only)")
    parser.add_argument("--accumulate", type=number(int, 1), default=1, help="number of parts to split a batch into")
    parser.add_argument("--resume", action="store_true", help="continue from the last saved state")


@contextlib.contextmanager
def training(device, output):
    """The context of a training: joins the ranks, locks the output, and turns what may end it into a line."""
    advice = (
        "lower --batch_size or --pad_size or the sizes of the model, or split each batch with --accumulate 4 (encoders "
        "also have --gradient_checkpointing and --freeze)"
    )
    join_ranks(device)
    if device.type == "cpu":
        keep_memory()
    lock = contextlib.nullcontext() if RANK else locked(output.lock, f"another training writes {output.checkpoint}")
    try:
        with lock, enough_memory(device, advice):
            try:
                yield
            except Exception:  # damaged data can make torch raise anything
                confirm()
                raise
    except KeyboardInterrupt:
        say("Interrupted: the same command with --resume continues from the last saved state")
        sys.exit(130)
    except RuntimeError as error:
        if RANKS == 1 or "onnection" not in str(error):
            raise
        raise UserError(f"the other processes are gone ({reason(error)})") from error
    leave_ranks()
