"""What every script shares with its surroundings: flags, messages, bars, errors of one line, files that are whole."""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

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


@contextlib.contextmanager
def replacing(path, mode="wb", **kwargs):
    """Opens a file beside `path` and moves it into place at the end: a crash leaves the old file or the new one.

    Raises UserError where the file cannot be written.
    """
    path = Path(path).resolve()  # what a link points to is replaced, not the link
    special = path.exists() and not path.is_file()  # a pipe, a device
    temporary = path if special else path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, mode, **kwargs) as file:
            yield file
            file.flush()
            if not special:
                os.fsync(file.fileno())  # a power cut after the move must not leave an empty file
        if not special:
            move(temporary, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        if not special and temporary.exists():
            temporary.unlink()


def move(source, target, patience=5.0):
    """Windows refuses to replace a file that another process reads; it mostly lets go in a moment."""
    end = time.monotonic() + patience
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def peak_memory():
    """The largest memory that this process held, in MB; None where nobody counts."""
    if sys.platform == "linux":  # where `getrusage` begins with what the parent held
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


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
