import json

import numpy as np
import pytest
from tokenizers.implementations import BertWordPieceTokenizer
from transformers import BertTokenizer

from cli.console import UserError
from conftest import pieces, sample_rows
from engine.batches import Batches
from text.corpus import build_wordpieces
from text.rows import Rows
from text.truncation import Truncation
from text.wordpieces import (
    WordPieces,
    check_unknown,
    read_vocab_file,
    read_wordpieces,
    write_wordpieces,
)

ODD = [
    "体验2D巅峰 Hello",
    "Ａ１　全角",
    "naïve café",
    "abc\u200b\x00def",
    "😀表情",
    "㊣龘",
    "x" * 300,
    "[SEP] [MASK]x",
    " 甲 ",
]


@pytest.fixture(scope="session")
def vocabulary(encoder):
    return read_wordpieces(encoder, len(pieces()))


def rows_of(rows):
    return [rows.ids[a:b].tolist() for a, b in zip(rows.offsets, rows.offsets[1:], strict=False)]


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": True, "tokenize_chinese_chars": False},
    ],
)
def test_the_pieces_are_those_of_transformers(tmp_path, settings):
    (tmp_path / "vocab.txt").write_text("\n".join([*pieces(), *"HDA"]), encoding="utf-8")
    if settings:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    texts = ODD + [text for text, _ in sample_rows("test", set(range(10)), 250)]
    theirs = BertTokenizer.from_pretrained(tmp_path, **(settings or {}), split_special_tokens=True)
    assert rows_of(read_wordpieces(tmp_path, len(pieces()) + 3).encode_texts(texts)) == theirs(texts)["input_ids"]


@pytest.mark.parametrize("names", [("vocab.txt",), ("vocab.txt", "tokenizer.json")])
def test_bert_base_chinese_as_it_comes(vocabulary, tmp_path, capsys, names):
    """Its settings keep capitals, which its vocabulary does not have."""
    expected = rows_of(vocabulary.encode_texts(ODD))
    (tmp_path / "vocab.txt").write_text("\n".join([*pieces(), "<S>"]), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": false}', encoding="utf-8")
    if "tokenizer.json" in names:
        tokenizer = BertTokenizer.from_pretrained(tmp_path, do_lower_case=False)
        tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    capsys.readouterr()
    assert rows_of(read_wordpieces(tmp_path, len(pieces()) + 1).encode_texts(ODD)) == expected
    assert f"{names[-1]}: the vocabulary has no capitals, so texts are read in lower case" in capsys.readouterr().err


def test_empty_texts_stay_empty_and_nothing_else(vocabulary):
    rows = vocabulary.encode_texts(["", "甲", "\u200b", "", "\ud83d"])
    assert rows.lengths.tolist() == [0, 3, 2, 0, 3]
    assert vocabulary.encode_texts([]).lengths.tolist() == []


def test_many_texts(vocabulary, monkeypatch):
    texts = [text for text, _ in sample_rows("test", set(range(10)), 50)]
    expected = rows_of(vocabulary.encode_texts(texts))
    monkeypatch.setattr("text.wordpieces.CHUNK", 7)
    assert rows_of(vocabulary.encode_texts(texts)) == expected


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
    rows, counts = vocabulary.encode_split(texts, 4, marks_words)
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
    rows, _ = vocabulary.encode_split(["甲", text, "乙"], 999, True)
    found = "".join(names[i >> 1].removeprefix("##") + "|" * (i & 1) for i in rows_of(rows)[1])
    assert found == f"[CLS]|{words}|[SEP]|"


def write_vocab(directory, entries, duplicate=None):
    names = (pieces() + [f"[unused{i}]" for i in range(entries)])[:entries]
    if duplicate:
        names[duplicate] = names[duplicate - 1]
    (directory / "vocab.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("entries", "rows"), [(17964, 18000), (21128, 21128), (39981, 40000)])
def test_a_vocabulary_that_is_as_it_came(tmp_path, entries, rows):
    """ERNIE 1.0 has fewer entries than rows, ERNIE 3.0 one twice."""
    write_vocab(tmp_path, entries, duplicate=entries - 100)
    vocabulary = read_wordpieces(tmp_path, rows)
    assert len(vocabulary) == entries
    assert vocabulary.pieces()[:5] == pieces()[:5]


@pytest.mark.parametrize(("entries", "rows"), [(21129, 21128), (17819, 18000), (21128, 18000)])
def test_a_vocabulary_of_another_encoder(tmp_path, entries, rows):
    write_vocab(tmp_path, entries)
    message = f"vocab.txt does not belong to the encoder beside it: it has {entries} entries, .* {rows} rows"
    with pytest.raises(UserError, match=message):
        read_wordpieces(tmp_path, rows)


def test_a_vocabulary_of_another_language(vocabulary):
    share = vocabulary.unknown(vocabulary.encode_texts(["股票", "ⴰⴱ", "ⴰ ⴱ ⴳ ⴷ"]))
    assert share == 5 / 7
    with pytest.raises(
        UserError, match=r"71% of the training text's .* unknown to the vocabulary, expected at most 20%; do"
    ):
        check_unknown(share, "do")
    check_unknown(vocabulary.unknown(vocabulary.encode_texts(["股票大涨", "ⴰⴱ"])), "do")


def test_the_two_files_of_a_tokenizer(vocabulary, tmp_path):
    write_wordpieces(tmp_path, vocabulary)
    expected = rows_of(vocabulary.encode_texts(ODD))
    assert rows_of(read_wordpieces(tmp_path, len(vocabulary)).encode_texts(ODD)) == expected
    (tmp_path / "vocab.txt").unlink()
    assert rows_of(read_wordpieces(tmp_path, len(vocabulary)).encode_texts(ODD)) == expected
    names = vocabulary.pieces()
    (tmp_path / "vocab.txt").write_text("\n".join(names[:5] + names[:4:-1]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"vocab.txt and tokenizer.json beside it differ in \d+ of \d+ entries"):
        read_wordpieces(tmp_path, len(vocabulary))
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer.json: no tokenizer"):
        read_wordpieces(tmp_path, len(vocabulary))


def test_a_vocabulary_that_lacks_what_it_needs(tmp_path):
    with pytest.raises(UserError, match=r"has no vocab.txt .or tokenizer.json.; it contains: nothing"):
        read_wordpieces(tmp_path, 3)
    (tmp_path / "vocab.txt").write_text("[PAD]\n[CLS]\n[SEP]\n甲\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"vocab.txt has no \[UNK\], \[MASK\]"):
        read_vocab_file(tmp_path / "vocab.txt")
    (tmp_path / "vocab.txt").write_bytes("甲\n乙".encode("gb18030"))
    with pytest.raises(UserError, match=r"vocab.txt, line 1: not UTF-8"):
        read_vocab_file(tmp_path / "vocab.txt")


@pytest.mark.parametrize("content", ["[]", '{"do_lower_case": "yes"}', '{"strip_accents": [1]}', "[" * 100_000])
def test_a_tokenizer_config_of_wrong_types_is_a_line(tmp_path, content):
    (tmp_path / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces()), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"tokenizer_config\.json: (expected an object|not JSON)"):
        read_wordpieces(tmp_path, len(pieces()))


def test_a_tokenizer_that_cannot_encode_is_a_line():
    content = json.loads(BertWordPieceTokenizer({name: i for i, name in enumerate(pieces())}).to_str())
    content["model"]["unk_token"] = "[GONE]"
    with pytest.raises(UserError, match=r"the tokenizer cannot encode .*; fetch the encoder's files again"):
        WordPieces(json.dumps(content)).encode_texts(["股票ⴰ"])


def test_characters_without_a_piece_get_those_of_known_forms():
    texts = ["房价上涨 A股", "iphone 2009 后台发言"]
    plain = build_wordpieces(texts, 300)
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
