from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.console import UserError
from text.aliases import (
    HIDDEN,
    NOTHING,
    RARER,
    UNKNOWN,
    UNREAD,
    Aliases,
    aliases_of,
    count_characters,
    folded,
    most_frequent,
    notes_on,
    without,
)
from text.rows import Rows, spans_of, texts_of
from text.variants import ALL_SIMPLIFIED


def pairs_of(known, counts=None):
    pairs = aliases_of(known, None if counts is None else counted(counts))
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def counted(content):
    """Counts of code points, of a text or a dict of characters and their counts."""
    counts = np.zeros(0x110000, np.int64)
    for character, count in Counter(content).items():
        counts[ord(character)] = count
    return counts


def read(aliases, *texts):
    return texts_of(aliases.read(spans_of(texts)))


@pytest.mark.parametrize(
    ("character", "form"),
    [*zip("Ａ％　①²愛後臺㎡…", "A% 12爱后台㎡…", strict=True), ("\uf900", "岂"), ("𝗛", "H"), ("\u0130", "\u0130")],
)
def test_folded(character, form):
    assert folded(character) == form


def test_the_traditional_characters_are_no_simplified_ones_of_others():
    assert not ALL_SIMPLIFIED.keys() & set(ALL_SIMPLIFIED.values())
    assert len(ALL_SIMPLIFIED) > 2500 and all(len(pair) == 2 for pair in map("".join, ALL_SIMPLIFIED.items()))


def test_unknown_characters_get_known_forms():
    found = pairs_of("爱A,发（")
    assert {character: found[character] for character in "愛Ａ，髮發("} == dict(
        zip("愛Ａ，髮發(", "爱A,发发（", strict=True)
    )
    assert not found.keys() & set("爱A,发（") and "a" not in found and "學" not in found


def test_a_model_of_traditional_texts_reads_simplified_ones():
    found = pairs_of("愛髮發")
    assert (found["爱"], found["发"]) == ("愛", "髮")  # of several the most frequent


def test_characters_that_are_known_stay():
    assert pairs_of("爱愛後")["后"] == "後"
    assert "愛" not in pairs_of("爱愛後")


def test_characters_are_counted():
    counts = np.zeros(0x110000, np.int64)
    for texts in (["爱好爱", "A"], [""], ["", "好爱😀"]):
        count_characters(spans_of(texts), counts)
    assert counts.tolist() == counted("爱爱爱好好A😀").tolist()
    assert "".join(map(chr, most_frequent(counts))) == "爱好A😀"


@pytest.mark.parametrize(("count", "form"), [(1, "A"), (2, None)])
def test_a_character_that_is_much_rarer_than_another_form_of_it_is_read_as_that_one(count, form):
    counts = {"A": 2 * RARER, "后": 9, "後": 9, "Ａ": count}
    found = pairs_of("", counts)
    assert found.get("Ａ") == form and found["𝗔"] == "A"
    assert not found.keys() & {"A", "后", "後"}
    assert pairs_of("", {"Ａ": 2 * RARER, "A": 1})["A"] == "Ａ"  # whichever form is the rarer one


def test_known_characters_stay_however_rare_they_are():
    found = pairs_of("（A後", {"(": 100, "（": 1, "后": 50, "Ａ": 9, "B": 100, "Ｂ": 1})
    expected = {"(": "（", "后": "後", "Ａ": "A", "Ｂ": "B"}
    assert {character: found[character] for character in expected} == expected
    assert not found.keys() & set("（A後B")


def test_invisible_characters_are_not_read():
    aliases = Aliases(aliases_of("爱"))
    assert read(aliases, "\ufeff愛\u200b人", "", *UNREAD, "\u200d\u200b") == [
        "爱人",
        "",
        *(len(UNREAD) + 1) * [chr(UNKNOWN)],
    ]
    assert read(Aliases(HIDDEN), "愛\u00ad") == ["愛"]


@given(st.lists(st.text(st.sampled_from(["甲", "\u200b", "\0", " "]), max_size=5), max_size=5))
def test_a_text_stays_empty_or_not(texts):
    expected = [text.replace("\u200b", "").replace("\0", "") or (text and chr(UNKNOWN)) for text in texts]
    assert read(Aliases(HIDDEN), *texts) == expected


def test_without():
    rows = Rows(np.array([1, 7, 7, 7, 2, 7]), np.array([0, 2, 2, 4, 6]))
    found = without(rows, 7, 9)
    assert (found.ids.tolist(), found.offsets.tolist()) == ([1, 9, 2], [0, 1, 1, 2, 3])
    assert without(rows, 8, 9) is rows


def test_what_is_read_as_another_character_is_counted_and_reported():
    replaced = Aliases(aliases_of("爱B45")).replaced(counted("Ｂ４爱愛\u200b愛５\0"))
    once = [("Ｂ", "B"), ("４", "4"), ("５", "5"), ("\u200b", NOTHING), ("\0", NOTHING)]
    assert replaced == {("愛", "爱"): 2} | dict.fromkeys(once, 1)
    assert notes_on(replaced) == [
        "{path}: 5 rare or unknown characters are read as known forms of them (愛 as 爱, ４ as 4, ５ as 5 and 1 more)",
        "{path}: 2 invisible characters are not read",
    ]
    assert notes_on(Counter()) == []


@pytest.mark.parametrize("pairs", ["愛", "愛\ud800", 3, ["愛爱"], b"ab"])
def test_no_pairs(pairs):
    with pytest.raises(UserError, match="the aliases are no pairs of characters"):
        Aliases(pairs)
