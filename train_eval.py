"""Training, validation and test: the one loop, early stopping, resuming, the report.

The lines of a run go to standard output; messages and bars go to standard error. With any number of labels a row, the
macro F1 takes the place of the accuracy.
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
from cli.installation import versions
from engine import checkpoint, resume
from engine.batches import infer
from engine.calibration import calibrate
from engine.device import autocast, release_memory, tensor_floats
from engine.long_rows import report_cost
from engine.losses import Loss, tally_of
from engine.ranks import all_reduce_sum, broadcast, parallel
from engine.runs import Progress, new_log
from text.digests import confirm
from text.rows import texts_of

EVAL_COST = 1 / 3  # of validating a row, relative to training on it: forward, against forward, backward and update
EVAL_SHARE = 1 / 10  # of the training's cost, for validations within an epoch
EVAL_STEPS = 100  # at least, between two of them
PATIENCE = 3  # validations at least, before a training stops early


def train(run):
    """Trains `run.model` and gives the best one by validation to `run.keep`. Returns the Progress.

    The best one has the highest accuracy and, of equal ones, the lowest loss: the loss rises from some epoch on, since
    the model becomes too certain, while the accuracy still rises.

    Raises UserError if a loss is not finite, or if the state to resume from is of another run.
    """
    config, compute, updates = run.config, run.compute, run.updates
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.amp == "fp16")
    state = resume.State(run.output.state, run.fingerprint, compute.device, run.model, [*updates.optimizers, scaler])
    progress = state.restore(Progress) if run.resume else state.clear()
    progress = progress or Progress(log=new_log(run.output.logs))
    if progress.finished:
        return progress
    if RANK:  # each rank has its own dropout masks
        torch.manual_seed(int(np.random.SeedSequence((run.seed, RANK, progress.step)).generate_state(1)[0]))
    run.model.train()
    report_cost(run)
    model = parallel(run.model, compute.device)
    if compute.compile:
        model = torch.compile(model, dynamic=True)
    eval_every = run.eval_every or default_eval_every(len(run.train.labels), len(run.dev.labels), config.batch_size)
    start = time.monotonic() - progress.seconds
    tally = tally_of(run.train, run.loss)
    log = str(run.output.logs / progress.log)
    writing = SummaryWriter(log, purge_step=progress.step + 1, write_to_disk=RANK == 0)
    with writing as writer, tensor_floats(compute.device, compute.amp):
        for epoch in range(progress.epoch, config.num_epochs):
            if progress.stopped:
                break
            echo(f"Epoch [{epoch + 1}/{config.num_epochs}]")
            plan = run.train.shuffled(config.batch_size, run.seed, epoch)
            done = progress.step_in_epoch
            for row_ids in bar(plan[done:], total=len(plan), initial=done, desc=f"epoch {epoch + 1}", unit="step"):
                set_rates(updates, progress.step, config.num_epochs * len(plan))
                take_step(run, model, run.train.parts(row_ids, updates.accumulate), scaler, tally)
                progress.step += 1
                progress.step_in_epoch += 1
                epoch_ends = progress.step_in_epoch == len(plan)
                if epoch_ends:
                    progress.epoch, progress.step_in_epoch = epoch + 1, 0
                if epoch_ends or progress.step % eval_every == 0:
                    validate(run, progress, tally, writer, start)
                    waited = progress.step - progress.best_step >= config.require_improvement
                    progress.stopped = waited and progress.validations_since_best >= PATIENCE
                    state.save(dataclasses.asdict(progress), now=False)
                    release_memory()
                if progress.stopped:
                    echo("No optimization for a long time, auto-stopping...")
                    break
    state.save(dataclasses.asdict(progress))
    return progress


def fit(run):
    """What `train` does, for a linear model: a single step, and a validation. There is nothing to resume within it."""
    from engine import fitting  # loads scikit-learn, which takes a second

    state = resume.State(run.output.state, run.fingerprint, run.compute.device)
    progress = state.restore(Progress) if run.resume else state.clear()
    progress = progress or Progress(log=new_log(run.output.logs))
    if progress.finished:
        return progress
    start = time.monotonic()
    fitting.fit(run.model, run.config, run.train, run.dev, run.seed, balanced=run.loss.class_weights is not None)
    progress.step = progress.epoch = 1
    tally = tally_of(run.train, Loss(run.loss.class_weights))
    for _, batch, logits in infer(run.model, run.train, RANK, RANKS):
        tally.add(logits, batch.labels)
    with SummaryWriter(str(run.output.logs / progress.log), write_to_disk=RANK == 0) as writer:
        validate(run, progress, tally, writer, start)
    return progress


def finish(run, progress):
    """Saves that the run is over: there is nothing to resume."""
    progress.finished = True
    resume.State(run.output.state, run.fingerprint, run.compute.device).save(dataclasses.asdict(progress))


def set_rates(updates, step, steps):
    """Sets each parameter group's learning rate by the schedule."""
    if updates.schedule:
        for group in (group for optimizer in updates.optimizers for group in optimizer.param_groups):
            group["lr"] = group["initial_lr"] * updates.schedule(step, steps)


def take_step(run, model, parts, scaler, tally):
    """Forward and backward on each part of a batch, and one update with the gradients of the whole batch."""
    optimizers, compute = run.updates.optimizers, run.compute
    weight = all_reduce_sum(torch.stack([run.loss.weight(part.labels, part.targets) for part in parts]).sum())
    for optimizer in optimizers:
        optimizer.zero_grad()
    for i, part in enumerate(parts, 1):
        alone = RANKS > 1 and i < len(parts)  # the last part averages the gradients over the ranks
        with model.no_sync() if alone else contextlib.nullcontext():
            with autocast(compute.device, compute.amp):
                logits = model(part)
            loss = tally.add(logits[: len(part.labels)].float(), part.labels, part.targets)
            scaler.scale(loss * (RANKS / weight)).backward()  # DistributedDataParallel divides by the ranks
    for optimizer in optimizers:
        scaler.unscale_(optimizer)
    if run.updates.max_norm:
        torch.nn.utils.clip_grad_norm_(run.model.parameters(), run.updates.max_norm)
    for optimizer in optimizers:
        scaler.step(optimizer)
    scaler.update()


def validate(run, progress, tally, writer, start):
    """Validates, prints the Iter line, writes the curves, keeps the best model."""
    confirm()
    train_loss, train_score = tally.close()
    measure, shown = tally.measure, tally.shown
    with autocast(run.compute.device, run.compute.amp):
        dev_loss, dev_score = evaluate(run.model, run.dev, Loss(run.loss.class_weights))
    run.model.train()
    if not (math.isfinite(train_loss) and math.isfinite(dev_loss)):
        raise UserError(f"the loss is not a finite number at step {progress.step}; lower --learning_rate")
    point = {"step": progress.step, "train_loss": train_loss, f"train_{measure}": train_score}
    point |= {"dev_loss": dev_loss, f"dev_{measure}": dev_score}
    progress.history.append(point)
    progress.seconds = time.monotonic() - start
    better = (dev_score, -dev_loss) > (progress.best_accuracy, -progress.best_loss)
    if better:
        progress.best_accuracy, progress.best_loss = dev_score, dev_loss
        progress.best_step, progress.validations_since_best = progress.step, 0
        if RANK == 0:
            run.keep(point)
    else:
        progress.validations_since_best += 1
    echo(
        f"Iter: {progress.step:>6},  Train Loss: {train_loss:>5.2},  Train {shown}: {train_score:>6.2%},  "
        f"Val Loss: {dev_loss:>5.2},  Val {shown}: {dev_score:>6.2%},  "
        f"Time: {duration(progress.seconds)} {'*' if better else ''}"
    )
    for name in ("loss", measure):
        for split in ("train", "dev"):
            writer.add_scalar(f"{name}/{split}", point[f"{split}_{name}"], progress.step)


def evaluate(model, batches, loss, keep=None):
    """The mean loss and the accuracy, or the macro F1, over all rows and ranks.

    keep: is called with the row ids and logits, (B, C), of each batch of this rank.
    """
    tally = tally_of(batches, loss)
    for row_ids, batch, logits in infer(model, batches, RANK, RANKS):
        tally.add(logits.float(), batch.labels)
        if keep:
            keep(row_ids, logits.float())
    return tally.close()


def default_eval_every(train_rows, dev_rows, batch_size):
    """Steps between validations within an epoch, such that they cost a tenth of the training, by row counts."""
    rows = dev_rows * EVAL_COST / EVAL_SHARE
    return max(EVAL_STEPS, math.ceil(rows / min(batch_size, train_rows)))


def train_and_test(run, dataset, train=train):
    """Trains a classifier, with `train` or `fit`, tests its best checkpoint, prints and writes the report."""
    if dataset.multi_label:
        say("Several labels a row: binary cross entropy; the best checkpoint is that with the highest macro F1 on dev")
    progress = train(run)
    if progress.finished:
        say(f"This run is finished, its report is in {run.output.logs / progress.log}; start again without --resume")
    else:
        if run.updates:
            run.updates.optimizers.clear()  # they hold more memory than the model, and the test loads another model
        test(run, progress, dataset)


def test(run, progress, dataset):
    """Tests the checkpoint, prints the report and writes it to the run's log."""
    from evaluation import multi_label, report, single_label  # load scikit-learn and matplotlib, which takes a second

    start = time.monotonic()
    compute, path = run.compute, run.output.checkpoint
    model = broadcast(checkpoint.load(path, compute.device).model if RANK == 0 else run.model)
    kind = multi_label if dataset.multi_label else single_label
    with autocast(compute.device, compute.amp):  # as `engine.predictor` computes
        calibration = calibrate(model, run.dev, run.hierarchy)
        batches = dataset.batches("test", run.config, compute.device)
        found = kind.Found(dataset.test.labels, run.hierarchy, calibration)
        loss, score = evaluate(model, batches, Loss(), found.add)
    all_reduce_sum(found.sums)
    if RANK:
        return
    checkpoint.add_calibration(path, calibration)
    results, text = found.results
    echo(f"Test Loss: {loss:>5.2},  {found.headline(score)}")
    echo(text)
    seconds = time.monotonic() - start
    echo(f"Time usage: {duration(seconds)}")
    cuda = compute.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(compute.device) / 2**20 if cuda else peak_memory()
    metrics = {"model": run.output.name, "device": str(compute.device), "fingerprint": run.fingerprint}
    metrics |= {"versions": versions(*checkpoint.PACKAGES), "classes": dataset.classes}
    metrics |= {"history": progress.history, "best_step": progress.best_step, "test": {"loss": loss} | results}
    metrics["calibration"] = found.reliability()
    metrics |= {"epoch_rows": len(run.train.lengths), "train_seconds": progress.seconds}
    metrics |= {"test_seconds": seconds, "peak_memory_mb": memory}
    log = run.output.logs / progress.log
    report.write_metrics(log, metrics)
    report.draw_losses(log, progress.history, progress.best_step)
    found.write(log, texts_of(dataset.test.texts))
    finish(run, progress)
    say(f"Checkpoint: {path}; report, pictures and predictions: {log}")
