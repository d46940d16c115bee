"""Texts to classify, out of files of several kinds, and their predictions as lines."""

import csv
import itertools
import json
import sys
from pathlib import Path

from cli.console import UserError
from text.files import blocks_of, decode, whole_lines


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
