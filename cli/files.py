"""Files and directories: the project's root, digests, locks, and files that are written completely or not at all."""

import contextlib
import errno
import hashlib
import os
import secrets
import sys
import time
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from cli.console import UserError, reason, say

ROOT = Path(__file__).parent.parent


def default_dataset():
    """THUCNews if its data has been downloaded, otherwise the bundled sample."""
    if (ROOT / "THUCNews" / "data" / "train.txt").exists():
        return shown(ROOT / "THUCNews")
    say("No THUCNews/data/train.txt: the bundled sample is used (python download.py thucnews gets the real data)")
    return shown(ROOT / "sample")


def shown(path):
    """A path as a person would type it in the current directory."""
    return os.path.relpath(path) if Path.cwd() in Path(path).absolute().parents else str(path)


def digest_of(path):
    """The SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


@contextlib.contextmanager
def replacing(path, mode="wb", **kwargs):
    """Opens a new file beside `path` and moves it into place at the end: a crash leaves the old file or the new one.

    Raises UserError if the file cannot be written.
    """
    temporary = None
    try:
        target = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():  # a pipe, a device; a directory is an error
            with open(target, mode, **kwargs) as file:
                yield file
            return
        name = f"{target.name[:40]}.{secrets.token_hex(4)}.tmp"
        with open(target.with_name(name), mode.replace("w", "x"), **kwargs) as file:
            temporary = target.with_name(name)
            yield file
            file.flush()
            os.fsync(file.fileno())  # a power cut after the move must not leave an empty file
        move(temporary, target)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"{path} cannot be written: {reason(error)}") from error
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


def move(source, target, patience=5.0):
    """Replaces `target`. Windows refuses that while another process reads it, so this tries for `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            return os.replace(source, target)
        except PermissionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextlib.contextmanager
def locked(path, what):
    """Holds the lock file `path`. Raises UserError if another process holds it, naming that process.

    what: what the other process does, for the message.
    """
    lock = FileLock(path, blocking=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        with contextlib.suppress(OSError):  # Windows lets nobody read it
            what += f": {path.read_text(encoding='utf-8')}"
        raise UserError(f"{what}. Wait for it, or use another --output") from error
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {reason(error)}; use --output DIR") from error
    try:
        with contextlib.suppress(OSError):
            path.write_text(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}", encoding="utf-8")
        yield
    finally:
        lock.release()


def peak_memory():
    """The largest memory that this process has held, in MB."""
    if sys.platform == "linux":  # `getrusage` would include what the parent process held before the start
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) / 2**10
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return memory.peak_wset / 2**20
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
