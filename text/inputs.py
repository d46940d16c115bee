"""Texts to classify, read from files of several kinds."""

import itertools
import sys

from cli.console import UserError, listing
from text.encodings import UNDECODED
from text.files import arriving_blocks, blocks_of, decode
from text.tables import as_text, open_table, suffix_of

ROWS = 4096  # of a table that are read together
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".xlsx", ".xls", ".xlsb", ".ods")


def read_texts(source, column, show):
    """The texts of a file, some at a time as a list: a line each, or a column of a table by its suffix.

    source: its path, - for standard input; show: with a bar. An empty list says that the next text of a pipe has not
    arrived yet. Raises UserError with the line that is wrong.
    """
    name = "standard input" if source == "-" else source
    if suffix_of(source) in TABLES:
        texts = _column(open_table(source, show=show), column or "text")
        return iter(lambda: list(itertools.islice(texts, ROWS)), [])
    if column:
        raise UserError(f"--text {column} names a column, but {name} is none of {', '.join(TABLES)}")
    return _split(arriving_blocks(sys.stdin) if source == "-" else blocks_of(source, show), name)


def _split(blocks, name):
    """Each block's lines without their ends, as a list."""
    count = 0
    for block in blocks:
        text = decode(name, block, count)
        count += block.count(b"\n")
        lines = text.removesuffix("\n").split("\n") if block else []
        yield [line.rstrip("\r") for line in lines] if "\r" in text else lines


def _column(table, column):
    """The texts of a table's column."""
    if table.sample and column not in table.names:
        found = listing(table.names)
        raise UserError(f"{table.name} has no column {column!r}; it has {found}; --text COLUMN names another")
    index = table.names.index(column) if table.sample else 0
    for row in table.rows():
        try:
            if row.problem:
                raise UserError(row.problem)
            yield _text(row.cells[index], column) if row.cells else ""
        except UserError as error:
            raise UserError(f"{table.name}, line {row.line}: {error}") from error


def _text(cell, column):
    if cell is None:
        raise UserError(f"no text at {column!r}; --text COLUMN names another")
    text = as_text(cell)
    if UNDECODED.search(text):
        raise UserError("bytes that are not in the encoding of the file")
    return text
