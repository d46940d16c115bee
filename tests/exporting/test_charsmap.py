import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.normalizers import Precompiled

from exporting.charsmap import charsmap_of
from text.aliases import UNKNOWN, UNREAD, Aliases, aliases_of
from text.rows import spans_of, texts_of

ALIASES = Aliases(aliases_of("北京房价上涨 A股abc123,后台"))
NORMALIZER = Precompiled(charsmap_of(ALIASES.pairs))
CHARACTERS = [*ALIASES.pairs.replace("\0", ""), *UNREAD.replace("\0", ""), *"没有😀𠀀é"]


def read(text):
    return texts_of(ALIASES.read(spans_of([text])))[0].replace(chr(UNKNOWN), "")


@given(st.text(st.sampled_from(CHARACTERS), max_size=20))
def test_the_library_reads_what_the_aliases_say(text):
    assert NORMALIZER.normalize_str(text) == read(text)


def test_each_alias():
    for character in CHARACTERS:
        assert NORMALIZER.normalize_str(character) == read(character)


@pytest.mark.parametrize("pairs", ["愛爱", "愛爱\u200b\0", "愛b\0\0"])
def test_few_aliases(pairs):
    assert Precompiled(charsmap_of(pairs)).normalize_str("爱愛a") == f"爱{pairs[1]}a"
