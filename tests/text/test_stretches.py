import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers
from tokenizers.implementations import BertWordPieceTokenizer

from conftest import pieces, sample_rows
from text import stretches as module
from text.rows import spans_of
from text.stretches import EMPTY, LOOSE, Cutter, Pieces, can_cut, flattened
from tokenised import ODD

RULES = [
    {},
    {"lowercase": False},
    {"lowercase": False, "strip_accents": True},
    {"strip_accents": False},
    {"handle_chinese_chars": False},
    {"clean_text": False},
]
# letters, accents, marks that stay, Chinese of all kinds, punctuation, white space, what is removed, a Hangul
# syllable and kana that consist of two, letters whose lower case is longer, a sign that consists of "=" and a mark
TELLING = "aZ2éİſΣ\u0301\u0323\u302e\u3099\U0001d165中国豈㐀\U00020000，。-[]≠;"
TELLING += "Ａ１ \u3000\t\u200b\x00\ufffd\u00ad가ガ😀#"
TEXTS = st.lists(st.text(st.sampled_from(TELLING) | st.characters(codec="utf-8"), max_size=12), max_size=5)


def tokenizer_of(**rules):
    known = [character for character in TELLING if character not in pieces()]
    names = [*pieces(), *known, *(f"##{character}" for character in TELLING if f"##{character}" not in pieces())]
    tokenizer = Tokenizer.from_str(BertWordPieceTokenizer({name: i for i, name in enumerate(names)}, **rules).to_str())
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode_with(tokenizer):
    return lambda texts: tokenizer.encode_batch(texts, add_special_tokens=False)


TOKENIZERS = [tokenizer_of(**rules) for rules in RULES]
CUT = [Pieces(tokenizer, encode_with(tokenizer)) for tokenizer in TOKENIZERS]


def assert_as_whole(cut, tokenizer, texts):
    """Compares the pieces of cut texts with those that the library finds in whole texts, and where each begins."""
    spans = spans_of(texts)
    ids, lengths, places = flattened(encode_with(tokenizer)(texts))
    expected = ids, lengths, places + spans.offsets[:-1].repeat(lengths)
    assert [array.tolist() for array in cut.of(spans)] == [array.tolist() for array in expected]


@pytest.mark.parametrize("number", range(len(RULES)), ids=[" ".join(rules) or "default" for rules in RULES])
@given(texts=TEXTS)
@settings(max_examples=150)
def test_cut_texts_have_the_pieces_of_whole_ones(number, texts):
    assert_as_whole(CUT[number], TOKENIZERS[number], texts)


@pytest.mark.parametrize("number", range(len(RULES)))
def test_odd_texts_and_headlines(number):
    headlines = [text for text, _ in sample_rows("test", set(range(10)), 100)]
    assert_as_whole(CUT[number], TOKENIZERS[number], [*ODD, *headlines, *ODD, "", "x" * 101, "中" + "\u0301" * 200])


def test_characters_beside_each_other():
    """All pairs, with something before and after them."""
    texts = [f"中{a}{b}z{b}{a}" for a in TELLING for b in TELLING]
    for cut, tokenizer in zip(CUT, TOKENIZERS, strict=True):
        assert_as_whole(cut, tokenizer, texts)


def test_where_texts_are_cut():
    """A character that has several tokens is part of a stretch."""
    counts = {" ": 0, "。": 2}
    cutter = Cutter(TOKENIZERS[0], lambda characters: [[ord(c)] * counts.get(c, 1) for c in characters])
    tokens, starts, stretches = cutter.cut(spans_of(["体验2D巅峰，Hello", "", "world a\u0301\u200b中。"]))
    assert stretches == ["2D", "Hello", "world", "a\u0301\u200b", "。"]
    assert starts.tolist() == [2, 7, 12, 18, 22]
    loose, space = [LOOSE], [EMPTY]
    expected = [*map(ord, "体验"), *loose * 2, *map(ord, "巅峰，"), *loose * 10, *space, *loose * 3, ord("中"), *loose]
    assert tokens.tolist() == expected


def test_stretches_are_encoded_once_and_forgotten(monkeypatch):
    tokenizer, encoded = TOKENIZERS[0], []

    def encode(texts):
        encoded.extend(texts)
        return encode_with(tokenizer)(texts)

    cut = Pieces(tokenizer, encode)
    for _ in range(2):
        cut.of(spans_of(["iphone中iphone", "ipad"]))
    assert encoded == ["中", "iphone", "ipad"]
    monkeypatch.setattr(module, "REMEMBERED", 9)
    for _ in range(3):
        assert_as_whole(cut, tokenizer, ["ipad中w", "iphone w"])
        assert set(cut.numbers) == {"ipad", "w", "iphone"}


def test_threads_share_what_is_remembered(monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 20)
    tokenizer = TOKENIZERS[0]
    cut = Pieces(tokenizer, encode_with(tokenizer))
    groups = [[f"第{i}名word{i % 7}", f"a{i}b{i % 3} 中"] for i in range(200)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda texts: assert_as_whole(cut, tokenizer, texts), groups))


def test_other_tokenizers_are_not_cut():
    assert all(map(can_cut, TOKENIZERS))
    content = json.loads(TOKENIZERS[0].to_str())
    for part, other in [
        ("normalizer", None),
        ("normalizer", {"type": "Lowercase"}),
        ("pre_tokenizer", None),
        ("pre_tokenizer", {"type": "Whitespace"}),
        ("model", {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}),
    ]:
        assert not can_cut(Tokenizer.from_str(json.dumps(content | {part: other})))
    tokenizer = tokenizer_of()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), tokenizer.normalizer])
    assert not can_cut(tokenizer)
    tokenizer = tokenizer_of()
    tokenizer.add_special_tokens(["[X]"])
    assert can_cut(tokenizer)
    tokenizer.add_tokens([AddedToken("中国")])
    assert not can_cut(tokenizer)


def test_no_texts():
    assert [array.tolist() for array in CUT[0].of(spans_of([]))] == [[], [], []]
    assert [array.tolist() for array in CUT[0].of(spans_of(["", " "]))] == [[], [0, 0], []]
    assert CUT[0].of(spans_of(["中"]))[0].dtype == np.int32
