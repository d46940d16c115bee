"""Text files in the encodings that Chinese text comes in: the encoding of a file, and its lines."""

import codecs
import io
import re

from cli.console import UserError, reason
from text.files import blocks_of, check_length

UNDECODED = re.compile("[\udc80-\udcff]")  # what `decoded_lines` makes of bytes that are not in the encoding
SAMPLE = 1 << 20  # bytes of lines that are not ASCII
MARKS = (  # byte-order marks; the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WIDE = ("utf-16-le", "utf-16-be")  # without a mark, in which ASCII characters have a zero byte
LEAST_KNOWN = 0.1  # share of ASCII and frequent characters in a text of UTF-16; in others read so it is about 0.01
NAMES = {"utf-8-sig": "UTF-8 with a byte-order mark", "big5hkscs": "Big5"}
FREQUENT = frozenset(  # the most frequent characters of simplified and of traditional text, and punctuation
    "，。、；：？！“”（）《》的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道"
    "行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已"
    "工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位"
    "這個們來為國說時會對於著過發後裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問應戰頭體見產話內給號電書車馬門"
)


def find_encoding(path):
    """The encoding of a file, as Python calls it: that of its mark, UTF-8, UTF-16, GB18030 or Big5.

    UTF-16 without a mark is found by its zero bytes. A file that is not UTF-8 throughout has the encoding in which most
    of its characters are frequent ones. Raises UserError if it has none of them.
    """
    sample, is_utf8 = bytearray(), True
    for i, block in enumerate(blocks_of(path, show=False)):
        found = None if i else _marked(block) or _wide(block)
        if found:
            return found
        if len(sample) < SAMPLE and not block.isascii():
            sample += b"".join(line for line in block.splitlines(True) if not line.isascii())[:SAMPLE]
        is_utf8 = is_utf8 and _is_utf8(block)
        if not is_utf8 and len(sample) >= SAMPLE:
            break
    if is_utf8:
        return "utf-8"
    scores = {name: _score(bytes(sample), name) for name in ("utf-8", "gb18030", "big5hkscs")}
    found = max(scores, key=scores.get)
    if scores[found] < 0:
        advice = "save it as UTF-8, or name it with --encoding of prepare.py"
        raise UserError(f"{path}: the encoding is not UTF-8, UTF-16, GB18030 or Big5; {advice}")
    return found


def check_encoding(name):
    """Raises UserError if Python knows no encoding of text of this name."""
    try:
        "a".encode(name)
    except (LookupError, ValueError) as error:
        known = "utf-8, gb18030, big5 or utf-16"
        raise UserError(f"--encoding {name} is no encoding; expected a name such as {known}") from error


def name_of(encoding):
    """An encoding as a message calls it."""
    return NAMES.get(encoding, encoding.upper())


def decoded_lines(path, encoding, show):
    """A file's lines as text with their ends, which may be those of Unix, Windows or an old Mac.

    Bytes that are not in the encoding become surrogates, which `UNDECODED` finds.
    """
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))  # a user may call it UTF16
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass" if wide else "surrogateescape")
    rest = ""
    try:
        for i, block in enumerate(blocks_of(path, show)):
            text = decoder.decode(block)
            text = rest + (text if i else text.removeprefix("\ufeff"))
            end = text.rfind("\n") + 1  # a block of UTF-16 ends within the line end
            yield from io.StringIO(text[:end], newline="")
            rest = check_length(path, text[end:])
        yield from io.StringIO(rest + decoder.decode(b"", final=True), newline="")
    except UnicodeError as error:
        raise UserError(f"{path}: not {name_of(encoding)} ({reason(error)}); save it as UTF-8") from error


def _marked(block):
    """The encoding of a file that begins with this block and has a mark, otherwise None."""
    return next((name for mark, name in MARKS if block.startswith(mark)), None)


def _wide(block):
    """The kind of UTF-16 of a file that begins with this block, None if it is another encoding."""
    zeros = block.count(b"\0")
    if not zeros or (4 * zeros < len(block) and _is_utf8(block)):  # one in a text of UTF-8 is a character
        return None
    shares = {}
    for name in WIDE:
        text = block[: min(len(block), SAMPLE) // 2 * 2].decode(name, "replace")
        known = sum(c in FREQUENT or (c.isascii() and (c.isprintable() or c in "\t\r\n")) for c in text)
        shares[name] = (known - text.count("\ufffd")) / max(1, len(text))
    found = max(shares, key=shares.get)
    return found if shares[found] >= LEAST_KNOWN else None


def _is_utf8(block):
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _score(sample, encoding):
    """The share of frequent characters minus that of errors, of those that are not ASCII."""
    text = "".join(c for c in sample.decode(encoding, "replace") if not c.isascii())
    return (sum(c in FREQUENT for c in text) - text.count("\ufffd")) / max(1, len(text))
