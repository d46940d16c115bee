"""Predictions as lines of text."""

import html
import json

import numpy as np

from cli.console import UserError, one_line

STEPS = 10_000  # probabilities have four decimal places
UNSURE = "?"  # instead of a class that is not probable enough
PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Predictions</title>
<style>
:root { color-scheme: light dark; font-family: sans-serif }
td, th { padding: 0.2em 0.6em; text-align: left; vertical-align: top }
tr:nth-child(even) { background: #8882 }
</style>
<table>
"""


class Lines:
    """Formats texts and their predictions as lines of `tsv`, `jsonl` or `html`.

    names: of the classes, and after them of the other nodes of their `Hierarchy`. top_k: how many of the most probable
    classes a line has, None for the first alone. sure: a function from probabilities to ids of names, -1 for
    `UNSURE`, and their probabilities, which take the place of the most probable class. columns: further ones by name;
    each is a function from texts and probabilities to a value for each text. show: a function from texts and
    probabilities to what is printed of the texts, in the language of the format.
    """

    def __init__(self, format, names, top_k, sure=None, columns=None, show=None):
        self.format, self.top_k, self.count = format, top_k, top_k or 1
        self.sure, self.columns, self.show = sure, columns or {}, show
        encode = json.JSONEncoder(ensure_ascii=False).encode
        more = len(self.columns)
        if format == "jsonl":
            self.text, self.field, label, digits = encode, encode, encode, ""
            self.line = '{"text": %s, "label": %s, "probability": %s'
            self.empty = '{"text": %s, "label": null, "probability": 0.0'
            if top_k:
                self.line += f', "top_k": [{", ".join(["[%s, %s]"] * top_k)}]'
                self.empty += ', "top_k": []'
            end = "".join(f", {encode(name)}: %s" for name in self.columns) + "}\n"
        else:
            self.text, self.field, label, digits = one_line, plain, str, ".4f"
            start, between, end = "%s", "\t", "\t%s" * more + "\n"
            if format == "html":
                self.text, label = str if show else html.escape, html.escape
                self.field = lambda value: html.escape(plain(value))
                start, between, end = "<tr><td>%s", "<td>", "<td>%s" * more + "\n"
            self.line = start + f"{between}%s{between}%s" * self.count
            self.empty = start + f"{between}{between}0.0000" * self.count
        self.line, self.empty = self.line + end, self.empty + end
        self.labels = np.array([label(name) for name in [*names, UNSURE]], object)
        self.probabilities = np.array([f"{i / STEPS:{digits}}" for i in range(STEPS + 1)], object)

    @property
    def header(self):
        """The line before those of the texts."""
        suffixes = ["", *(f"_{k}" for k in range(2, self.count + 1))]
        columns = [f"{name}{suffix}" for suffix in suffixes for name in ("label", "probability")]
        return header_of(self.format, ["text", *columns, *self.columns])

    @property
    def footer(self):
        """The line after those of the texts."""
        return footer_of(self.format)

    def __call__(self, texts, probabilities):
        """The lines of these texts as one string. probabilities: (N, C), all 0 for an empty text."""
        more = [list(map(self.field, column(texts, probabilities))) for column in self.columns.values()]
        texts = [self.text(text) for text in (self.show(texts, probabilities) if self.show else texts)]
        ids = most_probable(probabilities, self.count)
        values = np.take_along_axis(probabilities, ids, axis=1)
        pairs = [c for k in range(self.count) for c in self._pair(ids[:, k], values[:, k])]
        if self.format == "jsonl" and self.top_k:
            pairs = pairs[:2] + pairs
        if self.sure:
            pairs[:2] = self._pair(*self.sure(probabilities))
        columns = [*(column.tolist() for column in pairs), *more]
        lines = [self.line % fields for fields in zip(texts, *columns, strict=True)]
        for i in np.flatnonzero(~probabilities.any(axis=1)):
            lines[i] = self.empty % (texts[i], *(column[i] for column in more))
        return "".join(lines)

    def _pair(self, ids, values):
        """The fields of names and of their probabilities."""
        return self.labels[ids], self.probabilities[steps_of(values)]

    def answer(self, text, probabilities):
        """What a person is shown of a text: its classes and their probabilities, a line each, and the other columns.

        probabilities: (1, C).
        """
        shown = self.show([text], probabilities) if self.show else []
        rows = [(self.labels[i], probabilities[0, i]) for i in most_probable(probabilities, self.count)[0]]
        if self.sure:
            (i,), (probability,) = self.sure(probabilities)
            rows[0] = (self.labels[i], probability)
        more = [f"{name}\t{plain(column([text], probabilities)[0])}" for name, column in self.columns.items()]
        return "\n".join([*shown, *(f"{label}\t{probability:.4f}" for label, probability in rows), *more])


class MultiLabelLines:
    """Formats texts and their labels, joined by commas, the most probable first, as lines of `tsv`, `jsonl` or `html`.

    top_k: how many of the most probable labels a line has, None for the predicted ones. threshold: the least
    probability of a label, or (C,), one for each; below it a line has `UNSURE` in its place. predicted: a function from
    probabilities, (N, C), to whether each label is predicted. The others are those of `Lines`.
    """

    def __init__(self, format, classes, top_k, threshold, predicted, columns, show):
        self.format, self.classes, self.top_k, self.predicted = format, classes, top_k, predicted
        self.least = np.full(len(classes), threshold, np.float32).tolist()
        self.columns, self.show = columns, show

    @property
    def header(self):
        return header_of(self.format, ["text", "labels", "probabilities", *self.columns])

    @property
    def footer(self):
        return footer_of(self.format)

    def __call__(self, texts, probabilities):
        """The lines of these texts as one string. probabilities: (N, C)."""
        more = [column(texts, probabilities) for column in self.columns.values()]
        shown = self.show(texts, probabilities) if self.show else texts
        rows = zip(shown, self._ids(probabilities), probabilities.tolist(), *more, strict=True)
        return "".join(self._line(*row) for row in rows)

    def answer(self, text, probabilities):
        """What a person is shown of a text: a line for each label, and the other columns. probabilities: (1, C)."""
        shown = self.show([text], probabilities) if self.show else []
        values = probabilities[0].tolist()
        rows = [f"{self._name(i, values)}\t{values[i]:.4f}" for i in self._ids(probabilities)[0]] or ["(no label)"]
        more = [f"{name}\t{plain(column([text], probabilities)[0])}" for name, column in self.columns.items()]
        return "\n".join([*shown, *rows, *more])

    def _ids(self, probabilities):
        """The ids of each text's labels."""
        if self.top_k:
            return most_probable(probabilities, self.top_k).tolist()
        return label_ids(probabilities, self.predicted(probabilities))

    def _name(self, i, probabilities):
        return self.classes[i] if probabilities[i] >= self.least[i] else UNSURE

    def _line(self, text, ids, probabilities, *more):
        labels, values = [self._name(i, probabilities) for i in ids], [round(probabilities[i], 4) for i in ids]
        if self.format == "jsonl":
            content = {"text": text, "labels": labels, "probabilities": values}
            return json.dumps(content | dict(zip(self.columns, more, strict=True)), ensure_ascii=False) + "\n"
        fields = [",".join(labels), ",".join(f"{value:.4f}" for value in values), *map(plain, more)]
        if self.format == "html":
            cells = [text if self.show else html.escape(text), *map(html.escape, fields)]
            return "<tr>" + "".join(f"<td>{cell}" for cell in cells) + "\n"
        return "\t".join([one_line(text), *fields]) + "\n"


def steps_of(probabilities):
    """Probabilities in whole `STEPS`, of the same shape."""
    # a float32 times ten thousand is exact in float64, so that this rounds like a format of four places
    return np.rint(probabilities.astype(np.float64) * STEPS).astype(np.int64)


def check_unsure(names):
    """Raises UserError if one of the names is `UNSURE`."""
    if UNSURE in names:
        raise UserError(f"a class is called {UNSURE}, which --min_confidence and --min_precision print; rename it")


def header_of(format, names):
    """The line before those of the texts."""
    if format == "html":
        return PAGE + "<tr>" + "".join(f"<th>{name}" for name in names) + "\n"
    return "" if format == "jsonl" else "\t".join(names) + "\n"


def footer_of(format):
    """The line after those of the texts."""
    return "</table>\n" if format == "html" else ""


def plain(value):
    """A column's value as a field of a .tsv file."""
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, float):
        return f"{value:.4f}"
    names = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return ",".join(value) if names else json.dumps(value, ensure_ascii=False)


def label_ids(probabilities, predicted):
    """The ids of each row's predicted labels, a list of lists, the most probable first. Both are (N, C)."""
    order = np.argsort(-probabilities.astype(np.float32), axis=1, kind="stable")
    taken = np.take_along_axis(predicted, order, axis=1)
    return [ids[own].tolist() for ids, own in zip(order, taken, strict=True)]


def most_probable(probabilities, count):
    """The ids of each row's `count` most probable classes, (N, C) -> (N, count); among equals the lowest id first."""
    if count == 1:
        return probabilities.argmax(axis=1)[:, None]
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
