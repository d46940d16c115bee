"""Files as blocks of bytes, lines and text, plain or compressed, and the JSON in them."""

import bz2
import gzip
import io
import json
import os
import select
import sys
import zlib
from pathlib import Path

from cli.console import UserError, bar, reason

BLOCK = 1 << 19  # bytes that are read at a time: what is made of them stays in the processor's cache
LONGEST_LINE = 1 << 26  # bytes
OPENERS = {".gz": gzip.open, ".bz2": bz2.open}  # of compressed files
CONTROLS = bytes({*range(32)} - {*b"\t\n\v\f\r\x1b"})  # bytes that texts do not have
BINARY = 0.01  # share of these bytes from which on a file is no text; in compressed data it is a tenth


def blocks_of(path, show=True):
    """A file's bytes, plain or out of a .gz or .bz2, some whole lines at a time; with `show` under a bar."""
    path = Path(path)
    opener = OPENERS.get(path.suffix.lower(), lambda file: file)
    try:
        with open(path, "rb") as raw, opener(raw) as file:
            size = path.stat().st_size or None  # a pipe has none
            with bar(total=size, unit="B", unit_scale=True, desc=path.name, shown=show) as progress:
                while block := file.read(BLOCK):
                    block += check_length(path, file.readline(LONGEST_LINE + 1))
                    if size:
                        progress.update(raw.tell() - progress.n)
                    yield block
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error


def check_length(path, line):
    """The line, or its part. Raises UserError if it is longer than `LONGEST_LINE`, before it fills the memory."""
    if len(line) > LONGEST_LINE:
        raise UserError(f"{path}: a line of more than {LONGEST_LINE >> 20} MB; expected a text a line")
    return line


def lines_of(path, show=True):
    """A file's lines as bytes, plain or out of a .gz or .bz2, a block in memory at a time; with `show` under a bar."""
    for block in blocks_of(path, show):
        yield from io.BytesIO(block)


def arriving_blocks(file):
    """The bytes of a pipe or terminal, some whole lines as soon as they are there.

    An empty block says that the next line has not arrived yet: time to answer those before it. (Windows cannot tell.)
    """
    rest, descriptor = bytearray(), file.fileno()
    while piece := os.read(descriptor, BLOCK):
        rest += piece
        if b"\n" in piece:
            end = rest.rfind(b"\n") + 1
            yield bytes(rest[:end])
            del rest[:end]
        check_length("standard input", rest)
        if sys.platform != "win32" and not select.select([descriptor], [], [], 0)[0]:
            yield b""
    if rest:
        yield bytes(rest)


def decode(path, content, lines, advise=False):
    """A file's bytes as text. Raises UserError with the number of the line that is not UTF-8.

    lines: those before this content. advise: whether the message has the command that converts the file.
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
        if len(content) - len(content.translate(None, CONTROLS)) > BINARY * len(content):
            return "It is binary data, expected a file of text"
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            return "Save it as UTF-8"
    if Path(path).suffix.lower() in OPENERS:
        return f"It can be read as {encoding.upper()}; unpack it and save it as UTF-8"
    command = f"from pathlib import Path; p = Path({str(path)!r}); p.write_text(p.read_text('{encoding}'), 'utf-8')"
    return f'It can be read as {encoding.upper()}; to convert it: python -c "{command}"'


def parse_json(text, where):
    """The content of a JSON text. Raises UserError that begins with `where` if it is none, or too deeply nested."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {why_no_json(error)}") from error


def why_no_json(error):
    """What an exception of `json.loads` says, as a short line."""
    return f"not JSON ({'nested too deeply' if isinstance(error, RecursionError) else reason(error)})"


def read_json(path):
    """The content of a JSON file. Raises UserError if it cannot be read or is no JSON."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {reason(error)}") from error
