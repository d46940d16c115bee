"""An entry of the cache is built by one process at a time; the others wait for it, then use it.

The lock is a file lock of the operating system, which ends with the process that holds it. It only saves work:
processes that build the same entry do not disturb each other, so a process builds too if no directory supports locks.
"""

import contextlib
import time
from pathlib import Path

from filelock import FileLock, Timeout

from cli.console import LOCAL_RANK, say

PATIENCE = 600  # seconds that a process waits for another one that writes nothing
NOTICE = 1  # seconds of waiting after which the user is told
POLL = 0.05  # seconds


@contextlib.contextmanager
def one_builder(path, folders, stem, name, find):
    """Yields the entry that `find` returns, as soon as it returns one; or None when this process is to build it.

    path: the file, for messages. folders: where entries may be, the preferred one first. stem: the first part of the
    names of directories `<stem>-*.tmp`, in which entries are built. name: of the lock. Of the processes that torchrun
    starts on a machine the first one builds, because it shows the progress. A process that waits builds too if the
    others have written nothing for `PATIENCE` seconds: they may be suspended, or on a machine that has crashed.
    """
    locks = [FileLock(folder / f"{name}.lock", blocking=False, fallback_to_soft=False) for folder in folders]
    start = since = time.monotonic()
    seen, told = None, False
    with contextlib.ExitStack() as held:
        while (entry := find()) is None and (LOCAL_RANK or not _acquire(locks, held)):
            written, now = _written(folders, stem), time.monotonic()
            seen, since = written, since if written == seen else now
            if now - since > PATIENCE:
                say(f"{path}: the other process has written nothing for {PATIENCE} seconds; this one reads it too")
                break
            if now - start > NOTICE and not told:
                say(f"{path}: another process reads and encodes it; waiting for the result")
                told = True
            time.sleep(POLL)
        yield entry or find()  # it may have been completed just before the lock was released


def _acquire(locks, held):
    """Whether this process may build: it holds the first of the locks that work, or none of them works."""
    for lock in locks:
        try:
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            return False
        except OSError:  # the directory cannot be written, or is on a file system without locks
            continue
        held.callback(_release, lock)
        return True
    return True


def _release(lock):
    # Removed before the release: a process that has opened the file already and gets its lock then notices in filelock
    # that the file has no name any more, and opens a new one. On Windows, which removes no open file, filelock does it.
    with contextlib.suppress(OSError):
        Path(lock.lock_file).unlink()
    lock.release()


def _written(folders, stem):
    """The files of the entries that are being built, and their sizes."""
    with contextlib.suppress(OSError):  # they are moved at the end
        found = [path for folder in folders for pattern in ("", "/*") for path in folder.glob(f"{stem}-*.tmp{pattern}")]
        return [(path, path.stat().st_size) for path in found]
