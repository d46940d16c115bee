"""Training and validation: the one loop, early stopping, resuming.

Prints a run's lines to standard output; messages and bars go to standard error.
"""

import contextlib
import dataclasses
import math
import time

import numpy as np
import torch
from tensorboardX import SummaryWriter

from cli.console import RANK, RANKS, UserError, bar, duration, echo, say
from cli.files import peak_memory
from engine import checkpoint, resume
from engine.batches import infer
from engine.device import autocast, release_memory, tensor_floats
from engine.losses import Tally
from engine.ranks import like_first, parallel, total
from engine.runs import Progress, new_log
from text.rows import texts_of

EVAL_COST = 1 / 3  # of validating a row, beside training on one: forward alone, against forward, backward and update
EVAL_SHARE = 1 / 10  # of the training's cost that validations between the epochs' ends may take
EVAL_STEPS = 100  # at least, between two of them
PATIENCE = 3  # validations at least, before a training stops early


def train(run):
    """Trains `run.model`; the best one by validation loss was given to `run.keep`. Returns the Progress.

    Raises UserError where a loss is not finite or the state to resume from is another run's.
    """
    config = run.config
    scaler = torch.amp.GradScaler(run.device.type, enabled=run.amp == "fp16")
    state = resume.State(run.state, run.settings, run.device, run.model, [*run.optimizers, scaler])
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
    resume.State(run.state, run.settings, run.device).save(dataclasses.asdict(progress))


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


def default_eval_every(train_rows, dev_rows, batch_size):
    """Steps between validations within an epoch, so that they cost a tenth of the training, by row counts."""
    rows = dev_rows * EVAL_COST / EVAL_SHARE
    return max(EVAL_STEPS, math.ceil(rows / min(batch_size, train_rows)))


def train_and_test(run, dataset):
    """What a script does with a classifier's Run."""
    progress = train(run)
    if progress.finished:
        say(f"This run is finished already, its report is in {run.logs / progress.log}; start anew without --resume")
    else:
        run.optimizers.clear()  # what they hold is more than the model, and the test loads another one
        test(run, progress, dataset)


def test(run, progress, dataset):
    """Tests the checkpoint, prints the report and writes it under the run's log."""
    from evaluation import (
        report,  # scikit-learn and matplotlib take a second to load, which a mistaken flag need not wait for
    )

    start = time.monotonic()
    path = checkpoint.path_of(run.output, run.name)
    model = like_first(checkpoint.load(path, run.device).model if RANK == 0 else run.model)
    labels, classes = dataset.test.labels.astype(np.int64), dataset.classes
    best = torch.zeros(2, len(labels), dtype=torch.float64)  # each row's probability and class

    def keep(numbers, logits):
        probabilities, predicted = logits.softmax(dim=1).max(dim=1)
        best[0, numbers], best[1, numbers] = probabilities.cpu().double(), predicted.cpu().double()

    with autocast(run.device, run.amp):  # as `predict.Predict` computes
        loss, accuracy = evaluate(model, dataset.batches("test", run.config.pad_size, run.device), keep=keep)
    probabilities, predicted = total(best).numpy()
    predicted = predicted.astype(np.int64)
    if RANK:
        return
    text, data, matrix = report.test_report(labels, predicted, classes)
    echo(f"Test Loss: {loss:>5.2},  Test Acc: {accuracy:>6.2%}")
    echo("Precision, Recall and F1-Score...")
    echo(text)
    echo("Confusion Matrix...")
    echo(str(matrix))
    seconds = time.monotonic() - start
    echo(f"Time usage: {duration(seconds)}")
    cuda = run.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(run.device) / 2**20 if cuda else peak_memory()
    log = run.logs / progress.log
    metrics = {"model": run.name, "device": str(run.device), "settings": run.settings}
    metrics |= {"versions": checkpoint.versions(), "classes": classes}
    metrics |= {"history": progress.history, "best_step": progress.best_step}
    metrics["test"] = {"loss": loss, "accuracy": accuracy, "macro_f1": data["macro avg"]["f1-score"], "report": data}
    metrics["test"]["confusion_matrix"] = matrix.tolist()
    metrics |= {"train_seconds": progress.seconds, "test_seconds": seconds, "peak_memory_mb": memory}
    report.write_metrics(log, metrics)
    report.write_predictions(log, texts_of(dataset.test.texts), labels, predicted, probabilities, classes)
    report.draw_losses(log, progress.history)
    report.draw_confusion_matrix(log, matrix, classes)
    finish(run, progress)
    say(f"Checkpoint: {path}; report, pictures and predictions: {log}")
