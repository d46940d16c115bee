"""What `predict.py` prints beside the class: thresholds, prediction sets, novelty, explanations, similar rows."""

import functools

import numpy as np

from cli.console import UserError, listing, number, say
from engine import thresholds
from engine.explanation import Explanation
from engine.novelty import Novelty
from engine.predictions import Lines, MultiLabelLines, check_unsure, label_ids

SHARE = number(float, 0, 0.9999, open_low=True)


def add_answer_flags(parser):
    """Adds the flags that decide which lines `lines_of` makes."""
    parser.add_argument("--top_k", type=number(int, 1), help="number of most probable classes to print (the first)")
    sure = parser.add_mutually_exclusive_group()
    sure.add_argument(
        "--min_confidence", type=number(float, 0, 1), help="print ? (or a node above) instead of a less probable class"
    )
    sure.add_argument(
        "--min_precision",
        type=SHARE,
        help="print ? for the least probable classes, such that this share of the others is right",
    )
    parser.add_argument("--by_class", action="store_true", help="report for each class how often ? is printed")
    parser.add_argument(
        "--coverage", type=SHARE, help="add a set of classes that has the right one in this share of texts"
    )
    parser.add_argument("--novelty", action="store_true", help="add how unlike the training texts a text is, 0 to 1")
    parser.add_argument("--explain", action="store_true", help="mark the characters that decided the class")
    parser.add_argument(
        "--similar", type=number(int, 1, 1000), help="add so many training rows that the model finds most alike"
    )


def lines_of(args, predictor, format, in_terminal=False):
    """The `predictions.Lines` or `MultiLabelLines` for these flags.

    Raises UserError if the checkpoint does not suffice for one.
    in_terminal: whether explanations are colours instead of a column.
    """
    classes, columns, show = predictor.classes, {}, None
    threshold, tree = threshold_of(args, predictor), predictor.hierarchy
    if args.coverage:
        sets = sets_for(args, predictor)
        columns["set"] = lambda _, found: [[classes[i] for i in row] for row in sets(found)]
    if args.novelty:
        columns["novelty"] = Novelty(predictor)
    if args.explain:
        explanation = Explanation(predictor)
        if format == "html":
            show = explanation.marks
        elif in_terminal:
            show = explanation.colours
        else:
            columns["spans"] = explanation.spans
    if args.similar:
        columns |= similar_columns(args, predictor, format)
    top_k = min(args.top_k, len(classes)) if args.top_k else None
    if predictor.saved.multi_label:
        if top_k and np.any(threshold):
            raise UserError("--top_k prints labels whatever their thresholds; leave it out, or the flag of a threshold")
        return MultiLabelLines(format, classes, top_k, threshold, predictor.saved.calibration.predicted, columns, show)
    sure = functools.partial(tree.answer, threshold=threshold) if threshold else None
    return Lines(format, tree.names, top_k, sure, columns, show)


def similar_columns(args, predictor, format):
    """The columns with similar training rows: in jsonl a list, otherwise one for each row."""
    from engine.similar import Similar  # loads scikit-learn, which takes a second

    similar = Similar(predictor, args.dataset or predictor.path.parent.parent, args.similar)
    if format == "jsonl":
        return {"similar": similar}
    return {f"similar_{rank + 1}": functools.partial(similar.shown, rank) for rank in range(args.similar)}


def threshold_of(args, predictor):
    """The probability below which there is no class, 0 without a flag for it. Reports what it means on dev.

    If a text may have several labels, --min_precision gives each label a threshold, (C,).
    """
    if args.min_confidence is None and args.min_precision is None:
        if args.by_class:
            raise UserError("--by_class needs --min_confidence or --min_precision")
        return 0.0
    check_unsure(predictor.hierarchy.names)
    found = predictor.saved.calibration
    if args.min_precision is not None or args.by_class:
        found = calibration_of(predictor, "--by_class" if args.min_precision is None else "--min_precision")
    choose, describe = thresholds.threshold_of_precision, thresholds.describe_threshold
    if predictor.saved.multi_label:
        choose, describe = thresholds.label_thresholds_of_precision, thresholds.describe_label_thresholds
    threshold = args.min_confidence if args.min_precision is None else choose(found, args.min_precision)
    if never := [name for name, least in zip(predictor.classes, np.atleast_1d(threshold), strict=False) if least > 1]:
        say(f"The validation rows do not show this precision for {len(never)} labels, which become ?: {listing(never)}")
    if len(found.labels):
        for line in describe(found, threshold, predictor.classes if args.by_class else ()):
            say(line)
    return threshold


def sets_for(args, predictor):
    """A function from probabilities, (N, C), to the classes of each row's set for --coverage, lists of ids."""
    least = thresholds.threshold_of_coverage(calibration_of(predictor, "--coverage"), args.coverage)
    if predictor.saved.multi_label:
        return lambda probabilities: label_ids(probabilities, probabilities >= least)
    return lambda probabilities: thresholds.sets_of(probabilities, least)


def calibration_of(predictor, flag):
    """The checkpoint's Calibration. Raises UserError if an earlier version wrote it without one."""
    found = predictor.saved.calibration
    if not len(found.labels):
        raise UserError(
            f"{flag} needs the results of validation rows, and {predictor.path} has none, since an earlier version "
            "trained it; train again, or use --min_confidence"
        )
    return found
