"""A cleaned copy of a dataset: rows that dev or test have too, and conflicting ones, are removed, and texts cleaned."""

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from checking.findings import conflicts, copies
from checking.splits import Splits
from cli.console import UserError, listing, one_line, reason, say
from cli.files import replacing
from text import hygiene
from text.duplicates import near_duplicates
from text.labelled import SPLITS, lines_with_rows
from text.rows import spans_of, texts_of

SPLIT_FILES = {f"{name}.txt" for name in SPLITS}


class Change(NamedTuple):
    """What was done with a row."""

    split: str
    line: int
    change: str
    text: str  # before


def target_of(directory):
    """The directory of the copy. Raises UserError if there is one already."""
    path = Path(directory).resolve()
    target = path.with_name(f"{path.name}_fixed")
    if target.exists():
        raise UserError(f"--fix: {target} exists already; move it away, or remove it")
    return target


def write_cleaned(splits, target, suspects=()):
    """Writes the copy, unless nothing changes, and returns the Changes. Other files of data/ are copied as they are.

    suspects: rows whose label is probably wrong; those of train are removed.
    """
    cleaned = [hygiene.clean(text) for text in texts_of(splits.texts)]
    removed = _removed(splits, cleaned, suspects)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as directory:
            draft = Path(directory) / target.name
            (draft / "data").mkdir(parents=True)
            changes = [change for name in SPLITS for change in _write_split(splits, name, cleaned, removed, draft)]
            for path in (splits.directory / "data").iterdir():
                if path.is_file() and path.name not in SPLIT_FILES:
                    shutil.copyfile(path, draft / "data" / path.name)
            _write_changes(draft / "changes.tsv", changes)
            if changes:
                draft.rename(target)
    except OSError as error:
        raise UserError(f"--fix: {target} cannot be written: {reason(error)}") from error
    return changes


def _write_split(splits, name, cleaned, removed, target):
    """Writes a split's file; yields its Changes."""
    rows = np.flatnonzero(splits.split == SPLITS.index(name)).tolist()
    path = Path("data") / f"{name}.txt"
    with replacing(target / path, "w", encoding="utf-8", newline="") as file:
        for row, (line, content) in zip(rows, lines_with_rows(splits.directory / path), strict=True):
            text, label = (field.strip() for field in content.split("\t"))
            if row in removed:
                yield Change(name, line, removed[row], text)
                continue
            file.write(f"{cleaned[row]}\t{label}\n")
            if cleaned[row] != text:
                yield Change(name, line, "cleaned", text)


def _removed(splits, cleaned, suspects):
    """Why rows are removed, by row. Raises UserError if a split would become empty."""
    rows = np.array([row for row, text in enumerate(cleaned) if text], np.int64)
    texts = spans_of([cleaned[row] for row in rows])
    fields = (splits.labels[rows], splits.split[rows], splits.lines[rows])
    removed = {int(row): "removed: its label is probably wrong" for row in suspects if splits.split[row] == 0}
    removed |= {row: "removed: nothing is left of the text" for row, text in enumerate(cleaned) if not text}
    part = Splits(splits.directory, splits.classes, texts, *fields, splits.names, splits.members)
    found = _copied_or_conflicting(part) if len(rows) else {}
    removed |= {int(rows[row]): why for row, why in found.items()}
    kept = np.ones(len(cleaned), bool)
    kept[list(removed)] = False
    for number, name in enumerate(SPLITS):
        before, remaining = splits.split == number, (splits.split == number) & kept
        if not remaining.any():
            raise UserError(f"--fix would remove all rows of {name}.txt; split the rows again")
        lost = np.flatnonzero((splits.counts(before) > 0) & (splits.counts(remaining) == 0))
        if len(lost):
            names = listing([splits.names[label] for label in lost])
            say(f"Warning: --fix removes all rows of {len(lost)} classes from {name}.txt: {names}")
    return removed


def _copied_or_conflicting(splits):
    """The rows of train that conflict, and those of train and dev that a split which is evaluated later has too."""
    near, found = near_duplicates(splits.texts), {}
    for group in conflicts(splits):
        found |= {row: "removed: the same text has another label" for row in group if splits.split[row] == 0}
    for name, source in (("dev", "train"), ("test", "train"), ("test", "dev")):
        copied = copies(splits, near, source, name).rows
        found |= dict.fromkeys(copied, f"removed: {name}.txt has it too, or nearly")
    return found


def _write_changes(path, changes):
    with replacing(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        file.write("file\tline\tchange\ttext\n")
        for change in changes:
            file.write(f"{change.split}.txt\t{change.line}\t{change.change}\t{one_line(change.text)}\n")
