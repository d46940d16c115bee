"""The command line: flags, messages, progress bars, and the error that scripts print as one line."""

import argparse
import datetime
import os
import sys

from tqdm import tqdm

RANK = int(os.environ.get("RANK", "0"))  # of this process among those that torchrun started; only rank 0 prints
RANKS = int(os.environ.get("WORLD_SIZE", "1"))
LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "0"))  # of this process among those on this machine
MOST = 2**31 - 1  # upper bound of an integer flag that has no other


class UserError(Exception):
    """An error that the user can correct. Scripts print its text, without a traceback, and exit with status 2."""


class Parser(argparse.ArgumentParser):
    """An argument parser that accepts no abbreviations and reports an error in one line."""

    def __init__(self, description=None, **kwargs):
        super().__init__(description=description, allow_abbrev=False, formatter_class=_HelpFormatter, **kwargs)

    def error(self, message):
        self.exit(2, f"{self.prog}: {excerpt(message, 500)} (--help lists the flags)\n")

    def _print_message(self, message, file=None):
        if RANK == 0:
            super()._print_message(message, file)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    def _get_help_string(self, action):  # a help text without a default says itself what happens without the flag
        return action.help if action.default is None else super()._get_help_string(action)


def split_arguments(arguments):
    """The arguments before `--`, and those after it, which are for other scripts."""
    index = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:index], arguments[index + 1 :]


def boolean(text):
    """An argparse type: `--flag False` is false (`type=bool` takes every non-empty text for true)."""
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return values[text.lower()]


def number(convert, low=None, high=None, open_low=False):
    """An argparse type: a number within bounds. With `open_low` the lower bound itself is out of range.

    convert: `int` or `float`. An integer without an upper bound is at most `MOST`.
    """
    high = MOST if high is None and convert is int else high

    def parse(text):
        value = convert(text)
        if not in_range(value, low, high, open_low):
            raise argparse.ArgumentTypeError(f"{text} is out of range, {range_text(low, high, open_low)}")
        return value

    parse.__name__ = convert.__name__  # argparse names the type in its message
    return parse


def in_range(value, low=None, high=None, open_low=False):
    above = low is None or value > low or (value == low and not open_low)
    return above and (high is None or value <= high)


def range_text(low=None, high=None, open_low=False):
    parts = [f"{'above' if open_low else 'at least'} {low}"] if low is not None else []
    parts += [f"at most {high}"] if high is not None else []
    return "expected " + " and ".join(parts)


def one_line(text):
    """A text as a field of a .tsv file: tabs and line ends become spaces."""
    # str.translate takes ten times as long
    return text.replace("\t", " ").replace("\r", " ").replace("\n", " ")


def markdown_table(rows, padded=False):
    """The lines of a Markdown table of these rows of texts, the first of which is the head.

    The first column is aligned to the left, the others to the right. padded: pad the cells of a column to one width.
    """
    rows = [[one_line(cell).replace("\\", r"\\").replace("|", r"\|") for cell in row] for row in rows]
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    if padded:
        widths = [max(map(len, column)) for column in zip(rule, *rows, strict=True)]
        rows = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
        rule = [cell.rjust(width, "-") for cell, width in zip(rule, widths, strict=True)]
    return ["| " + " | ".join(cells) + " |" for cells in (rows[0], rule, *rows[1:])]


def excerpt(text, length=40):
    """The beginning of a text that may be long, for a message."""
    return text if len(text) <= length else text[:length] + "…"


def listing(names, shown=10):
    """The first of some names, and the number of the others, for a message."""
    names = [excerpt(str(name), 120) for name in names]
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


def reason(error):
    """What an exception says, as a short line."""
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return excerpt("".join(c if c.isprintable() else "?" for c in text.splitlines()[0]), 200)


def duration(seconds):
    return str(datetime.timedelta(seconds=round(seconds)))


def echo(line):
    """Prints a line of the result to standard output at once, above a progress bar."""
    if RANK == 0:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def say(message):
    """Prints a message to standard error, above a progress bar."""
    if RANK == 0:
        tqdm.write(message, file=sys.stderr)


def bar(iterable=None, shown=True, **options):
    """A tqdm bar on standard error if that is a terminal; otherwise nothing is shown."""
    shown = shown and RANK == 0 and sys.stderr.isatty()
    return tqdm(iterable, disable=not shown, leave=False, dynamic_ncols=True, **options)
