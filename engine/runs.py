"""A classifier's training, as the flags of a script set it up, and its test with the report."""

import time

import numpy as np
import torch

from cli.console import RANK, echo, peak_memory, say
from engine import checkpoint
from engine.device import autocast, like_first, total
from text.vocabulary import blocks, texts_of
from train_eval import Run, duration, evaluate, finish, train


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


def class_weights(dataset, device):
    """Each class's weight in the loss, (C,), such that each class weighs as much, whatever its rows."""
    counts = sum(np.bincount(labels, minlength=len(dataset.classes)) for labels in blocks(dataset.train.labels))
    weights = len(dataset.train.labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32, device=device)
