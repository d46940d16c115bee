"""Encoded splits on disk, memory-mapped: a dataset is read and encoded once, and may be larger than the memory.

An entry is a directory in the dataset's `cache/` (where that cannot be written, in the user's cache directory). Its
name has the digest of the file's bytes and of all else that decides the encoding. It may be deleted at any time.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cli.console import LOCAL_RANK, UserError, say
from text.files import digest_of
from text.rows import Rows

FORMAT = 1  # of an entry
KEPT = 4  # entries of a split: other settings may come back
STALE = 86400  # seconds, after which what an interrupted process left is removed
PATIENCE = 600  # seconds that a rank waits for another one that writes nothing
NAME = "chinese-text-classification"
META = "meta.json"


class Entry(NamedTuple):
    """What is known of a split's file."""

    arrays: dict  # name to array, memory-mapped
    meta: dict  # what `fill` returned, and the file's `digest`

    def rows(self, name):
        return Rows(self.arrays[f"{name}.ids"], self.arrays[f"{name}.offsets"])


def cached(path, settings, fill):
    """The Entry of a split's file, from disk; where it is not there, `fill` makes it.

    settings: all that decides the entry, but the file's content, JSON. fill: given a Draft, writes the arrays and
    returns, as JSON, the file's `digest`, the reading's `notes`, which are told each time, and what else there is to
    know. Of several processes of a machine the first one makes it, the others wait.
    Raises UserError where it cannot be written, and whatever `fill` raises.
    """
    name = functools.partial(_name, path.stem, settings)
    folders = _folders(path.parent.parent)
    if LOCAL_RANK:
        return _wait(path, folders, name(digest_of(path)))
    known = any(entry for folder in folders for entry in folder.glob(f"{path.stem}-*/{META}"))
    entry = _find(folders, name(digest_of(path))) if known else None
    if entry is None:
        entry = _build(path, folders, name, fill)
    for note in entry.meta["notes"]:
        say(note.replace("{path}", str(path), 1))
    return entry


def version(package):
    """A package's version, None where it is not there: it may decide an encoding."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)


def _name(stem, settings, digest):
    key = json.dumps([FORMAT, sys.byteorder, settings, digest])
    return f"{stem}-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _folders(dataset):
    """Where a dataset's entries may lie, the best place first."""
    home = {"win32": os.environ.get("LOCALAPPDATA"), "darwin": "~/Library/Caches"}.get(sys.platform)
    home = Path(os.environ.get("XDG_CACHE_HOME") or home or "~/.cache")
    with contextlib.suppress(RuntimeError):  # no home
        home = home.expanduser()
    dataset = dataset.absolute()
    own = f"{dataset.name}-{hashlib.sha256(str(dataset).encode()).hexdigest()[:8]}"
    return [dataset / "cache", home / NAME / own, Path(tempfile.gettempdir()) / NAME / own]


def _find(folders, name):
    for folder in folders:
        entry = _open(folder / name)
        if entry:
            with contextlib.suppress(OSError):
                os.utime(folder / name)  # when it was last of use
            return entry
    return None


def _open(directory):
    """The Entry in a directory, None where there is none or where its files are not as long as they should be."""
    try:
        meta = json.loads((directory / META).read_text(encoding="utf-8"))
        arrays = {}
        for name, (kind, count) in meta.pop("arrays").items():
            path, kind = directory / f"{name}.bin", np.dtype(kind)
            if path.stat().st_size != count * kind.itemsize:
                return None
            mapped = np.memmap(path, kind, mode="r") if count else np.zeros(0, kind)  # nothing cannot be mapped
            arrays[name] = mapped.view(np.ndarray)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return Entry(arrays, meta)


def _build(path, folders, name, fill):
    draft = _new_draft(folders, path.stem)
    folder = draft.directory.parent
    try:
        with contextlib.closing(draft.files):
            meta = fill(draft)
            draft.finish(meta)
        entry = _publish(draft.directory, folder / name(meta["digest"]))
    except OSError as error:
        raise UserError(
            f"{folder}: the encoded {path.name} cannot be written there ({error.strerror or error}); free some of that "
            f"disk, or make {folder} a link to a directory on a larger one"
        ) from error
    finally:
        shutil.rmtree(draft.directory, ignore_errors=True)
    _prune(folder, path.stem)
    return entry


def _new_draft(folders, stem):
    for folder in folders:
        directory = folder / f"{stem}-{secrets.token_hex(6)}.tmp"
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True)
            return Draft(directory)
    raise UserError(f"the encoded dataset can be written neither in {' nor in '.join(map(str, folders))}")


def _publish(directory, target):
    """Moves a whole entry into place; where another process was faster, its entry is the one."""
    if target.exists() and not _open(target):
        shutil.rmtree(target)  # a damaged one
    try:
        os.rename(directory, target)
    except OSError:
        if not _open(target):
            raise
    return _open(target)


def _prune(folder, stem):
    """Removes old entries of a split, and what interrupted processes left; what cannot be removed stays."""

    def age(directory):
        with contextlib.suppress(OSError):
            return time.time() - directory.stat().st_mtime
        return 0

    drafts = sorted(folder.glob(f"{stem}-*.tmp"))
    entries = sorted(set(folder.glob(f"{stem}-*")) - set(drafts), key=age)
    for directory in [*entries[KEPT:], *(draft for draft in drafts if age(draft) > STALE)]:
        shutil.rmtree(directory, ignore_errors=True)


def _wait(path, folders, name):
    """The Entry that the machine's first process makes."""
    seen, since = None, time.monotonic()
    while (entry := _find(folders, name)) is None:
        files = [file for folder in folders for file in folder.glob(f"{path.stem}-*.tmp/*")]
        with contextlib.suppress(OSError):  # they are moved meanwhile
            sign = [(file, file.stat().st_size) for file in files]
            seen, since = sign, since if sign == seen else time.monotonic()
        if time.monotonic() - since > PATIENCE:
            raise UserError(f"{path}: the process with LOCAL_RANK 0 has written nothing of it for {PATIENCE} seconds")
        time.sleep(0.05)
    return entry


class Draft:
    """An entry that is being made: arrays that grow block by block."""

    def __init__(self, directory):
        self.directory, self.columns, self.files = directory, {}, contextlib.ExitStack()

    def column(self, name, kind):
        """A new array of this dtype."""
        self.columns[name] = Column(self.file(f"{name}.bin", "wb"), kind)
        return self.columns[name]

    def offsets(self, name):
        """A new array of offsets, which takes those of blocks."""
        return Offsets(self.column(name, np.int64))

    def file(self, name, mode):
        return self.files.enter_context(open(self.directory / name, mode))

    def finish(self, meta):
        """Completes the entry with what `fill` returned."""
        for column in self.columns.values():
            column.file.flush()
            os.fsync(column.file.fileno())  # a power cut after the move must not leave half of it
        arrays = {name: (column.kind.str, column.count) for name, column in self.columns.items()}
        self.file(META, "wb").write(json.dumps(meta | {"arrays": arrays}).encode())


class Column:
    """An array in a file."""

    def __init__(self, file, kind):
        self.file, self.kind, self.count = file, np.dtype(kind), 0

    def append(self, array):
        self.file.write(np.ascontiguousarray(array, self.kind).data)
        self.count += len(array)


class Offsets:
    """The offsets of all rows, from those of blocks of them."""

    def __init__(self, column):
        self.column, self.end = column, 0
        column.append(np.zeros(1))

    def append(self, offsets):
        self.column.append(offsets[1:] + self.end)
        self.end += int(offsets[-1])


class Spool:
    """Arrays, each of a dtype of its own, that are written one after the other to a draft's disk, then read once."""

    def __init__(self, draft):
        self.file, self.kinds = draft.file("spool", "w+b"), []

    def append(self, array):
        self.file.write(np.ascontiguousarray(array).data)
        self.kinds.append((array.dtype, len(array)))

    def __iter__(self):
        self.file.seek(0)
        for kind, count in self.kinds:
            yield np.frombuffer(self.file.read(count * kind.itemsize), kind)
        self.file.close()
        os.unlink(self.file.name)
