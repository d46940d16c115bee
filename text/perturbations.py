"""Perturbations: changes of a text as people and machines make them, after which its class is still the same.

Each is a function of a text, a strength from 0 to 1 and a seeded random generator. It changes about the share
`strength` of the text's characters, as far as there are enough that it can change. With a larger strength and the same
seed it changes nearly the same characters and more.
"""

import functools
import random
import string
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cli.console import UserError, in_range, range_text, say
from cli.installation import REQUIREMENTS, problem, version_of
from text.rows import hashes_of

FORMAT = 3  # of the changes: it is raised when the same seed gives others
STRENGTHS = (0.1, 0.2, 0.4)  # the usual ones
LOOK_ALIKES = Path(__file__).with_name("look_alikes.txt")
HOMOPHONES = 5  # the most frequent characters of a reading that are taken for each other
LEVEL_1 = [byte for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF) for byte in (row, cell)]  # of GB 2312
MARKS = "，。、！？；：…·～—"
EMOJI = "😀😂🤣😊😍🤔😭😱👍👏🙏💪🔥🎉❤⭐🚀💰📈⚽"
NO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
FULL_WIDTH = {chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)} | {" ": "\u3000"}
SETS = (string.digits, string.ascii_lowercase, string.ascii_uppercase)  # a character is replaced by one of its set


def chosen(places, text, strength, rng):
    """Some of these places that can be changed: about the share `strength` of all characters of the text."""
    share = strength * len(text) / max(1, len(places))
    return [place for place in places if rng.random() < share]


def replaced(text, strength, rng, options):
    """The text with characters replaced, each by one of its options: strings by character's place in the text."""
    characters = list(text)
    for place in chosen(list(options), text, strength, rng):
        characters[place] = rng.choice(options[place])
    return "".join(characters)


def traditional(text, strength, rng):
    """Simplified characters become traditional ones, as OpenCC writes them in the whole text."""
    simplified = text.encode(errors="replace").decode()  # C++ accepts no half of a surrogate pair
    converted = _opencc().convert(simplified)
    if len(converted) != len(text):  # a phrase of another length
        converted = [_opencc().convert(character) for character in simplified]
    return replaced(text, strength, rng, {i: new for i, new in enumerate(converted) if new != simplified[i]})


def full_width(text, strength, rng):
    """ASCII characters become their full-width forms."""
    return replaced(text, strength, rng, {i: FULL_WIDTH[c] for i, c in enumerate(text) if c in FULL_WIDTH})


def homophones(text, strength, rng):
    """Characters become others with the same reading: that of the character in this text, with its tone."""
    readings = [(i, reading) for i, reading in enumerate(_readings(text)) if reading != text[i]]  # that of a is a
    found = {i: _homophones().get(reading, "").replace(text[i], "") for i, reading in readings}
    return replaced(text, strength, rng, {i: others for i, others in found.items() if others})


def look_alikes(text, strength, rng):
    """Characters become others that look alike."""
    others = _look_alikes()
    return replaced(text, strength, rng, {i: others[c] for i, c in enumerate(text) if c in others})


def dropped(text, strength, rng):
    """Characters are left out; at least one that is no white space remains."""
    out = set(chosen(range(len(text)), text, strength, rng))
    left = "".join(character for i, character in enumerate(text) if i not in out)
    return left if left.strip() else next((c for c in text if not c.isspace()), text)


def doubled(text, strength, rng):
    """Characters appear twice."""
    twice = set(chosen(range(len(text)), text, strength, rng))
    return "".join(2 * character if i in twice else character for i, character in enumerate(text))


def swapped(text, strength, rng):
    """Neighbouring characters change places."""
    characters, i = list(text), 0
    while i < len(text) - 1:
        if rng.random() < strength / (2 - strength):  # as many pairs as make that share of the characters
            characters[i : i + 2] = characters[i + 1], characters[i]
            i += 1
        i += 1
    return "".join(characters)


def _inserted(text, strength, rng, options):
    after = set(chosen(range(len(text)), text, strength, rng))
    return "".join(c + rng.choice(options) if i in after else c for i, c in enumerate(text))


def punctuation(text, strength, rng):
    """Punctuation marks are inserted."""
    return _inserted(text, strength, rng, MARKS)


def emoji(text, strength, rng):
    """Emoji are inserted."""
    return _inserted(text, strength, rng, EMOJI)


def zero_width(text, strength, rng):
    """Characters of no width are inserted."""
    return _inserted(text, strength, rng, NO_WIDTH)


def letters_digits(text, strength, rng):
    """English letters become other letters of the same case, digits other digits."""
    found = {i: own.replace(c, "") for i, c in enumerate(text) for own in SETS if c in own}
    return replaced(text, strength, rng, found)


class Perturbation(NamedTuple):
    """A kind of change."""

    title: str
    apply: Callable[[str, float, random.Random], str]
    package: str | None = None  # which it needs, of requirements-robustness.txt


PERTURBATIONS = {
    "traditional": Perturbation("traditional characters", traditional, "opencc"),
    "full_width": Perturbation("full-width forms", full_width),
    "homophones": Perturbation("homophones", homophones, "pypinyin"),
    "look_alikes": Perturbation("look-alike characters", look_alikes),
    "dropped": Perturbation("dropped characters", dropped),
    "doubled": Perturbation("doubled characters", doubled),
    "swapped": Perturbation("swapped characters", swapped),
    "punctuation": Perturbation("inserted punctuation", punctuation),
    "emoji": Perturbation("inserted emoji", emoji),
    "zero_width": Perturbation("inserted zero-width characters", zero_width),
    "letters_digits": Perturbation("other letters and digits", letters_digits),
}
OF_TRAINING = tuple(  # those that work on every installation and are not undone when texts are read
    name for name, found in PERTURBATIONS.items() if not found.package and name not in ("full_width", "zero_width")
)


def perturb(texts, name, strength, seed=1):
    """Each of these texts after the perturbation of this name, a list. The texts around it do not matter.

    Raises UserError if there is no such perturbation, if the strength is out of range, or if a package is missing.
    """
    if name not in PERTURBATIONS:
        raise UserError(f"perturbation {name!r} is unknown, expected one of {', '.join(PERTURBATIONS)}")
    if not in_range(strength, 0, 1):
        raise UserError(f"strength {strength} is out of range, {range_text(0, 1)}")
    if name in _missing():
        raise UserError(f"{name}: {_what_is_missing()}")
    apply = PERTURBATIONS[name].apply
    generators = (random.Random(f"{seed} {name} {own}") for own in hashes_of(texts).tolist())
    return [apply(text, strength, rng) for text, rng in zip(texts, generators, strict=True)]


def available():
    """The names of the perturbations whose package is installed; the others are reported."""
    missing = _missing()
    if missing:
        say(f"{', '.join(missing)} left out: {_what_is_missing()}")
    return [name for name in PERTURBATIONS if name not in missing]


def _missing():
    return [name for name, found in PERTURBATIONS.items() if found.package and version_of(found.package) is None]


def _what_is_missing():
    """The packages that are missing, and the command that installs them."""
    return problem(REQUIREMENTS.with_name("requirements-robustness.txt"))


@functools.cache
def _opencc():
    from opencc import OpenCC

    return OpenCC("s2t")


@functools.cache
def _look_alikes():
    """The characters that look like a character, as a string, by character."""
    lines = LOOK_ALIKES.read_text(encoding="utf-8").splitlines()
    others = {}
    for a, b in (pair for line in lines if not line.startswith("#") for pair in line.split()):
        others[a], others[b] = others.get(a, "") + b, others.get(b, "") + a
    return others


def _readings(text):
    """The reading of each character in a text, with the number of its tone; another character is its own reading."""
    from pypinyin import Style, lazy_pinyin

    def read(part):
        return lazy_pinyin(part, style=Style.TONE3, errors=list)

    readings = read(text)
    return readings if len(readings) == len(text) else [read(character)[0] for character in text]


@functools.cache
def _homophones():
    """The most frequent characters with a usual reading, as a string, by reading.

    They are among the frequent characters of GB 2312 (level 1), ordered by the number of phrases of pypinyin's
    dictionary that they are in.
    """
    from pypinyin.constants import PHRASES_DICT

    counts = Counter(character for phrase in PHRASES_DICT for character in phrase)
    found = {}
    for character in sorted(bytes(LEVEL_1).decode("gb2312", "ignore"), key=lambda own: -counts[own]):
        reading = _readings(character)[0]
        found[reading] = (found.get(reading, "") + character)[:HOMOPHONES]
    return found
