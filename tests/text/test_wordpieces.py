import json

import numpy as np
import pytest
from tokenizers.implementations import BertWordPieceTokenizer

from cli.console import UserError
from conftest import pieces, sample_rows
from engine.batches import Batches
from text.corpus import build_wordpieces
from text.rows import Rows, spans_of
from text.truncation import Truncation
from text.wordpiece_files import read_wordpieces
from text.wordpieces import WordPieces
from tokenised import ODD, rows_of


@pytest.fixture(scope="session")
def vocabulary(encoder):
    return read_wordpieces(encoder, len(pieces()))


@pytest.mark.parametrize("more", [0, 99])
def test_empty_texts_stay_empty_and_nothing_else(vocabulary, more):
    rows = vocabulary.encode_texts(["", "甲", "\u200b", "", "\ud83d"] + ["甲"] * more)
    assert rows.lengths.tolist() == [0, 3, 2, 0, 3] + [3] * more
    assert vocabulary.encode_texts([]).lengths.tolist() == []


def test_texts_one_after_the_other(vocabulary, monkeypatch):
    texts = ODD + [text for text, _ in sample_rows("test", set(range(10)), 50)]
    expected = rows_of(vocabulary.encode_texts(texts))
    monkeypatch.setattr("text.wordpieces.CHUNK", 7)
    assert rows_of(vocabulary.encode_texts(texts)) == expected


def test_a_tokenizer_whose_texts_are_not_cut(vocabulary):
    content = json.loads(vocabulary.content["tokenizer"])
    content |= {"normalizer": None, "pre_tokenizer": {"type": "Whitespace"}}
    other, texts = WordPieces(json.dumps(content)), ["股票大涨", "股 票"] * 99
    expected = [encoding.ids for encoding in other.tokenizer.encode_batch(texts, add_special_tokens=False)]
    assert [row[1:-1] for row in rows_of(other.encode_texts(texts))] == expected
    assert expected != [row[1:-1] for row in rows_of(vocabulary.encode_texts(texts))]


def test_a_cut_row_keeps_its_end(vocabulary):
    rows = vocabulary.encode_texts(["", "股票大涨", "股"])
    cls, a, b, *_ = rows.ids.tolist()
    batch = Batches(rows, None, vocabulary, Truncation(4)).cut(np.arange(3))
    sep, pad = vocabulary.sep, vocabulary.pad
    assert batch.tokens.tolist() == [[pad] * 4, [cls, a, b, sep], [cls, a, sep, pad]]
    assert batch.lengths.tolist() == [0, 4, 3]
    assert rows_of(rows)[1][3] != sep


@pytest.mark.parametrize("marks_words", [False, True])
def test_a_split_text_loses_nothing(vocabulary, marks_words):
    texts = ["股票大涨房产", "股", "股票", "\u200b"]
    rows, counts = vocabulary.encode_split(spans_of(texts), 4, marks_words)
    parts = rows_of(Rows(rows.ids >> marks_words, rows.offsets))
    assert counts.tolist() == [3, 1, 1, 0]
    assert [len(part) for part in parts] == [4, 4, 4, 3, 4]
    assert all(part[0] == vocabulary.cls and part[-1] == vocabulary.sep for part in parts)
    inner = [i for part in parts for i in part[1:-1]]
    assert inner == [i for row in rows_of(vocabulary.encode_texts(texts)) for i in row[1:-1]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("股票 大涨", "股票|大涨"),
        ("体验2D大涨", "体验|2d|大涨"),
        ("iPhone4S上市：小米2.5万", "iphone4s|上市|：|小米|2.5|万"),
        ("naïve café", "naive|cafe"),
        ("Ａ１　全\x00角", "[UNK]|全|角"),
        ("㊣龘股票", "[UNK]|[UNK]|股票"),
        ("x" * 120 + "股票", "[UNK]|股票"),
    ],
)
def test_words_end_at_pieces(vocabulary, text, words):
    """Where jieba's words end, whatever the tokenizer adds, removes or joins; a piece "##…" belongs to its word."""
    names = vocabulary.pieces()
    rows, _ = vocabulary.encode_split(spans_of(["甲", text, "乙"]), 999, True)
    found = "".join(names[i >> 1].removeprefix("##") + "|" * (i & 1) for i in rows_of(rows)[1])
    assert found == f"[CLS]|{words}|[SEP]|"


def test_a_tokenizer_that_cannot_encode_is_a_line():
    content = json.loads(BertWordPieceTokenizer({name: i for i, name in enumerate(pieces())}).to_str())
    content["model"]["unk_token"] = "[GONE]"
    with pytest.raises(UserError, match=r"the tokenizer cannot encode .*; fetch the encoder's files again"):
        WordPieces(json.dumps(content)).encode_texts(["股票ⴰ"])


def test_characters_without_a_piece_get_those_of_known_forms():
    texts = ["房价上涨 A股", "iphone 2009 后台发言"]
    plain = build_wordpieces([spans_of(texts)], 300)
    assert plain.unk in plain.encode_texts(["房價"]).ids
    vocabulary = plain.with_aliases()
    expected = rows_of(plain.encode_texts(texts))
    assert rows_of(vocabulary.encode_texts(["房價上漲　Ａ股", "ｉＰｈｏｎｅ ２００９ 後臺\u200b發言"])) == expected
    assert rows_of(vocabulary.encode_texts(texts)) == expected
    again = WordPieces(**vocabulary.content)
    assert again.digest == vocabulary.digest != plain.digest and again.with_aliases() is again
    assert rows_of(again.encode_texts(["房價上漲 A股"])) == expected[:1]


def test_characters_with_a_piece_keep_it(vocabulary):
    texts = ODD + [text for text, _ in sample_rows("test", set(range(10)), 50)]
    known = [
        text
        for text, row in zip(texts, rows_of(vocabulary.encode_texts(texts)), strict=True)
        if vocabulary.unk not in row
    ]
    assert len(known) > 40
    expected = rows_of(vocabulary.encode_texts(known))
    assert rows_of(vocabulary.with_aliases().encode_texts(known)) == expected
