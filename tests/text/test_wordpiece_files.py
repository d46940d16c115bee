import json

import pytest
from transformers import BertTokenizer

from cli.console import UserError
from conftest import pieces, sample_rows
from text.wordpiece_files import check_unknown, read_vocab_file, read_wordpieces, write_wordpieces
from tokenised import ODD, rows_of


@pytest.fixture(scope="session")
def vocabulary(encoder):
    return read_wordpieces(encoder, len(pieces()))


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
