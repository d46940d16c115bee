"""`predict.py --evaluate FILE`: the report of a labelled file, and its errors by what was confused with what."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cli.console import UserError, echo, one_line, say
from cli.files import replacing
from engine.answers import sets_for, threshold_of
from engine.calibration import summary
from evaluation import hierarchical, multi_label, reliability, report
from text.labelled import LabelledFile
from text.rows import texts_of

PAIRS = 10  # of confused classes that are printed


class Evaluated(NamedTuple):
    """The rows of a labelled file and what was predicted for them."""

    texts: list
    labels: np.ndarray  # (N,)
    summary: np.ndarray  # (4, N), see `calibration.summary`
    sizes: np.ndarray  # (N,), of the prediction sets, without --coverage of size 0
    held: np.ndarray  # (N,) bool, whether a set has the label
    sums: np.ndarray  # (N, L), of the nodes on a path down the hierarchy, see `Hierarchy.descend`
    agreeing: np.ndarray  # (N,), see `Hierarchy.agreeing`

    @property
    def predicted(self):
        return self.summary[0].astype(np.int64)

    @property
    def confidences(self):
        return self.summary[1]


def evaluate_file(args, predictor):
    """Prints the report of `args.evaluate` and writes its errors to `args.output`, by default beside it.

    Raises UserError if rows are not text<TAB>label with a label of the checkpoint.
    """
    path, classes = Path(args.evaluate), predictor.classes
    output = Path(args.output or path.with_name(f"{path.stem}.errors.tsv"))
    if output.exists() and path.exists() and output.samefile(path):
        raise UserError(f"--output {output} is the file to evaluate; expected another one")
    threshold = threshold_of(args, predictor)
    sets = sets_for(args, predictor) if args.coverage else None
    if predictor.saved.multi_label:
        evaluate_multi_label(path, output, predictor, threshold, sets)
        return
    found = read_and_predict(path, predictor, sets)
    labels, predicted = found.labels, found.predicted
    right = predicted == labels
    echo(report.test_results(labels, predicted, classes)[1])
    for line in hierarchical.test_results(labels, predicted, predictor.hierarchy)[1]:
        echo(line)
    echo(f"Acc: {right.mean():.2%},  ECE: {reliability.measures(found.summary, labels)['ece']:.4f}")
    if threshold:
        echo_answers(found, threshold)
    if args.coverage:
        echo(f"Sets: {found.held.mean():.2%} have the label, {found.sizes.mean():.2f} classes on average")
    groups = confusions(labels, predicted, found.confidences)
    for rows in groups[:PAIRS]:
        echo(f"{len(rows):>6} rows of {classes[labels[rows[0]]]} predicted as {classes[predicted[rows[0]]]}")
    write_errors(output, groups, found, classes)
    say(f"{(~right).sum()} errors of {len(labels)} rows, {len(groups)} pairs of classes: {output}")


def echo_answers(found, threshold):
    """Prints which share of the Evaluated rows has an answer at this threshold, and which share of them is right."""
    levels, num_levels = (found.sums >= threshold).sum(axis=1), found.sums.shape[1]
    answered = levels > 0
    right = (levels <= found.agreeing)[answered]
    precision = f", {right.mean():.2%} of them right" if len(right) else ""
    echo(f"Probability at least {threshold:.4f}: {answered.mean():.2%} of the rows{precision}")
    for level in range(1, num_levels + 1 if num_levels > 1 else 0):
        of_level = right[levels[answered] == level]
        precision = f", {of_level.mean():.2%} of them right" if len(of_level) else ""
        echo(f"  at level {level}: {len(of_level) / len(levels):.2%} of the rows{precision}")


def evaluate_multi_label(path, output, predictor, threshold, sets):
    """What `evaluate_file` does with any number of labels a row; all rows are written, the wrong ones first.

    threshold: of all labels or of each, (C,), 0 without one. sets: as for `read_and_predict`.
    """
    file = LabelledFile(path, predictor.classes, multi_label=True)
    blocks = [(own := texts_of(texts), labels, predictor.predict_proba(own)) for texts, labels in file]
    for note in file.notes:
        say(note.format(path=path))
    texts = [text for own, _, _ in blocks for text in own]
    labels, probabilities = (np.concatenate([block[i] for block in blocks]) for i in (1, 2))
    predicted = predictor.saved.calibration.predicted(probabilities)
    echo(multi_label.test_results(labels, predicted, probabilities, predictor.classes)[1])
    if np.any(threshold):
        kept, total = predicted & (probabilities >= threshold), max(1, predicted.sum())
        precision = f", {labels[kept].mean():.2%} of the others right" if kept.any() else ""
        recall = f", recall {kept[labels > 0].mean():.2%}" if labels.any() else ""
        echo(f"With the threshold: {1 - kept.sum() / total:.2%} of the predicted labels become ?{precision}{recall}")
    if sets:
        found = sets(probabilities)
        held = [set(np.flatnonzero(own)) <= set(ids) for own, ids in zip(labels, found, strict=True)]
        echo(f"Sets: {np.mean(held):.2%} have all labels, {np.mean(list(map(len, found))):.2f} labels on average")
    multi_label.write_predictions(output, texts, labels, predicted, predictor.classes, probabilities)
    say(f"{(labels != predicted).any(axis=1).sum()} of {len(texts)} rows have wrong labels, the first in {output}")


def read_and_predict(path, predictor, sets_of):
    """The Evaluated rows of a labelled file.

    sets_of: a function from probabilities to each row's prediction set, None without sets.
    """
    texts, blocks, file = [], [], LabelledFile(path, predictor.classes)
    for block, labels in file:
        own = texts_of(block)
        probabilities = predictor.predict_proba(own)
        sets = sets_of(probabilities) if sets_of else [[]] * len(own)
        held = [label in classes for label, classes in zip(labels.tolist(), sets, strict=True)]
        found = summary(torch.from_numpy(probabilities), torch.from_numpy(labels)).numpy()
        nodes, sums = predictor.hierarchy.descend(probabilities)
        agreeing = predictor.hierarchy.agreeing(nodes, labels)
        texts += own
        blocks.append((labels, found, np.array(list(map(len, sets))), np.array(held), sums, agreeing))
    for note in file.notes:
        say(note.format(path=path))
    labels, summaries, *others = zip(*blocks, strict=True)
    return Evaluated(texts, np.concatenate(labels), np.concatenate(summaries, axis=1), *map(np.concatenate, others))


def confusions(labels, predicted, confidences):
    """The wrong rows as a list of arrays of ids, one for each pair of label and prediction, the largest first.

    In each the most confident errors are first. All arguments are (N,).
    """
    wrong = np.flatnonzero(predicted != labels)
    pairs = labels[wrong] * (predicted.max(initial=0) + 1) + predicted[wrong]
    order = np.lexsort((-confidences[wrong], pairs))
    starts = np.flatnonzero(np.diff(pairs[order])) + 1
    groups = np.split(wrong[order], starts) if len(wrong) else []
    return sorted(groups, key=len, reverse=True)


def write_errors(path, groups, found, classes):
    """Writes the rows of `confusions` as a .tsv file with the size of their group."""
    with replacing(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        file.write("count\tlabel\tpredicted\tprobability\ttext\n")
        for rows in groups:
            label, predicted = classes[found.labels[rows[0]]], classes[found.predicted[rows[0]]]
            for i in rows:
                text, probability = one_line(found.texts[i]), f"{found.confidences[i]:.4f}"
                file.write(f"{len(rows)}\t{label}\t{predicted}\t{probability}\t{text}\n")
