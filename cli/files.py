"""Files and directories: written whole or not at all, the project's root, paths as a person types them."""

import contextlib
import os
import sys
import time
from pathlib import Path

from cli.console import UserError, say

ROOT = Path(__file__).parent.parent


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


def default_dataset():
    """THUCNews where its data lies there, else the bundled sample."""
    if (ROOT / "THUCNews" / "data" / "train.txt").exists():
        return shown(ROOT / "THUCNews")
    say("No THUCNews/data/train.txt: the bundled sample is used (python download.py thucnews gets the real data)")
    return shown(ROOT / "sample")


def shown(path):
    """A path as a person would type it here."""
    return os.path.relpath(path) if Path.cwd() in Path(path).absolute().parents else str(path)
