"""Encoded splits on disk, memory-mapped: a dataset is read and encoded once, and may be larger than the memory.

An entry is a directory in the dataset's `cache/`, or in the user's cache directory if that cannot be written. Its name
has the digest of the file's bytes and of all else that decides the encoding. It may be deleted at any time. Damage is
noticed, see `text.digests`.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from platformdirs import user_cache_path

from cli.console import UserError, reason, say
from cli.files import digest_of
from text.digests import META, SMALL, Digests, is_damaged, verify_later
from text.files import read_json
from text.one_builder import one_builder
from text.rows import Rows, ids_dtype, offsets_of

FORMAT = 3  # of an entry
KEPT = 4  # entries of a split: a run with other flags may follow
STALE = 86400  # seconds after which what an interrupted process left is removed
NAME = "chinese-text-classification"


class Entry(NamedTuple):
    """What is stored of a split's file."""

    arrays: dict  # name to array, memory-mapped
    meta: dict  # what `fill` returned
    directory: Path
    unverified: list | None = None  # the `parts` for `verify_later`, of a large entry

    def rows(self, name):
        return Rows(self.arrays[f"{name}.ids"], self.arrays[f"{name}.offsets"])


def cached(path, key, fill, dataset=None, stem=None):
    """The Entry of a split's file, from disk; if it is not there, `fill` makes it.

    dataset, stem: the dataset's directory and the first part of the entry's name, by default those of the file.
    key: all that decides the entry except the file's content, as JSON. fill: writes the arrays to a Draft and returns
    a dict with the file's `digest`, the messages `notes`, which are printed each time, and more. Of several processes
    one makes the entry and the others wait, see `text.one_builder`.
    Raises UserError if it cannot be written, and whatever `fill` raises.
    """
    stem = stem or path.stem
    name = functools.partial(_name, stem, key)
    folders = _folders(dataset or path.parent.parent)
    digest = functools.cache(functools.partial(digest_of, path))

    def find():
        known = any(entry for folder in folders for entry in folder.glob(f"{stem}-*/{META}"))
        return _find(folders, name(digest())) if known else None

    with one_builder(path, folders, stem, name(str(path.absolute())), find) as entry:
        entry = entry or _build(path, folders, stem, name, fill)
    if entry.unverified:
        verify_later(entry.directory, path.name, entry.unverified)
    for note in entry.meta["notes"]:
        say(note.replace("{path}", str(path), 1))
    return entry


def _name(stem, key, digest):
    text = json.dumps([FORMAT, sys.byteorder, key, digest])
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def _folders(dataset):
    """The directories in which a dataset's entries may be, the preferred one first."""
    dataset = dataset.absolute()
    own = f"{dataset.name}-{hashlib.sha256(str(dataset).encode()).hexdigest()[:8]}"
    return [dataset / "cache", user_cache_path(NAME) / own, Path(tempfile.gettempdir()) / NAME / own]


def _find(folders, name):
    for folder in folders:
        entry = _open(folder / name)
        if entry:
            with contextlib.suppress(OSError):
                os.utime(folder / name)  # the time of its last use
            return entry
    return None


def _open(directory):
    """The Entry in a directory; None if there is none, or if its files are damaged, as far as is known yet."""
    try:
        meta = read_json(directory / META)
        if meta.pop("crc32") != _crc32(meta):
            return None
        arrays, parts, size = {}, [], 0
        for name, (dtype, count, digests) in meta.pop("arrays").items():
            path = directory / f"{name}.npy"
            arrays[name] = array = np.load(path, mmap_mode="r")
            if (array.dtype.str, array.shape, array.offset + array.nbytes) != (dtype, (count,), path.stat().st_size):
                return None
            parts.append((path, array.offset, digests))
            size += array.nbytes
        if size <= SMALL and is_damaged(parts):
            return None
    except Exception:  # a damaged file can make NumPy raise anything
        return None
    arrays = {name: array.view(np.ndarray) for name, array in arrays.items()}
    return Entry(arrays, meta, directory, parts if size > SMALL else None)


def _crc32(meta):
    return zlib.crc32(json.dumps(meta).encode())


def _build(path, folders, stem, name, fill, retry=True):
    draft = _new_draft(folders, stem)
    folder = draft.directory.parent
    try:
        with contextlib.closing(draft.files):
            meta = fill(draft)
            draft.finish(meta)
        entry = _publish(draft.directory, folder / name(meta["digest"]))
    except OSError as error:
        if retry and isinstance(error, FileNotFoundError):  # the directory was deleted in the meantime
            return _build(path, folders, stem, name, fill, retry=False)
        raise UserError(
            f"{folder}: the encoded {path.name} cannot be written there ({reason(error)}); free some of that disk, or "
            f"make {folder} a link to a directory on a larger one"
        ) from error
    finally:
        shutil.rmtree(draft.directory, ignore_errors=True)
    _prune(folder, stem)
    return entry


def _new_draft(folders, stem):
    for folder in folders:
        directory = folder / f"{stem}-{secrets.token_hex(6)}.tmp"
        with contextlib.suppress(OSError):
            directory.mkdir(parents=True)
            return Draft(directory)
    raise UserError(f"the encoded dataset can be written neither to {' nor to '.join(map(str, folders))}")


def _publish(directory, target):
    """Moves a complete entry into place. If another process was faster, its entry is used."""
    if target.exists() and not _open(target):
        shutil.rmtree(target)  # a damaged one
    try:
        os.rename(directory, target)
    except OSError:
        if not _open(target):
            raise
    return _open(target)


def _prune(folder, stem):
    """Removes old entries of a split, and what interrupted processes left. Other directories stay."""

    def age(directory):
        with contextlib.suppress(OSError):
            return time.time() - directory.stat().st_mtime
        return 0

    found = sorted(folder.glob(f"{stem}-*"), key=age)
    entries = [path for path in found if re.fullmatch(rf"{re.escape(stem)}-[0-9a-f]{{24}}", path.name)]
    drafts = [path for path in found if re.fullmatch(rf"{re.escape(stem)}-[0-9a-f]{{12}}\.tmp", path.name)]
    for directory in [*entries[KEPT:], *(draft for draft in drafts if age(draft) > STALE)]:
        shutil.rmtree(directory, ignore_errors=True)


class Draft:
    """An entry that is being made: arrays that grow block by block."""

    def __init__(self, directory):
        self.directory, self.columns, self.files = directory, {}, contextlib.ExitStack()

    def column(self, name, dtype):
        """A new array of this dtype."""
        self.columns[name] = Column(self.file(f"{name}.npy", "wb"), dtype)
        return self.columns[name]

    def offsets(self, name):
        """A new array of offsets, to which those of blocks are appended."""
        return Offsets(self.column(name, np.int64))

    def file(self, name, mode):
        return self.files.enter_context(open(self.directory / name, mode))

    def finish(self, meta):
        """Completes the entry with what `fill` returned."""
        for column in self.columns.values():
            column.finish()
        meta = meta | {"arrays": {name: column.described for name, column in self.columns.items()}}
        self.file(META, "wb").write(json.dumps(meta | {"crc32": _crc32(meta)}).encode())


class Column:
    """An array in a .npy file."""

    def __init__(self, file, dtype):
        self.file, self.dtype, self.count, self.digests = file, np.dtype(dtype), 0, Digests()
        self._write_header()

    def append(self, array):
        array = np.ascontiguousarray(array, self.dtype)
        self.file.write(array.data)
        self.digests.append(array)
        self.count += len(array)

    @property
    def described(self):
        """What the entry stores of it, besides the file: the dtype, the length, and the digests of the data."""
        return self.dtype.str, self.count, self.digests.values

    def finish(self):
        self.file.seek(0)
        self._write_header()  # which NumPy pads, so that it is as long for any count
        self.file.flush()
        os.fsync(self.file.fileno())  # a power cut after the move must not leave a part of it

    def _write_header(self):
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.file, header)


class Offsets:
    """The offsets of all rows, made of those of blocks of rows."""

    def __init__(self, column):
        self.column, self.end = column, 0
        column.append(np.zeros(1))

    def append(self, offsets):
        self.column.append(offsets[1:] + self.end)
        self.end += int(offsets[-1])


class Spool:
    """Blocks of rows, `Rows`, that are written to a file in a draft's directory one after the other, then read once."""

    def __init__(self, draft, name):
        self.file, self.parts = draft.file(name, "w+b"), []

    def append(self, rows):
        for array in (rows.ids, rows.lengths):
            small = array.astype(ids_dtype(int(array.max(initial=0)) + 1))
            self.file.write(small.data)
            self.parts.append((small.dtype, len(small)))

    def __iter__(self):
        self.file.seek(0)
        parts = (np.frombuffer(self.file.read(count * dtype.itemsize), dtype) for dtype, count in self.parts)
        for ids, lengths in zip(parts, parts, strict=True):
            yield Rows(ids, offsets_of(lengths))
        self.file.close()
        os.unlink(self.file.name)
