"""Texts to classify, out of files of several kinds, and their predictions as lines."""

import csv
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from cli.console import UserError, one_line
from text.labelled import blocks_of, decode, whole_lines

STEPS = 10_000  # probabilities are told to four places


def read_texts(source, column, show):
    """The texts of a file, one after the other: a line each, or a column of a .jsonl, .csv or .tsv file.

    source: its path, - for standard input; show: with a bar. Raises UserError with the line that is wrong.
    """
    name = "standard input" if source == "-" else source
    blocks = whole_lines(sys.stdin.buffer) if source == "-" else blocks_of(source, show)
    lines = itertools.chain.from_iterable(_split(blocks, name))
    kinds = {".jsonl": _json_texts, ".csv": _table_texts, ".tsv": _table_texts}
    kind = kinds.get(_suffix(source))
    if column and not kind:
        raise UserError(f"--text {column} names a column, but {name} is no .jsonl, .csv or .tsv file")
    return kind(lines, name, column or "text") if kind else lines


def _split(blocks, name):
    """Each block's lines without their ends, as a list."""
    count = 0
    for block in blocks:
        text = decode(name, block, count)
        count += block.count(b"\n")
        lines = text.removesuffix("\n").split("\n")
        yield [line.rstrip("\r") for line in lines] if "\r" in text else lines


def _suffix(source):
    """A file's suffix, before one of compression."""
    return Path(source.lower().removesuffix(".gz").removesuffix(".bz2")).suffix


def _json_texts(lines, name, column):
    for i, line in enumerate(lines, 1):
        if not line.strip():
            yield ""
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{name}, line {i}: no JSON ({error})") from error
        text = row.get(column) if isinstance(row, dict) else None
        if not isinstance(text, str):
            keys = ", ".join(row) if isinstance(row, dict) else "no object"
            raise UserError(f"{name}, line {i}: no text at {column!r}; it has {keys}; --text COLUMN names another")
        yield text


def _table_texts(lines, name, column):
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if _suffix(name) == ".tsv" else {}
    csv.field_size_limit(1 << 30)
    reader = csv.reader((line + "\n" for line in lines), strict=True, **options)
    try:
        header = next(reader, [])
        if column not in header:
            raise UserError(f"{name} has no column {column!r}; it has {', '.join(header)}; --text COLUMN names another")
        place = header.index(column)
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(f"{name}, line {reader.line_num}: {len(row)} fields, the header has {len(header)}")
            yield row[place] if row else ""
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: {error}") from error


class Lines:
    """Texts with their predictions as lines of `tsv` or `jsonl`.

    classes: their names; top_k: how many of them a line tells, None for the most probable alone.
    """

    def __init__(self, kind, classes, top_k):
        self.kind, self.top_k, self.count = kind, top_k, top_k or 1
        encode = json.JSONEncoder(ensure_ascii=False).encode
        if kind == "jsonl":
            self.text, label, spec = encode, encode, ""
            self.line = '{"text": %s, "label": %s, "probability": %s'
            self.empty = '{"text": %s, "label": null, "probability": 0.0'
            if top_k:
                self.line += f', "top_k": [{", ".join(["[%s, %s]"] * top_k)}]'
                self.empty += ', "top_k": []'
            self.line, self.empty = self.line + "}\n", self.empty + "}\n"
        else:
            self.text, label, spec = one_line, str, ".4f"
            self.line = "%s" + "\t%s\t%s" * self.count + "\n"
            self.empty = "%s" + "\t\t0.0000" * self.count + "\n"
        self.labels = np.array([label(name) for name in classes], object)
        self.numbers = np.array([format(i / STEPS, spec) for i in range(STEPS + 1)], object)

    @property
    def header(self):
        """The line before those of the texts."""
        if self.kind == "jsonl":
            return ""
        places = ["", *(f"_{k}" for k in range(2, self.count + 1))]
        return "\t".join(["text", *(f"{name}{place}" for place in places for name in ("label", "probability"))]) + "\n"

    def __call__(self, texts, probabilities):
        """The lines of these texts as one string. probabilities: (N, C), all 0 for an empty text."""
        texts = [self.text(text) for text in texts]
        ids = most_probable(probabilities, self.count)
        # a float32 times ten thousand is exact in float64, so that this rounds as a format of four places does
        steps = np.rint(np.take_along_axis(probabilities, ids, axis=1).astype(np.float64) * STEPS).astype(np.int64)
        pairs = [column for k in range(self.count) for column in (self.labels[ids[:, k]], self.numbers[steps[:, k]])]
        if self.kind == "jsonl" and self.top_k:
            pairs = pairs[:2] + pairs
        lines = [self.line % fields for fields in zip(texts, *(column.tolist() for column in pairs), strict=True)]
        for i in np.flatnonzero(~probabilities.any(axis=1)):
            lines[i] = self.empty % texts[i]
        return "".join(lines)


def most_probable(probabilities, count):
    """The numbers of each row's `count` most probable classes, (N, C) -> (N, count); of equal ones the first first."""
    if count == 1:
        return probabilities.argmax(axis=1)[:, None]
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :count]
