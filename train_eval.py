"""Training, validation and test: the one loop, early stopping, resuming, the report.

Prints a run's lines to standard output; messages and bars go to standard error.
"""

import dataclasses
import datetime
import math
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tensorboardX import SummaryWriter
from torch.nn import functional as F

import checkpoint
from console import UserError, bar, echo, say
from models.base import infer
from utils import Batches, Dataset
from vocabulary import texts_of

EVAL_COST = 1 / 3  # of validating a row, beside training on one: forward alone, against forward, backward and update
EVAL_SHARE = 1 / 10  # of the training's cost that validations between the epochs' ends may take
EVAL_STEPS = 100  # at least, between two of them
PATIENCE = 3  # validations at least, before a training stops early


@dataclass
class Run:
    """A training and test: what it is made of, and where its results go."""

    name: str  # the model's
    config: object
    model: torch.nn.Module
    dataset: Dataset
    device: torch.device
    output: Path
    settings: dict  # all that decides the weights, data included; a state of other settings is refused
    seed: int = 1
    class_weight: str | None = None
    label_smoothing: float = 0.0
    eval_every: int | None = None
    resume: bool = False
    amp: bool = False

    @property
    def checkpoint(self):
        return self.output / "saved_dict" / f"{self.name}.ckpt"

    @property
    def state(self):
        return self.output / "saved_dict" / f"{self.name}.resume"

    @property
    def logs(self):
        return self.output / "log" / self.name

    def batches(self, split):
        rows = split.rows.cut(self.config.pad_size)
        return Batches(rows, split.labels, self.dataset.vocabulary.pad, self.device)


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
    """Trains `run.model`; the best one by validation loss lies in `run.checkpoint`. Returns the Progress.

    Raises UserError where a loss is not finite or the state to resume from is another run's.
    """
    config, model = run.config, run.model
    batches, dev = run.batches(run.dataset.train), run.batches(run.dataset.dev)
    optimizers = make_optimizers(model, config.learning_rate)
    state = checkpoint.State(run.state, run.settings, run.device, model, optimizers)
    saved = state.restore() if run.resume else state.clear()
    progress = Progress(**saved) if saved else Progress(log=new_log(run.logs))
    if progress.finished:
        return progress
    loss_weight = class_weights(run)
    eval_every = run.eval_every or default_eval_every(len(batches.labels), len(dev.labels), config.batch_size)
    start = time.monotonic() - progress.seconds
    window = Window(run.device)
    autocast = torch.autocast(run.device.type, torch.bfloat16, enabled=run.amp)
    with SummaryWriter(str(run.logs / progress.log), purge_step=progress.step + 1) as writer:
        for epoch in range(progress.epoch, config.num_epochs):
            if progress.stopped:
                break
            echo(f"Epoch [{epoch + 1}/{config.num_epochs}]")
            plan = batches.shuffled(config.batch_size, run.seed, epoch)
            done = progress.step_in_epoch
            for numbers in bar(plan[done:], total=len(plan), initial=done, desc=f"epoch {epoch + 1}", unit="step"):
                batch = batches.cut(numbers)
                with autocast:
                    logits = model(batch).float()
                loss = F.cross_entropy(logits, batch.labels, loss_weight, label_smoothing=run.label_smoothing)
                for optimizer in optimizers:
                    optimizer.zero_grad()
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
                window.add(loss, logits, batch.labels)
                progress.step += 1
                progress.step_in_epoch += 1
                epoch_ends = progress.step_in_epoch == len(plan)
                if epoch_ends:
                    progress.epoch, progress.step_in_epoch = epoch + 1, 0
                if epoch_ends or progress.step % eval_every == 0:
                    validate(run, dev, loss_weight, progress, window, writer, start)
                    state.save(dataclasses.asdict(progress), now=False)
                if progress.stopped:
                    echo("No optimization for a long time, auto-stopping...")
                    break
    state.save(dataclasses.asdict(progress))
    return progress


def validate(run, dev, loss_weight, progress, window, writer, start):
    """Validates, prints the Iter line, writes the curves, keeps the best model, decides whether to stop."""
    train_loss, train_accuracy = window.close()
    dev_loss, predicted, _ = evaluate(run.model, dev, loss_weight)
    run.model.train()
    if not (math.isfinite(train_loss) and math.isfinite(dev_loss)):
        raise UserError(f"the loss is no finite number any more at step {progress.step}; lower --learning_rate")
    dev_accuracy = float((predicted == dev.labels).mean())
    point = {"step": progress.step, "train_loss": train_loss, "train_accuracy": train_accuracy}
    point |= {"dev_loss": dev_loss, "dev_accuracy": dev_accuracy}
    progress.history.append(point)
    progress.seconds = time.monotonic() - start
    better = dev_loss < progress.best_loss
    if better:
        progress.best_loss, progress.best_step, progress.validations_since_best = dev_loss, progress.step, 0
        parts = (run.name, run.config, run.dataset.classes, run.dataset.vocabulary, run.model)
        checkpoint.save(run.checkpoint, *parts, metrics=point)
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


def evaluate(model, batches, loss_weight=None):
    """The mean loss over all rows, each row's predicted class and its probability, (N,) each, in the rows' order."""
    total, weights = 0.0, 0.0
    predicted = np.zeros(len(batches.labels), np.int64)
    probabilities = np.zeros(len(batches.labels), np.float32)
    for numbers, batch, logits in infer(model, batches):
        total += F.cross_entropy(logits, batch.labels, loss_weight, reduction="sum").item()
        weights += len(numbers) if loss_weight is None else loss_weight[batch.labels].sum().item()
        best, where = logits.softmax(dim=1).max(dim=1)
        predicted[numbers], probabilities[numbers] = where.cpu().numpy(), best.cpu().numpy()
    return total / weights, predicted, probabilities


def test(run, progress):
    """Tests the checkpoint, prints the report and writes it under the run's log."""
    import report  # scikit-learn and matplotlib take a second to load, which a mistaken flag need not wait for

    start = time.monotonic()
    saved = checkpoint.load(run.checkpoint, run.device)
    split, classes = run.dataset.test, run.dataset.classes
    loss, predicted, probabilities = evaluate(saved.model, run.batches(split))
    accuracy = float((predicted == split.labels).mean())
    text, data, matrix = report.test_report(split.labels, predicted, classes)
    echo(f"Test Loss: {loss:>5.2},  Test Acc: {accuracy:>6.2%}")
    echo("Precision, Recall and F1-Score...")
    echo(text)
    echo("Confusion Matrix...")
    echo(str(matrix))
    seconds = time.monotonic() - start
    echo(f"Time usage: {duration(seconds)}")
    log = run.logs / progress.log
    metrics = {
        "model": run.name,
        "device": str(run.device),
        "settings": run.settings,
        "versions": checkpoint.versions(),
    }
    metrics |= {"classes": classes, "history": progress.history, "best_step": progress.best_step}
    metrics["test"] = {"loss": loss, "accuracy": accuracy, "macro_f1": data["macro avg"]["f1-score"], "report": data}
    metrics["test"]["confusion_matrix"] = matrix.tolist()
    metrics |= {"train_seconds": progress.seconds, "test_seconds": seconds, "peak_memory_mb": peak_memory(run.device)}
    report.write_metrics(log, metrics)
    report.write_predictions(log, texts_of(split.texts), split.labels, predicted, probabilities, classes)
    report.draw_losses(log, progress.history)
    report.draw_confusion_matrix(log, matrix, classes)
    progress.finished = True
    checkpoint.State(run.state, run.settings, run.device).save(dataclasses.asdict(progress))
    say(f"Checkpoint: {run.checkpoint}; report, pictures and predictions: {log}")


class Window:
    """Loss and accuracy since the last validation, summed on the device, so that a step waits for nothing."""

    def __init__(self, device):
        self.device = device
        self._clear()

    def _clear(self):
        self.rows = 0
        self.loss = torch.zeros((), device=self.device)
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)

    def add(self, loss, logits, labels):
        self.rows += len(labels)
        self.loss += loss.detach() * len(labels)
        self.correct += (logits.argmax(dim=1) == labels).sum()

    def close(self):
        """The mean loss and the accuracy; the next window begins."""
        means = self.loss.item() / self.rows, self.correct.item() / self.rows
        self._clear()
        return means


def make_optimizers(model, learning_rate):
    """Adam; for tables with sparse gradients its sparse form, which walks the rows of the batch alone."""
    sparse = [module.weight for module in model.modules() if getattr(module, "sparse", False)]
    dense = [parameter for parameter in model.parameters() if not any(parameter is table for table in sparse)]
    optimizers = [torch.optim.Adam(dense, lr=learning_rate, fused=True)]
    return [*optimizers, torch.optim.SparseAdam(sparse, lr=learning_rate)] if sparse else optimizers


def class_weights(run):
    """Each class's weight in the loss, (C,), or None. Balanced: each class weighs as much, whatever its rows."""
    if run.class_weight is None:
        return None
    counts = np.bincount(run.dataset.train.labels, minlength=len(run.dataset.classes))
    weights = len(run.dataset.train.labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=run.device)


def default_eval_every(train_rows, dev_rows, batch_size):
    """Steps between validations within an epoch, so that they cost a tenth of the training, by row counts."""
    rows = dev_rows * EVAL_COST / EVAL_SHARE
    return max(EVAL_STEPS, math.ceil(rows / min(batch_size, train_rows)))


def new_log(directory):
    """Makes a new directory, named by the time; returns its name."""
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


def peak_memory(device):
    """The largest memory that this process held, of the GPU where it trains there, in MB; None where nobody counts."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
