"""The columns of a table that hold texts, labels and groups."""

import contextlib
import re
import shlex
from typing import NamedTuple

from cli.console import UserError, excerpt, listing
from text.hierarchy import SEPARATOR
from text.tables import as_text

KNOWN = {  # names in lower case
    "text": {"text", "text_a", "review", "content", "sentence", "comment", "title"}
    | {"文本", "内容", "正文", "句子", "标题", "新闻标题", "评论", "评论内容"},
    "label": {"label", "labels", "class", "category", "target", "sentiment"}
    | {"标签", "类别", "分类", "类目", "情感", "情感倾向"},
}
LONGEST_NAME = 20  # characters of a first cell that is suggested as a name


class Columns(NamedTuple):
    """Indices of columns, and whether the first row is a header."""

    texts: list
    labels: list  # of the levels of a path, if there are several
    group: int | None
    has_header: bool

    def description(self, table):
        """The columns, for a message."""
        names = [repr(name) for name in table.names] if self.has_header else range(1, len(table.names) + 1)
        texts = " and ".join(str(names[i]) for i in self.texts)
        labels = " / ".join(str(names[i]) for i in self.labels)
        group = "" if self.group is None else f", groups from {names[self.group]}"
        header = "" if self.has_header else " (no header)"
        return f"texts from column {texts}, labels from {labels}{group}{header}"

    def label_of(self, cells):
        """The label of a row: its cell, or those of several levels, joined by slashes. The last levels may be empty.

        Raises UserError if another level is empty.
        """
        if len(self.labels) == 1:
            return cells[self.labels[0]]
        levels = [" ".join(as_text(cells[i]).split()) for i in self.labels]
        path = list(filter(None, levels))
        if path != levels[: len(path)]:
            raise UserError("a level of the label is empty, and one below is not")
        return SEPARATOR.join(path)


def choose_columns(table, texts, labels, group, command):
    """The Columns with these names, or numbers from 1. None, or an empty list: the column is found by its name.

    The first row is a header if one of its cells is such a name. Raises UserError if a column is missing, and with the
    columns and a command to type if it is not clear which one is meant. command: the user's, as a list.
    """
    names = table.names
    if not table.sample:
        bad = next((f", line {row.line}: {row.problem}" for row in table.rows() if row.problem), " has no rows")
        raise UserError(f"{table.name}{bad}")
    if len(names) < 2:
        raise UserError(f"{table.name} has one column, {excerpt(names[0])!r}; expected one of texts and one of labels")
    given = {"text": texts or [], "label": labels or [], "group": [group] if group else []}
    found = {role: [_find(table, name, role) for name in given[role]] for role in given}
    used = {i for role in given for i in found[role]}
    for role, known in KNOWN.items():
        if not given[role]:
            found[role] = [i for i, name in enumerate(names) if name.lower() in known and i not in used]
    guessed = [role for role in KNOWN if not given[role]]
    by_name = any(found[role] for role in guessed) or any(
        names[i] in given[role] for role in given for i in found[role]
    )
    has_header = table.columns is not None or by_name
    unclear = [role for role in guessed if len(found[role]) != 1]
    rest = sorted(set(range(len(names))) - {i for role in found for i in found[role]})
    if len(unclear) == len(rest) == 1 and not found[unclear[0]]:
        found[unclear[0]] = rest
    elif len(unclear) == 2 and table.is_plain and len(names) == 2 and not has_header:
        found["text"], found["label"] = sorted([[0], [1]], key=lambda column: -_distinct(table, *column))
    elif unclear:
        raise UserError(_question(table, unclear, found, has_header, command))
    return Columns(found["text"], found["label"], *(found["group"] or [None]), has_header)


def _find(table, name, role):
    """The index of a column. A number is that of a column, unless the form has names of its own."""
    if table.columns is None and name.isdecimal() and len(name) < 6 and 0 < int(name) <= len(table.names):
        return int(name) - 1
    if name in table.names:
        return table.names.index(name)
    raise UserError(f"{table.name} has no column {name!r} (--{role}); it has {listing(table.names)}")


def _cells(table, column):
    """A column of the sample, as far as its cells are values."""
    for row in table.sample[1:] or table.sample:
        with contextlib.suppress(UserError, IndexError):
            yield as_text(row.cells[column])


def _quoted(word):
    """A word of a command. `shlex.quote` also quotes Chinese words, which the shell of Windows does not unquote."""
    return word if re.fullmatch(r"[\w./\\:=,+-]+", word) else shlex.quote(word)


def _distinct(table, column):
    return len(set(_cells(table, column)))


def _question(table, unclear, found, has_header, command):
    """Which column is meant, as a message with the columns and a command that names some."""
    names = table.names
    is_name = len(set(names)) == len(names) and all(
        0 < len(name) <= LONGEST_NAME and not name.isdecimal() and name not in _cells(table, i)
        for i, name in enumerate(names)
    )
    columns = range(len(names))
    lengths = {i: sum(map(len, _cells(table, i))) for i in columns}
    guess = {"text": found["text"] or [max(columns, key=lengths.get)]}
    others = [i for i in found["label"] or columns if i not in guess["text"]]
    guess["label"] = [min(others or columns, key=lambda i: _distinct(table, i))]
    for role in unclear:
        command = [*command, f"--{role}", *(names[i] if has_header or is_name else str(i + 1) for i in guess[role])]
    flags = " and ".join(f"--{role}" for role in unclear)
    shown = [f"  {i + 1}: {excerpt(names[i])!r}, {excerpt(next(_cells(table, i), ''))!r}" for i in columns[:10]]
    more = [f"  and {len(names) - 10} more"] if len(names) > 10 else []
    first = f"{table.name}: name the columns with {flags}, for example: {' '.join(map(_quoted, command))}"
    return "\n".join([first, "Columns, by number, with their first two values:", *shown, *more])
