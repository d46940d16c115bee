"""Texts to classify, read from files of several kinds."""

import csv
import itertools
import sys
from pathlib import Path

from cli.console import UserError, excerpt, listing, reason
from text.files import arriving_blocks, blocks_of, decode, parse_json

ROWS = 4096  # of a table that are read together


def read_texts(source, column, show):
    """The texts of a file, some at a time as a list: a line each, or a column of a .jsonl, .csv or .tsv file.

    source: its path, - for standard input; show: with a bar. An empty list says that the next text of a pipe has not
    arrived yet. Raises UserError with the line that is wrong.
    """
    name = "standard input" if source == "-" else source
    blocks = arriving_blocks(sys.stdin) if source == "-" else blocks_of(source, show)
    lines = _split(blocks, name)
    reader = {".jsonl": _json_texts, ".csv": _table_texts, ".tsv": _table_texts}.get(_suffix(source))
    if column and not reader:
        raise UserError(f"--text {column} names a column, but {name} is no .jsonl, .csv or .tsv file")
    if not reader:
        return lines
    texts = reader(itertools.chain.from_iterable(lines), name, column or "text")
    return iter(lambda: list(itertools.islice(texts, ROWS)), [])


def _split(blocks, name):
    """Each block's lines without their ends, as a list."""
    count = 0
    for block in blocks:
        text = decode(name, block, count)
        count += block.count(b"\n")
        lines = text.removesuffix("\n").split("\n") if block else []
        yield [line.rstrip("\r") for line in lines] if "\r" in text else lines


def _suffix(source):
    """A file's suffix, without one of compression."""
    return Path(source.lower().removesuffix(".gz").removesuffix(".bz2")).suffix


def _json_texts(lines, name, column):
    for i, line in enumerate(lines, 1):
        if not line.strip():
            yield ""
            continue
        row = parse_json(line, f"{name}, line {i}")
        text = row.get(column) if isinstance(row, dict) else None
        if not isinstance(text, str):
            keys = listing(row) if isinstance(row, dict) else "no object"
            raise UserError(f"{name}, line {i}: no text at {column!r}; it has {keys}; --text COLUMN names another")
        yield text


def _table_texts(lines, name, column):
    options = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if _suffix(name) == ".tsv" else {}
    csv.field_size_limit(1 << 30)
    reader = csv.reader((line + "\n" for line in lines), strict=True, **options)
    try:
        header = next(reader, [])
        if column not in header:
            raise UserError(f"{name} has no column {column!r}; it has {listing(header)}; --text COLUMN names another")
        index = header.index(column)
        for row in reader:
            if row and len(row) != len(header):
                raise UserError(f"{name}, line {reader.line_num}: {len(row)} fields, the header has {len(header)}")
            yield row[index] if row else ""
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: {excerpt(reason(error))}") from error
