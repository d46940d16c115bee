"""Checks a dataset: duplicates and leaks between the splits, conflicting and wrong labels, dirty text, and more.

Writes `check.html`, `check.json`, and `suspects.tsv`: the rows whose label is probably wrong, most suspicious first.
The exit status is 1 if more than 1 % of the rows of dev or test are in another split too, or if more than 1 % of all
rows have the same text as another row with another label.

--fix removes from train.txt the rows that dev.txt or test.txt have too or nearly so, and those with the same text as a
row with another label; from dev.txt those that test.txt has. It removes HTML, control and zero-width characters in all
splits. It changes no label; with `--fix suspects` it removes the rows of train.txt that are in suspects.tsv.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from checking.check_page import page
from checking.cleaned import target_of, write_cleaned
from checking.findings import examine
from checking.label_suspects import LabelSuspects
from checking.problems import counts_of, problems_of
from checking.splits import read_splits
from checking.suspects import Suspects
from cli.console import echo, one_line, say
from cli.files import replacing
from text.labelled import SPLITS

WHOLE = 0.99  # share of the training rows that the proposed pad_size keeps whole


def check(directory, output=None, fix=False):
    """Checks a dataset and prints its problems; returns 1 if they would spoil an experiment, otherwise 0.

    output: the directory to write to, by default `log/check` in the dataset's. fix: whether to write a cleaned copy;
    "suspects" removes the training rows with suspect labels from it.
    """
    target = target_of(directory) if fix else None
    splits = read_splits(directory)
    output = Path(output or splits.directory / "log" / "check")
    findings = examine(splits)
    problems = problems_of(findings)
    summary = summary_of(splits, problems)
    _write(output / "check.json", json.dumps(summary, ensure_ascii=False, indent=2))
    _write(output / "check.html", page(summary, splits))
    _write_suspects(output / "suspects.tsv", findings)
    _print(summary, problems)
    if fix:
        suspects = findings.suspects.rows if fix == "suspects" and findings.suspects else ()
        _print_changes(write_cleaned(splits, target, suspects), target)
    say(f"Report: {output / 'check.html'}, check.json, suspects.tsv")
    return int(any(problem.level == "error" for problem in problems))


def summary_of(splits, problems):
    """The content of check.json."""
    counts = counts_of(splits)
    lengths = splits.texts.lengths[splits.split == 0]
    needed = int(np.quantile(lengths, WHOLE, method="inverted_cdf"))
    classes = [
        {"name": name} | dict(zip(SPLITS, row, strict=True))
        for name, row in zip(splits.names, counts.T.tolist(), strict=True)
    ]
    return {
        "dataset": splits.directory.resolve().name,
        "spoilt": any(problem.level == "error" for problem in problems),
        "rows": dict(zip(SPLITS, np.bincount(splits.split, minlength=len(SPLITS)).tolist(), strict=True)),
        "classes": classes,
        "length": {"median": int(np.median(lengths)), "longest": int(lengths.max()), "pad_size": needed},
        "problems": [problem._asdict() for problem in problems],
    }


def _write(path, content):
    with replacing(path, "w", encoding="utf-8", newline="", errors="backslashreplace") as file:
        file.write(content)


def _write_suspects(path, findings):
    found, splits = findings.suspects, findings.splits
    columns = (Suspects if splits.members is None else LabelSuspects).columns
    lines = ["\t".join(("file", "line", "text", *columns, "similar_1", "similar_2", "similar_3")) + "\n"]
    for number, row in enumerate(found.rows if found else ()):
        evidence = findings.evidence[number] if number < len(findings.evidence) else ()
        similar = [one_line(f"{splits.class_of(i)}: {splits.text(i)}") for i in evidence]
        file, line = splits.place(row).split(":")
        fields = [file, line, one_line(splits.text(row)), *found.cells(number, splits)]
        lines.append("\t".join([*fields, *similar, *[""] * (3 - len(similar))]) + "\n")
    _write(path, "".join(lines))


def _print(summary, problems):
    rows, length = summary["rows"], summary["length"]
    sizes = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    echo(f"{summary['dataset']}: {sizes} rows of {len(summary['classes'])} classes")
    echo(
        f"Characters of a row: median {length['median']}, longest {length['longest']}; "
        f"--pad_size {length['pad_size']} keeps {WHOLE:.0%} whole"
    )
    for problem in problems:
        echo(f"{problem.level.capitalize()}: {problem.text}; {problem.advice}")
    levels = Counter(problem.level for problem in problems)
    verdict = "An experiment would be spoilt." if summary["spoilt"] else "Nothing would spoil an experiment."
    echo(f"{levels['error']} errors, {levels['warning']} warnings, {levels['note']} notes. {verdict}")


def _print_changes(changes, target):
    if not changes:
        echo("--fix: nothing to change, no copy written")
        return
    for (name, change), count in sorted(Counter((change.split, change.change) for change in changes).items()):
        echo(f"--fix: {count:,} rows of {name}.txt {change}")
    echo(f"--fix: {target}; each change is in changes.tsv there")
