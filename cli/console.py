"""What every script shares with its surroundings: flags, messages, bars, errors of one line, files that are whole."""

import argparse
import datetime
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

LOCAL_RANK = int(os.environ.get("LOCAL_RANK", "0"))  # among the processes that torchrun started on this machine

RANKS = int(os.environ.get("WORLD_SIZE", "1"))

RANK = int(os.environ.get("RANK", "0"))  # among the processes that torchrun started, of which the first alone speaks


class UserError(Exception):
    """A mistake that the user can mend. Scripts print its text, without a traceback, and exit with status 2."""


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and tells an error in one line."""

    def __init__(self, description=None, **kwargs):
        super().__init__(description=description, allow_abbrev=False, formatter_class=_HelpFormatter, **kwargs)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} (--help lists the flags)\n")

    def _print_message(self, message, file=None):
        if RANK == 0:
            super()._print_message(message, file)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    pass


def boolean(text):
    """`--flag False` is false (argparse's own `type=bool` takes every non-empty text for true)."""
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False")
    return values[text.lower()]


def number(kind, low=None, high=None, open_low=False):
    """An argparse type: an int or float within bounds; an open lower bound is itself outside."""

    def parse(text):
        value = kind(text)
        if not in_range(value, low, high, open_low):
            raise argparse.ArgumentTypeError(f"{text} is out of range, {range_text(low, high, open_low)}")
        return value

    parse.__name__ = kind.__name__  # argparse names the type in its message
    return parse


def in_range(value, low=None, high=None, open_low=False):
    above = low is None or value > low or (value == low and not open_low)
    return above and (high is None or value <= high)


def range_text(low=None, high=None, open_low=False):
    parts = [f"{'above' if open_low else 'at least'} {low}"] if low is not None else []
    parts += [f"at most {high}"] if high is not None else []
    return "expected " + " and ".join(parts)


def one_line(text):
    """A text as a field of a .tsv file: its tabs and line ends become spaces."""
    return (
        text.replace("\t", " ").replace("\r", " ").replace("\n", " ")
    )  # a table of `translate` takes ten times as long


def echo(line):
    """Prints a line of the result to standard output, at once; a bar that is shown steps aside."""
    if RANK == 0:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def say(message):
    """Prints a message to standard error; a bar that is shown there steps aside."""
    if RANK == 0:
        tqdm.write(message, file=sys.stderr)


def bar(iterable=None, shown=True, **options):
    """A tqdm bar on standard error where a person watches, nothing in a pipe."""
    shown = shown and RANK == 0 and sys.stderr.isatty()
    return tqdm(iterable, disable=not shown, leave=False, dynamic_ncols=True, **options)


def run_script(main):
    """Calls a script's `main` and turns what may end it into an exit status and, at the most, a few lines."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if not stream.isatty():
            stream.reconfigure(encoding="utf-8")  # files and pipes are UTF-8 whatever the console's code page
        if stream is not sys.stdin:
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        if RANK:
            time.sleep(2)  # what is wrong on all ranks the first one tells, and torchrun then ends the others
            print(f"{Path(sys.argv[0]).name}, rank {RANK}: {error}", file=sys.stderr)
        say(f"{Path(sys.argv[0]).name}: {error}")
        sys.exit(2)
    except KeyboardInterrupt:
        say("Interrupted.")
        sys.exit(130)
    except BrokenPipeError:  # the reader, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def duration(seconds):
    return str(datetime.timedelta(seconds=round(seconds)))
