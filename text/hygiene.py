"""What does not belong into a text: HTML, control characters, mojibake, … Found, and removed where that is safe."""

import html
import re
from typing import NamedTuple

import numpy as np

from cli.console import one_line
from text.aliases import JOINER, ZERO_WIDTH
from text.chinese import SIMPLIFIED
from text.grams import blocks_of, take
from text.rows import texts_of

TAG = re.compile(
    r"</?(?:(?P<block>br|p|div|li|ul|ol|tr|td|th|table|h[1-6])|a|b|i|u|s|em|img|span|font|strong|center|script|style)"
    r"(?:\s[^<>\n]*)?/?>|<!--.{0,1000}?-->",
    re.IGNORECASE,
)
ENTITY = re.compile(
    r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|(?:nbsp|amp|lt|gt|quot|apos|ldquo|rdquo|hellip|mdash|middot));"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
INVISIBLE = re.compile(f"[{ZERO_WIDTH}]|{JOINER}(?![\u2600-\u27bf\U0001f000-\U0001faff])")  # except between two emoji
TRAIL = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122"
MOJIBAKE = (
    "[\ufffd\ue000-\uf8ff]",  # replacement characters, private use
    "锟斤拷|烫烫烫|屯屯屯",  # replacement characters in UTF-8 read as GBK; uninitialized memory
    "[锛銆鈥鐨鏄鎴鍦鍥]",  # frequent characters in UTF-8, read as GBK
    f"(?:[\u00c3-\u00e9][{TRAIL}]{{1,2}}){{2}}|\u00c2[\u0080-\u00bf]|\u00e2\u20ac",  # UTF-8 read as Windows-1252
    "(?:[\u00b0-\u00b6\u00b8-\u00d6\u00d8-\u00f7][\u00a1-\u00b6\u00b8-\u00d6\u00d8-\u00ff]){2}",  # GBK read as Latin-1
)


class Kind(NamedTuple):
    """A kind of characters that do not belong into a text."""

    title: str
    pattern: re.Pattern  # never matches a line end
    advice: str


KINDS = {
    "control": Kind("control characters", CONTROL, "--fix removes them"),
    "invisible": Kind("zero-width or other invisible characters", INVISIBLE, "--fix removes them"),
    "html": Kind(
        "HTML",
        re.compile(f"{TAG.pattern}|{ENTITY.pattern}", re.IGNORECASE),
        "--fix removes tags and replaces entities by their characters",
    ),
    "mojibake": Kind(
        "mojibake",
        re.compile("|".join(MOJIBAKE)),
        "convert the original file again with its right encoding, or remove these rows",
    ),
    "url": Kind(
        "URLs",
        re.compile(r"(?:https?://|www\.)[\w.~:/?#@!$&'*+,;=%-]+", re.ASCII | re.IGNORECASE),
        "remove them, or replace them by one word, unless they say something about the class",
    ),
    "full_width": Kind(
        "full-width letters or digits",
        re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]"),
        "convert them, and the texts to predict: unicodedata.normalize('NFKC', text)",
    ),
}
SCRIPTS = "convert all texts to one script, and the texts to predict, for example with OpenCC"


def find(texts):
    """The rows with each of the `KINDS`, and those of `traditional` and of `simplified` characters: index arrays."""
    found = {name: [] for name in KINDS}
    for start, end in blocks_of(texts.offsets):
        lines = texts_of(take(texts, np.arange(start, end)))
        starts = np.cumsum([0, *(len(line) + 1 for line in lines[:-1])])
        joined = "\n".join(lines)
        for name, kind in KINDS.items():
            places = [match.start() for match in kind.pattern.finditer(joined)]
            found[name].append(start + np.unique(np.searchsorted(starts, places, "right") - 1))
    rows = {name: np.concatenate(parts).astype(np.int64) for name, parts in found.items()}
    return rows | {
        "traditional": _rows_with(texts, SIMPLIFIED),
        "simplified": _rows_with(texts, SIMPLIFIED.values()),
    }


def _rows_with(texts, characters):
    """The rows that contain one of these characters."""
    table = np.zeros(0x110000, bool)
    table[[ord(character) for character in characters]] = True
    return np.unique(np.searchsorted(texts.offsets, np.flatnonzero(table[texts.ids]), "right") - 1)


def clean(text):
    """A text without HTML, control and invisible characters; it may become empty."""
    text = TAG.sub(lambda match: " " if match["block"] else "", text)
    text = one_line(ENTITY.sub(lambda match: html.unescape(match[0]), text)).replace("\u00a0", " ")
    return INVISIBLE.sub("", CONTROL.sub("", text)).strip()
