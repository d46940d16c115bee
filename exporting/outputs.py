"""What is answered of probabilities: labels, nodes of a hierarchy, lines of text, and the file for them.

Shapes: N texts, C classes.
"""

import contextlib
import itertools
import json
import os
import secrets
import sys
from pathlib import Path

import numpy as np

UNSURE = "?"  # instead of a class that is not probable enough


class Hierarchy:
    """The tree of the classes: names that are paths, such as `a/b`, have the node `a` above."""

    def __init__(self, classes, hierarchical):
        paths = [tuple(nodes_of(name)) if hierarchical else (name,) for name in classes]
        self.levels, above = [], {(): 0}
        for level in range(max(map(len, paths))):
            keys = [(path + (None,) * level)[: level + 1] for path in paths]  # None after the end of a path
            index = {key: i for i, key in enumerate(dict.fromkeys(keys))}
            is_below = np.zeros((len(classes), len(index)), np.float32)
            is_below[range(len(classes)), [index[key] for key in keys]] = 1
            names, parents = np.array([key[-1] for key in index], object), [above[key[:-1]] for key in index]
            self.levels.append((names, np.array(parents), is_below))
            above = index

    def answer(self, probabilities, least):
        """The deepest node of each text with at least this probability, from the top down, and its probability.

        It is `UNSURE`, with the probability of the top node, if there is none.
        """
        answers, chosen = np.full(len(probabilities), UNSURE, object), np.zeros(len(probabilities), int)
        values = confidences = None
        for names, parents, is_below in self.levels:
            sums = probabilities @ is_below
            chosen = np.where(parents == chosen[:, None], sums, -1).argmax(axis=1)
            sums = np.minimum(np.take_along_axis(sums, chosen[:, None], axis=1)[:, 0], 1 if values is None else values)
            values, found = sums, names[chosen]
            is_sure = (values >= least) & (found != None)  # noqa: E711
            answers = np.where(is_sure, found, answers)
            confidences = values if confidences is None else np.where(is_sure, values, confidences)
        return answers, confidences


def nodes_of(name):
    """The nodes on the path to a class. A name with an empty part is no path."""
    parts = name.split("/")
    if not all(map(str.strip, parts)):
        return [name]
    return [prefix.strip() for prefix in itertools.accumulate(parts, "{}/{}".format)]


def most_probable(probabilities, count):
    """The ids of each row's `count` most probable classes, (N, count)."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :count]


def label_ids(probabilities, thresholds):
    """The ids of each text's labels, whose probabilities reach their thresholds, (C,); the most probable first."""
    order = most_probable(probabilities, len(thresholds))
    is_label = np.take_along_axis(probabilities >= thresholds, order, axis=1)
    return [ids[own].tolist() for ids, own in zip(order, is_label, strict=True)]


def class_lines(predict, texts, probabilities, format, top_k, least):
    """A line for each text, with its most probable class or its `top_k` most probable ones."""
    order = most_probable(probabilities, top_k or 1)
    values = np.take_along_axis(probabilities, order, axis=1)
    sure = [None] * len(texts)
    if least:
        sure = zip(*predict.hierarchy.answer(probabilities, least), strict=True)
    for text, ids, own, answer in zip(texts, order, values.tolist(), sure, strict=True):
        pairs = [[predict.classes[i], round(value, 4)] for i, value in zip(ids, own, strict=True)]
        first = [answer[0], round(float(answer[1]), 4)] if answer else pairs[0]
        first, pairs = (first, pairs) if own[0] else ([None, 0.0], [])
        if format == "jsonl":
            line = dict(zip(("text", "label", "probability"), (text, *first), strict=True))
            yield json.dumps(line | ({"top_k": pairs} if top_k else {}), ensure_ascii=False) + "\n"
        else:
            pairs = [first, *pairs[1:]] if pairs else [["", 0.0]] * (top_k or 1)
            yield "\t".join([one_line(text), *(f"{name}\t{value:.4f}" for name, value in pairs)]) + "\n"


def labels_lines(predict, texts, probabilities, format, top_k, least):
    """A line for each text, with its labels or its `top_k` most probable ones."""
    rows = most_probable(probabilities, top_k).tolist() if top_k else label_ids(probabilities, predict.thresholds)
    for text, ids, own, is_sure in zip(
        texts, rows, probabilities.tolist(), probabilities >= np.float32(least), strict=True
    ):
        names = [predict.classes[i] if is_sure[i] else UNSURE for i in ids]
        values = [round(own[i], 4) for i in ids]
        if format == "jsonl":
            yield json.dumps({"text": text, "labels": names, "probabilities": values}, ensure_ascii=False) + "\n"
        else:
            yield "\t".join([one_line(text), ",".join(names), ",".join(f"{value:.4f}" for value in values)]) + "\n"


def one_line(text):
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ")


@contextlib.contextmanager
def opened(path):
    """The file to write, or standard output. A file is moved into place: an error leaves the old one, or none."""
    options = {"encoding": "utf-8", "newline": "", "errors": "backslashreplace"}
    if not path:
        yield sys.stdout
        sys.stdout.flush()  # a full disk is an error here
        return
    target = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    if target.exists() and not target.is_file():  # a pipe, a device; a directory is an error
        with open(target, "w", **options) as file:
            yield file
        return
    temporary = target.with_name(f"{target.name[:40]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "x", **options) as file:
            yield file
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
