from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.console import UserError
from text.aliases import HIDDEN, NOTHING, UNKNOWN, UNREAD, Aliases, aliases_of, folded, notes_on, without
from text.rows import Rows, spans_of, texts_of
from text.variants import ALL_SIMPLIFIED


def pairs_of(known):
    pairs = aliases_of(known)
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


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
    aliases, replaced = Aliases(aliases_of("爱B45")), Counter()
    for texts in (["Ｂ４爱", "愛\u200b"], ["愛", "５"]):
        replaced.update(aliases.replaced(spans_of(texts)))
    assert replaced == {("愛", "爱"): 2, ("Ｂ", "B"): 1, ("４", "4"): 1, ("５", "5"): 1, ("\u200b", NOTHING): 1}
    assert notes_on(replaced) == [
        "{path}: 5 characters outside the vocabulary are read as known forms of them "
        "(愛 as 爱, ４ as 4, Ｂ as B and 1 more)",
        "{path}: 1 invisible characters are not read",
    ]
    assert notes_on(Counter()) == []


@pytest.mark.parametrize("pairs", ["愛", "愛\ud800", 3, ["愛爱"], b"ab"])
def test_no_pairs(pairs):
    with pytest.raises(UserError, match="the aliases are no pairs of characters"):
        Aliases(pairs)
