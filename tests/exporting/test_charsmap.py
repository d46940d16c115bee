import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.normalizers import Precompiled, Sequence

from conftest import sample_rows
from exporting.charsmap import charsmap_of, normalizers_of
from text.aliases import UNKNOWN, UNREAD, Aliases, aliases_of
from text.rows import spans_of, texts_of

ALIASES = Aliases(aliases_of("北京房价上涨 A股Ｂabc123,后台"))  # B, ² and 後 take one, two and three bytes
NORMALIZER = Sequence(normalizers_of(ALIASES.pairs))
MARKS = "\u0301\u20e3\ufe0f\u3099\u0e33\uff9e\U0001f3fb\U000e0061"
CHARACTERS = [*ALIASES.pairs, *UNREAD, *"没有😀𠀀é", *MARKS]


def read(text):
    return texts_of(ALIASES.read(spans_of([text])))[0].replace(chr(UNKNOWN), "")


@given(st.text(st.sampled_from(CHARACTERS), max_size=20))
def test_the_library_reads_what_the_aliases_say(text):
    assert NORMALIZER.normalize_str(text) == read(text)


@pytest.mark.parametrize("before", ["", "B", "²", "後", "后"])
def test_every_character_after_an_alias(before):
    """Alone too: a character that is no alias must not be found in the tables."""
    codes = {*range(0x20000), *range(0xE0000, 0xE0200)} - {*range(0xD800, 0xE000), UNKNOWN}
    text = "".join(f"{before}{chr(code)}好" for code in sorted(codes))
    assert NORMALIZER.normalize_str(text) == read(text)


def test_no_character_is_read_as_another_one_if_there_are_many_aliases():
    known = dict.fromkeys("".join(text for text, _ in sample_rows("train", set(range(10)), 2000)))
    aliases = Aliases(aliases_of(known))
    codes = {*range(1, 0x30000)} - {*range(0xD800, 0xE000), UNKNOWN}
    text = "好".join(map(chr, sorted(codes)))
    expected = texts_of(aliases.read(spans_of([text])))[0]
    assert Sequence(normalizers_of(aliases.pairs)).normalize_str(text) == expected


def test_each_alias():
    for character in CHARACTERS:
        assert NORMALIZER.normalize_str(character) == read(character)


@pytest.mark.parametrize("pairs", ["愛爱", "愛爱\u200b\0", "愛b\0\0"])
def test_few_aliases(pairs):
    assert Precompiled(charsmap_of(pairs)).normalize_str("爱愛a") == f"爱{pairs[1]}a"
