"""Training and validation: the one loop, early stopping, resuming.

Prints a run's lines to standard output; messages and bars go to standard error.
"""

import contextlib
import dataclasses
import datetime
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tensorboardX import SummaryWriter
from torch.nn import functional as F

from cli.console import RANK, UserError, bar, echo
from engine import checkpoint
from engine.batches import Batches
from engine.device import RANKS, autocast, from_first, parallel, precision, release_memory, tensor_floats, total
from models.base import infer

EVAL_COST = 1 / 3  # of validating a row, beside training on one: forward alone, against forward, backward and update
EVAL_SHARE = 1 / 10  # of the training's cost that validations between the epochs' ends may take
EVAL_STEPS = 100  # at least, between two of them
PATIENCE = 3  # validations at least, before a training stops early


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


def train(run):
    """Trains `run.model`; the best one by validation loss was given to `run.keep`. Returns the Progress.

    Raises UserError where a loss is not finite or the state to resume from is another run's.
    """
    config = run.config
    scaler = torch.amp.GradScaler(run.device.type, enabled=run.amp == "fp16")
    state = checkpoint.State(run.state, run.settings, run.device, run.model, [*run.optimizers, scaler])
    saved = state.restore() if run.resume else state.clear()
    progress = Progress(**saved) if saved else Progress(log=new_log(run.logs))
    if progress.finished:
        return progress
    if RANK:  # dropout masks of its own
        torch.manual_seed(int(np.random.SeedSequence((run.seed, RANK, progress.step)).generate_state(1)[0]))
    model = parallel(run.model.train(), run.device)
    if run.compile:
        model = torch.compile(model, dynamic=True)
    eval_every = run.eval_every or default_eval_every(len(run.train.labels), len(run.dev.labels), config.batch_size)
    start = time.monotonic() - progress.seconds
    tally = Tally(run.device, run.loss_weight, run.label_smoothing)
    log = str(run.logs / progress.log)
    writing = SummaryWriter(log, purge_step=progress.step + 1, write_to_disk=RANK == 0)
    with writing as writer, tensor_floats(run.device, run.amp):
        for epoch in range(progress.epoch, config.num_epochs):
            if progress.stopped:
                break
            echo(f"Epoch [{epoch + 1}/{config.num_epochs}]")
            plan = run.train.shuffled(config.batch_size, run.seed, epoch)
            done = progress.step_in_epoch
            for numbers in bar(plan[done:], total=len(plan), initial=done, desc=f"epoch {epoch + 1}", unit="step"):
                set_rates(run, progress.step, config.num_epochs * len(plan))
                take_step(run, model, run.train.parts(numbers, run.accumulate), scaler, tally)
                progress.step += 1
                progress.step_in_epoch += 1
                epoch_ends = progress.step_in_epoch == len(plan)
                if epoch_ends:
                    progress.epoch, progress.step_in_epoch = epoch + 1, 0
                if epoch_ends or progress.step % eval_every == 0:
                    validate(run, progress, tally, writer, start)
                    state.save(dataclasses.asdict(progress), now=False)
                    release_memory()
                if progress.stopped:
                    echo("No optimization for a long time, auto-stopping...")
                    break
    state.save(dataclasses.asdict(progress))
    return progress


def finish(run, progress):
    """Notes that all is done; from here on there is nothing to resume."""
    progress.finished = True
    checkpoint.State(run.state, run.settings, run.device).save(dataclasses.asdict(progress))


def set_rates(run, step, steps):
    """Sets each group's learning rate to its share of the schedule's."""
    if run.schedule:
        for group in (group for optimizer in run.optimizers for group in optimizer.param_groups):
            group["lr"] = group["initial_lr"] * run.schedule(step, steps)


def take_step(run, model, parts, scaler, tally):
    """Forward and backward on each part of a batch, and one update: the gradients are those of the whole batch."""
    weight = total(torch.stack([tally.weigh(part.labels) for part in parts]).sum())
    for optimizer in run.optimizers:
        optimizer.zero_grad()
    for i, part in enumerate(parts, 1):
        alone = RANKS > 1 and i < len(parts)  # the ranks meet at the last part
        with model.no_sync() if alone else contextlib.nullcontext():
            with autocast(run.device, run.amp):
                logits = model(part)
            loss = tally.add(logits[: len(part.labels)].float(), part.labels)
            scaler.scale(loss * (RANKS / weight)).backward()  # DistributedDataParallel divides by the ranks
    for optimizer in run.optimizers:
        scaler.unscale_(optimizer)
    if run.max_norm:
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.max_norm)
    for optimizer in run.optimizers:
        scaler.step(optimizer)
    scaler.update()


def validate(run, progress, tally, writer, start):
    """Validates, prints the Iter line, writes the curves, keeps the best model, decides whether to stop."""
    train_loss, train_accuracy = tally.close()
    with autocast(run.device, run.amp):
        dev_loss, dev_accuracy = evaluate(run.model, run.dev, run.loss_weight)
    run.model.train()
    if not (math.isfinite(train_loss) and math.isfinite(dev_loss)):
        raise UserError(f"the loss is no finite number any more at step {progress.step}; lower --learning_rate")
    point = {"step": progress.step, "train_loss": train_loss, "train_accuracy": train_accuracy}
    point |= {"dev_loss": dev_loss, "dev_accuracy": dev_accuracy}
    progress.history.append(point)
    progress.seconds = time.monotonic() - start
    better = dev_loss < progress.best_loss
    if better:
        progress.best_loss, progress.best_step, progress.validations_since_best = dev_loss, progress.step, 0
        if RANK == 0:
            run.keep(point)
    else:
        progress.validations_since_best += 1
    waited = progress.step - progress.best_step >= run.config.require_improvement
    progress.stopped = waited and progress.validations_since_best >= PATIENCE
    echo(
        f"Iter: {progress.step:>6},  Train Loss: {train_loss:>5.2},  Train Acc: {train_accuracy:>6.2%},  "
        f"Val Loss: {dev_loss:>5.2},  Val Acc: {dev_accuracy:>6.2%},  "
        f"Time: {duration(progress.seconds)} {'*' if better else ''}"
    )
    for name in ("loss", "accuracy"):
        for split in ("train", "dev"):
            writer.add_scalar(f"{name}/{split}", point[f"{split}_{name}"], progress.step)


def evaluate(model, batches, loss_weight=None, keep=None):
    """The mean loss and the accuracy over all rows; `keep` is given each batch's row numbers and logits, (B, C).

    Several ranks share the batches: each one's `keep` sees its own, the figures are those of all.
    """
    tally = Tally(batches.device, loss_weight)
    for numbers, batch, logits in infer(model, batches, RANK, RANKS):
        tally.add(logits.float(), batch.labels)
        if keep:
            keep(numbers, logits.float())
    return tally.close()


class Tally:
    """Loss and accuracy, summed on the device, so that a step waits for nothing.

    loss_weight: of each class, (C,), or None. label_smoothing: of the loss.
    """

    def __init__(self, device, loss_weight=None, label_smoothing=0.0):
        self.loss_weight, self.label_smoothing = loss_weight, label_smoothing
        exact = torch.float32 if torch.device(device).type == "mps" else torch.float64  # MPS has no other
        self.sums = torch.zeros(4, dtype=exact, device=device)  # loss, weight, correct, labels

    def weigh(self, labels):
        """What these labels count in the mean loss: as many as they are, or their classes' weights."""
        if self.loss_weight is not None:
            return self.loss_weight[labels].sum()
        return torch.full((), float(len(labels)), device=labels.device)

    def add(self, logits, labels):
        """Takes in a batch's logits, (B, C), and labels, (B,); returns the sum of their losses."""
        loss = F.cross_entropy(logits, labels, self.loss_weight, reduction="sum", label_smoothing=self.label_smoothing)
        correct = (logits.argmax(dim=1) == labels).sum()
        parts = (loss.detach(), self.weigh(labels), correct, torch.full_like(correct, len(labels)))
        self.sums += torch.stack([part.to(self.sums.dtype) for part in parts])
        return loss

    def close(self):
        """The mean loss and the accuracy over all ranks; the next sums begin."""
        loss, weight, correct, count = total(self.sums).tolist()
        self.sums.zero_()
        return loss / weight, correct / count


def default_eval_every(train_rows, dev_rows, batch_size):
    """Steps between validations within an epoch, so that they cost a tenth of the training, by row counts."""
    rows = dev_rows * EVAL_COST / EVAL_SHARE
    return max(EVAL_STEPS, math.ceil(rows / min(batch_size, train_rows)))


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


def duration(seconds):
    return str(datetime.timedelta(seconds=round(seconds)))
