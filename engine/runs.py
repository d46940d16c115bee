"""A training: what it is made of, the flags that set it up, and where it stands."""

import contextlib
import dataclasses
import datetime
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from cli.console import RANK, RANKS, UserError, number, say
from engine import checkpoint
from engine.batches import Batches
from engine.device import add_device_flags, enough_memory, keep_memory, precision
from engine.losses import class_weights
from engine.ranks import from_first, join_ranks, leave_ranks


def classifier(args, config, model, dataset, device, optimizers, settings, **more):
    """The Run of a script that trains a classifier. settings: what else decides the weights; more: fields of Run."""
    settings |= {"classes": dataset.classes}
    settings |= {"class_weight": args.class_weight, "label_smoothing": args.label_smoothing}
    settings |= {f"{split}.txt": getattr(dataset, split).digest for split in ("train", "dev", "test")}
    output = args.output or args.dataset
    path = checkpoint.path_of(output, args.model)

    def keep(metrics):
        checkpoint.save(path, args.model, config, dataset.classes, dataset.vocabulary, model, metrics)

    return Run.of(
        args,
        device,
        settings,
        name=args.model,
        config=config,
        model=model,
        optimizers=optimizers,
        train=dataset.batches("train", config.pad_size, device),
        dev=dataset.batches("dev", config.pad_size, device),
        output=output,
        keep=keep,
        loss_weight=class_weights(dataset, device) if args.class_weight else None,
        label_smoothing=args.label_smoothing,
        **more,
    )


@dataclass
class Run:
    """A training: what it is made of, and where its results go."""

    name: str  # the model's
    config: object
    model: torch.nn.Module
    optimizers: list
    train: Batches
    dev: Batches
    device: torch.device
    output: Path
    settings: dict  # all that decides the weights, data included; a state of other settings is refused
    keep: Callable[[dict], None]  # saves the model, the best one so far, with its metrics
    schedule: Callable[[int, int], float] | None = None  # the learning rate's factor at a step of so many
    max_norm: float | None = None  # of the gradients
    accumulate: int = 1  # passes that a batch takes
    amp: str = "off"  # what steps and validations compute in, a name in PRECISIONS
    compile: bool = False  # whether torch.compile builds the training step's kernels
    loss_weight: torch.Tensor | None = None  # of each class, (C,)
    label_smoothing: float = 0.0
    eval_every: int | None = None
    seed: int = 1
    resume: bool = False

    @classmethod
    def of(cls, args, device, settings, **fields):
        """A Run with what the flags of `runtime.add_training_flags` say. settings: what else decides the weights."""
        amp = precision(args.amp, device)
        if args.compile and device.type != "cuda":
            raise UserError(f"--compile is for GPUs, and this run is on {device}")
        settings |= dataclasses.asdict(fields["config"]) | {
            "seed": args.seed,
            "eval_every": args.eval_every,
            "amp": amp,
        }
        fields |= {name: getattr(args, name) for name in ("seed", "eval_every", "accumulate", "compile", "resume")}
        return cls(device=device, settings=settings, amp=amp, **fields)

    @property
    def state(self):
        return self.output / "saved_dict" / f"{self.name}.resume"

    @property
    def logs(self):
        return self.output / "log" / self.name


@dataclass
class Progress:
    """Where a training stands: what a resumed one needs besides weights, optimizers and random numbers."""

    log: str  # the name of this run's directory under `Run.logs`
    step: int = 0  # steps done
    epoch: int = 0  # epochs done
    step_in_epoch: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    validations_since_best: int = 0
    history: list = field(default_factory=list)  # a dict a validation
    seconds: float = 0.0  # of training and validation
    stopped: bool = False  # early
    finished: bool = False  # tested too


def new_log(directory):
    """Makes a new directory, named by the time; returns its name, which is the first rank's."""
    return from_first(_make_log(directory) if RANK == 0 else None)


def _make_log(directory):
    name = datetime.datetime.now().strftime("%Y-%m-%d_%H.%M.%S")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        while (directory / name).exists():  # two runs in one second
            name += "+"
        (directory / name).mkdir()
    except OSError as error:
        raise UserError(f"{directory} cannot be written ({error.strerror}); use --output DIR") from error
    return name


def add_run_flags(parser):
    """The flags of every script that trains a classifier."""
    parser.add_argument("--output", type=Path, help="directory for saved_dict and log (the dataset's)")
    add_training_flags(parser)
    parser.add_argument("--class_weight", choices=["balanced"], help="weigh rare classes as much as frequent ones")
    parser.add_argument("--label_smoothing", type=number(float, 0, 1), default=0.0, help="in the training's loss")


def add_training_flags(parser):
    """The flags of a training of whatever kind."""
    add_device_flags(parser)
    parser.add_argument("--seed", type=number(int, 0, 2**63 - 1), default=1, help="of weights, order and dropout")
    parser.add_argument("--eval_every", type=number(int, 1), help="steps between validations (a tenth of the cost)")
    parser.add_argument("--compile", action="store_true", help="on a GPU, let torch build the kernels of a step")
    parser.add_argument("--accumulate", type=number(int, 1), default=1, help="passes that a batch is split into")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved step")


@contextlib.contextmanager
def training(device):
    """Surrounds a training: the ranks meet and part, memory waits for the next step, what may end it becomes a line."""
    advice = (
        "lower --batch_size or --pad_size, or split each batch with --accumulate 4 (an encoder can also do with "
        "--gradient_checkpointing or a --freeze of its lowest layers)"
    )
    join_ranks(device)
    if device.type == "cpu":
        keep_memory()
    try:
        with enough_memory(device, advice):
            yield
    except KeyboardInterrupt:
        say("Interrupted: the same command with --resume goes on from the last saved step")
        sys.exit(130)
    except RuntimeError as error:
        if RANKS == 1 or "onnection" not in str(error):
            raise
        raise UserError(f"the other processes are gone ({str(error).splitlines()[0]})") from error
    leave_ranks()
