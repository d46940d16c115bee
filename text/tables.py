"""Tables: the rows of csv, tsv, jsonl, fastText's and plain text files, and of workbooks, all in one form."""

import csv
import itertools
import json
import re
from pathlib import Path
from typing import NamedTuple

from cli.console import UserError, reason
from text.encodings import check_encoding, decoded_lines, find_encoding, name_of
from text.files import LONGEST_LINE, why_no_json
from text.workbooks import is_workbook, read_sheet

SAMPLE_ROWS, SAMPLE_LINES, SAMPLE_LENGTH = 100, 500, 1 << 20  # that decide the form of a file; the last in characters
LONGEST_CELL = 1 << 24  # characters
DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "|"}
MOST_KEYS = 1000  # different ones in the objects of a file
ARRAY_PART = 1 << 16  # characters of a JSON array that are read before its values are parsed, at least
OPENING, COMMA = re.compile(r"\s*\[\s*"), re.compile(r"\s*,\s*")  # before the first value of an array, before others
CLOSED, EMPTY = re.compile(r"\s*[,\]]"), re.compile(r"(\s*\[)?\s*\]\s*")  # after a value; the end of an array
MARK = "__label__"  # begins a label in fastText's format
DOUBLED = re.compile(r'(?:^|\t)"[^"\t\n]*""[^\t\n]*"(?:\t|\r?$)', re.MULTILINE)  # a quoted cell with a quote in it


class Row(NamedTuple):
    """A row: the line or row of the file at which it begins, its cells, none if it is blank, and what is wrong."""

    line: int
    cells: list
    problem: str | None = None


class Table:
    """The rows of a file.

    name: of the file, for messages; form: a description; records: a function that yields each Row; columns: their
    names if the form has them, otherwise the first row may hold them; is_plain: whether a header is unusual.
    """

    def __init__(self, name, form, records, columns=None, is_plain=False):
        self.name, self.form, self.records, self.columns, self.is_plain = name, form, records, columns, is_plain
        self.sample = list(itertools.islice((row for row in records() if row.cells), SAMPLE_ROWS))

    @property
    def names(self):
        """The names of the columns: those of the form, or the first row."""
        if self.columns is not None or not self.sample:
            return self.columns or []
        return [as_text(cell).strip() for cell in self.sample[0].cells]

    def rows(self, has_header=True):
        """Each Row, without that of the header."""
        width, at_header = len(self.names), has_header and self.columns is None
        for row in self.records():
            if at_header and not row.problem:
                at_header = not row.cells
                continue
            if row.cells and len(row.cells) != width:
                row = row._replace(problem=f"{len(row.cells)} fields, the first row has {width}")
            yield row


def open_table(path, sheet=None, show=False, encoding=None):
    """The Table in a file, whose form is found from its suffix and its content. Raises UserError if there is none.

    sheet: of a workbook; show: with a bar; encoding: of a text file, by default the one that is found.
    """
    if is_workbook(path):
        if encoding is not None:
            raise UserError(f"--encoding {encoding} is for text files, but {path} is a workbook")
        form, rows = read_sheet(path, sheet)
        return Table(path, form, lambda: _sheet_rows(rows()))
    if sheet:
        raise UserError(f"--sheet {sheet} names a sheet, but {path} is no workbook")
    if encoding is not None:
        check_encoding(encoding)
    encoding, suffix = encoding or find_encoding(path), suffix_of(path)
    said = name_of(encoding)

    def lines(shown=show):
        return decoded_lines(path, encoding, shown)

    if suffix in (".jsonl", ".ndjson", ".json"):
        is_array = suffix == ".json" and next(filter(str.strip, lines(False)), "").lstrip().startswith("[")
        form, read = ("JSON array", _array_rows) if is_array else ("JSON lines", _json_rows)
        columns = _keys_of(path, read(path, lines(False), None))
        return Table(path, f"{form}, {said}", lambda: read(path, lines(), columns), columns)
    sample = _sample_of(lines(False))
    is_plain = suffix not in (".csv", ".tsv")
    if is_plain and next(filter(str.strip, sample), "").startswith(MARK):
        return Table(path, f"fastText's format, {said}", lambda: _marked_rows(lines()), ["text", "label"])
    dialect = _find_dialect(sample, suffix)
    form = f"{said}, delimiter {DELIMITERS[dialect['delimiter']]}"
    return Table(path, form, lambda: _separated_rows(path, lines(), dialect), is_plain=is_plain)


def suffix_of(path):
    """A file's suffix, without one of compression."""
    return Path(str(path).lower().removesuffix(".gz").removesuffix(".bz2")).suffix


def as_text(value):
    """A cell's value as text, empty for a missing one. Raises UserError for a list or an object of JSON."""
    if type(value) is str:
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, (list, dict)):
        raise UserError(f"{'a list' if isinstance(value, list) else 'an object'}, expected one value")
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _sheet_rows(rows):
    for i, cells in enumerate(rows, 1):
        yield Row(i, cells if any(cell != "" for cell in cells) else [])


def _sample_of(lines):
    """The first lines of a file."""
    sample, length = [], 0
    for line in itertools.islice(lines, SAMPLE_LINES):
        sample.append(line)
        length += len(line)
        if length > SAMPLE_LENGTH:
            break
    return sample


def _keys_of(path, rows):
    """The keys of all JSON objects, the cells of rows, in the order in which they appear."""
    keys = {}
    for row in rows:
        keys |= dict.fromkeys(row.cells[0] if row.cells else ())
        if len(keys) > MOST_KEYS:
            raise UserError(
                f"{path}, line {row.line}: more than {MOST_KEYS} different keys so far; expected objects of the same "
                "keys, such as text and label"
            )
    return list(keys)


def _json_rows(path, lines, keys):
    """The values of these keys in each line's object; the object itself if `keys` is None."""
    for i, line in enumerate(lines, 1):
        if not line.strip():
            yield Row(i, [])
            continue
        try:
            yield _json_row(i, json.loads(line), keys, "one a line")
        except (ValueError, RecursionError) as error:
            yield Row(i, [], why_no_json(error))


def _json_row(line, value, keys, expected):
    if not isinstance(value, dict):
        return Row(line, [], f"no JSON object, expected {expected}")
    return Row(line, [value] if keys is None else [value.get(key) for key in keys])


def _array_rows(path, lines, keys):
    """What `_json_rows` yields, of the objects in a JSON array."""
    return (_json_row(line, value, keys, "an array of them") for line, value in _array_values(path, lines))


def _array_values(path, lines):
    """The values in a JSON array and the lines at which they begin. Raises UserError if it is no JSON.

    Some values are in memory at a time, at least one.
    """
    decode, text, line, wanted, before = json.JSONDecoder().raw_decode, "", 1, ARRAY_PART, OPENING
    for part in itertools.chain(lines, [None]):
        text += part or ""
        if part is not None and len(text) < wanted:
            continue
        at, problem = 0, "no comma or ] after the value"
        while start := before.match(text, at):
            try:
                value, end = decode(text, start.end())
            except (ValueError, RecursionError) as error:  # of a value that goes on in the next part, too
                problem = (
                    "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", reason(error))
                )
                break
            if not CLOSED.match(text, end):  # a number may go on
                break
            line += text.count("\n", at, start.end())
            yield line, value
            line += text.count("\n", start.end(), end)
            at, before = end, COMMA
        text = text[at:]
        wanted = max(ARRAY_PART, 2 * len(text))  # so that a long value is not parsed again with each of its lines
        if (part is None and not EMPTY.fullmatch(text)) or len(text) > LONGEST_LINE:
            line += text.count("\n", 0, len(text) - len(text.lstrip("[, \t\r\n")))
            raise UserError(f"{path}, line {line}: not a JSON array of objects ({problem}); mend or export it again")


def _marked_rows(lines):
    """Text and labels of the lines of a file in fastText's format."""
    for i, line in enumerate(lines, 1):
        tokens = line.split()
        labels = [token.removeprefix(MARK) for token in tokens if token.startswith(MARK)]
        text = " ".join(token for token in tokens if not token.startswith(MARK))
        yield Row(i, [text, labels[0] if len(labels) == 1 else labels or None] if tokens else [])


def _find_dialect(sample, suffix):
    """The delimiter and the quoting with which most rows have as many cells as the first, for `csv.reader`.

    Cells between tabs are taken as they are, unless quotes in them are doubled or quoting alone makes the rows equal.
    """
    quotings = [csv.QUOTE_MINIMAL, csv.QUOTE_NONE]
    usual = "," if suffix == ".csv" else "\t"
    dialects = []
    for delimiter in sorted(DELIMITERS, key=usual.__ne__):
        if delimiter != "\t":
            dialects.append({"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL})
        else:
            order = quotings if DOUBLED.search("".join(sample)) else quotings[::-1]
            dialects += [{"delimiter": delimiter, "quoting": quoting} for quoting in order]
    return max(dialects, key=lambda dialect: _evenness(sample, dialect))


def _evenness(sample, dialect):
    """The share of rows with as many cells as the first, 0 if that has one cell."""
    csv.field_size_limit(LONGEST_CELL)
    reader, widths = csv.reader(sample, strict=True, **dialect), []
    while True:
        try:
            widths.append(len(next(reader)))
        except csv.Error:
            widths.append(-1)
        except StopIteration:
            break
    if len(widths) > 1 and len(sample) == SAMPLE_LINES:  # the last row may go on
        widths.pop()
    widths = [width for width in widths if width]
    return widths.count(widths[0]) / len(widths) if widths and widths[0] > 1 else 0


def _separated_rows(name, lines, dialect):
    """The rows of a file of cells between delimiters. Raises UserError for a quote that is not closed."""
    csv.field_size_limit(LONGEST_CELL)
    reader, start = csv.reader(lines, strict=True, **dialect), 1
    while True:
        try:
            row = Row(start, next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end" in str(error) or "limit" in str(error):
                what = (
                    f"begins with a quote that is not closed, or has more than {LONGEST_CELL >> 20} million characters"
                )
                raise UserError(f"{name}, line {start}: a cell {what}") from error
            end = f" to {reader.line_num}" if reader.line_num > start else ""
            row = Row(start, [], f"wrong quotes in line {start}{end} ({reason(error)})")
        yield row
        start = reader.line_num + 1
