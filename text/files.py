"""Files as bytes, lines and text: plain or compressed, a block at a time."""

import bz2
import gzip
import hashlib
import io
import zlib
from pathlib import Path

from cli.console import UserError, bar

BLOCK = 1 << 19  # bytes of a file that are read at a time: what is made of them stays in the processor's cache


def _pieces(path):
    """A file's bytes, BLOCK at a time."""
    empty = True
    try:
        with open(path, "rb") as file:
            while piece := file.read(BLOCK):
                yield piece
                empty = False
    except OSError as error:
        present = ", ".join(sorted(entry.name for entry in path.parent.glob("*"))) or "nothing"
        raise UserError(f"{path}: {error.strerror}; in {path.parent} there is: {present}") from error
    if empty:
        raise UserError(f"{path} is empty")


def digest_of(path):
    """The sha256 of a file's bytes, in hexadecimal, as a LabelledFile that was read has it."""
    digest = hashlib.sha256()
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def lines_of(path, show=True):
    """A file's lines as bytes, plain or out of a .gz or .bz2, never more than a few in memory; with `show` a bar."""
    for block in blocks_of(path, show):
        yield from io.BytesIO(block)


def blocks_of(path, show=True):
    """A file's bytes, plain or out of a .gz or .bz2, some whole lines at a time; with `show` a bar."""
    path = Path(path)
    opener = {".gz": gzip.open, ".bz2": bz2.open}.get(path.suffix.lower(), lambda file: file)
    try:
        with open(path, "rb") as raw, opener(raw) as file:
            size = path.stat().st_size or None  # a pipe has none
            with bar(total=size, unit="B", unit_scale=True, desc=path.name, shown=show) as progress:
                for block in whole_lines(file):
                    if size:
                        progress.update(raw.tell() - progress.n)
                    yield block
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def whole_lines(file):
    """The bytes of a file that is open, some whole lines at a time."""
    while block := file.read(BLOCK):
        yield block + file.readline()


def decode(path, content, lines, advise=False):
    """A file's bytes as text. Raises UserError with the line, counted from `lines` before, where they are no UTF-8.

    With `advise` it tells the command that converts the file.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = lines + content[: error.start].count(b"\n") + 1
        advice = _encoding_advice(path, content) if advise else "Save it as UTF-8"
        raise UserError(f"{path}, line {line}: not UTF-8. {advice}") from error
    return text.removeprefix("\ufeff") if lines == 0 else text


def _encoding_advice(path, content):
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "gb18030"
    if encoding == "gb18030":
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            return "Save it as UTF-8"
    command = f"from pathlib import Path; p = Path({str(path)!r}); p.write_text(p.read_text('{encoding}'), 'utf-8')"
    return f'It reads as {encoding.upper()}; to convert it: python -c "{command}"'
