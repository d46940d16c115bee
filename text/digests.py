"""Digests of files, a block at a time, and the comparison of an entry of the cache with them.

A bit that changes on a disk, or a block of zeros that a power cut leaves, would otherwise train without an error. Small
entries are compared when they are opened, large ones in the background, while the training begins.
"""

import shutil
import threading
import zlib

import numpy as np

from cli.console import UserError

BLOCK = 1 << 20  # bytes of a digest
SMALL = 1 << 26  # bytes of an entry that is compared at once
META = "meta.json"

_running = []  # comparisons in the background


class Digests:
    """The CRC-32 of each block of what is appended."""

    def __init__(self):
        self.whole, self.last, self.filled = [], 0, 0

    def append(self, array):
        data = array.view(np.uint8)
        while len(data):
            part = data[: BLOCK - self.filled]
            self.last, self.filled = zlib.crc32(part, self.last), self.filled + len(part)
            if self.filled == BLOCK:
                self.whole.append(self.last)
                self.last = self.filled = 0
            data = data[len(part) :]

    @property
    def values(self):
        return self.whole + ([self.last] if self.filled else [])


def is_damaged(parts):
    """Whether a file differs from its digests. parts: of each file its path, where the data begin, and the digests."""
    buffer = memoryview(bytearray(BLOCK))
    for path, start, digests in parts:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            for digest in digests:
                filled = 0
                while filled < BLOCK and (count := file.readinto(buffer[filled:])):
                    filled += count
                if zlib.crc32(buffer[:filled]) != digest:
                    return True
    return False


def verify_later(directory, what, parts):
    """Compares an entry's files in the background; `confirm` has the result. what: of which file it is."""
    found = []

    def compare():
        try:
            found.append(is_damaged(parts))
        except OSError:  # what cannot be read is damaged, unless the entry was removed in the meantime
            found.append((directory / META).exists())

    thread = threading.Thread(target=compare, daemon=True)
    thread.start()
    _running.append((thread, found, directory, what))


def confirm():
    """Waits for the comparisons. Raises UserError if an entry that this process reads is damaged, and removes it."""
    while _running:
        thread, found, directory, what = _running.pop()
        thread.join()
        if found[0]:
            # without this file it is no entry; on Windows, files that are mapped stay
            (directory / META).unlink(missing_ok=True)
            shutil.rmtree(directory, ignore_errors=True)
            raise UserError(
                f"{directory}: the encoded {what} is damaged on the disk, and nothing that was trained on it is kept. "
                "The entry has been removed: run the same command again, which reads the file again"
            )
