import gzip
import os
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from tokenizers.implementations import BertWordPieceTokenizer

from cli.console import UserError
from conftest import pieces, sample_rows
from text import corpus as module
from text.corpus import Corpus, build_wordpieces, hold_out, read_corpus
from text.rows import Rows, offsets_of, spans_of
from text.wordpiece_files import read_wordpieces
from tokenised import ODD, rows_of

TEXTS = [text for text, _ in sample_rows("train", set(range(10)), 300)]


@pytest.fixture(scope="session")
def vocabulary(encoder):
    return read_wordpieces(encoder, len(pieces()))


def write_corpus(directory, texts=TEXTS):
    """A corpus in two files, one of them compressed, with labels behind a tab, and its paths."""
    lines = [f"{text}\t3\r\n" for text in texts]
    half = len(lines) // 2
    (directory / "a.txt").write_bytes(("\ufeff \n" + "".join(lines[:half])).encode())
    (directory / "b.txt.gz").write_bytes(gzip.compress("".join(lines[half:]).encode()))
    return [directory / "a.txt", directory / "b.txt.gz"]


def entries(directory):
    return sorted((directory / "cache").iterdir())


@pytest.mark.parametrize("marks_words", [False, True])
def test_a_corpus_is_encoded_once(vocabulary, tmp_path, monkeypatch, capsys, marks_words):
    monkeypatch.setattr(module, "CHUNK", 100)
    paths = write_corpus(tmp_path)
    first = read_corpus(paths, 64, marks_words, vocabulary)
    monkeypatch.setattr(module, "_encode", None)
    again = read_corpus(paths, 64, marks_words, vocabulary)
    assert capsys.readouterr().err.count("1 blank lines skipped") == 2
    assert len(entries(tmp_path)) == 1
    for corpus in first, again:
        assert isinstance(corpus.rows.ids.base, np.memmap) and corpus.rows.ids.dtype == np.uint16
        found = Rows(corpus.rows.ids >> marks_words, corpus.rows.offsets)
        assert rows_of(found) == rows_of(vocabulary.encode_texts(TEXTS))
        assert corpus.texts.tolist() == list(range(len(TEXTS) + 1))
        assert corpus.unknown == vocabulary.unknown(vocabulary.encode_texts(TEXTS))
    if marks_words:
        assert rows_of(first.rows) == rows_of(vocabulary.encode_split(spans_of(TEXTS), 64, True)[0])


def test_another_corpus_is_another_entry(vocabulary, tmp_path):
    paths = write_corpus(tmp_path)
    corpora = [read_corpus(paths, 64, False, vocabulary)]
    corpora.append(read_corpus(paths[:1], 64, False, vocabulary))
    corpora.append(read_corpus(paths, 9, False, vocabulary))
    paths[1].write_bytes(gzip.compress("另一条\n".encode()))
    corpora.append(read_corpus(paths, 64, False, vocabulary))
    assert len(entries(tmp_path)) == 4
    assert [corpus.texts[-1] for corpus in corpora[:2]] == [300, 150] and corpora[3].texts[-1] == 151
    assert corpora[2].texts[-1] > 300 and len(corpora[2].texts) == 301
    assert corpora[0].digest == corpora[2].digest
    assert len({corpus.digest for corpus in corpora}) == 3


def test_marks_of_words_are_in_another_entry(vocabulary, tmp_path):
    paths = write_corpus(tmp_path)
    plain, marked = (read_corpus(paths, 64, marks_words, vocabulary) for marks_words in (False, True))
    assert len(entries(tmp_path)) == 2
    assert np.array_equal(marked.rows.ids >> 1, plain.rows.ids)


def test_a_directory_that_cannot_be_written(vocabulary, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "cache").write_text("no directory", encoding="utf-8")
    assert read_corpus(write_corpus(tmp_path), 64, False, vocabulary).texts[-1] == 300
    assert list(tmp_path.glob("home/**/corpus-*/rows.ids.npy"))


def test_the_vocabulary_is_in_the_entry(tmp_path, monkeypatch):
    paths = write_corpus(tmp_path)
    corpus = read_corpus(paths, 64, False, vocab_size=400)
    assert corpus.vocabulary.content == build_wordpieces([spans_of(TEXTS)], 400).content
    assert sorted(path.name for path in entries(tmp_path)[0].iterdir()) == [
        "meta.json",
        "rows.ids.npy",
        "rows.offsets.npy",
        "texts.npy",
    ]
    monkeypatch.setattr(module, "_build_vocabulary", None)
    assert read_corpus(paths, 64, False, vocab_size=400).vocabulary.digest == corpus.vocabulary.digest
    assert read_corpus(paths, 64, False, corpus.vocabulary).unknown == corpus.unknown > 0


def test_a_long_text_is_one_text(vocabulary, tmp_path, monkeypatch):
    """Though it is encoded in segments."""
    monkeypatch.setattr(module, "SEGMENT", 10)
    monkeypatch.setattr(module, "CHUNK", 25)
    (tmp_path / "long.txt").write_text("股票\n" + "股票大涨" * 10 + "\n房产\n\u200b\n" + "大涨" * 7, encoding="utf-8")
    with open(tmp_path / "long.txt", "a", encoding="utf-8") as file:
        file.write("\n" + "\u200b" * 12 + "大涨\n" + "\u200b" * 42 + "股票")  # whose first segments have no pieces
    corpus = read_corpus([tmp_path / "long.txt"], 8, False, vocabulary)
    assert corpus.texts.tolist() == [0, 1, 9, 10, 13, 14, 15]
    assert len(corpus.rows.ids) - 2 * 15 == 2 + 40 + 2 + 14 + 2 + 2


def test_texts_are_what_comes_before_a_tab_without_white_space(vocabulary, tmp_path, capsys):
    lines = [
        "\ufeff 股票\t1\t2\r",
        "",
        "\t大涨",
        "\u3000\x1c \r 股\t",
        " a\x0b\r大涨 \t\t",
        "\r",
        "\t",
        "房 产",
        "\x85上市 \u2028 ",
    ]
    texts = [line.removeprefix("\ufeff").split("\t")[0].strip() for line in lines]
    (tmp_path / "c.txt").write_bytes("\n".join(lines).encode())
    corpus = read_corpus([tmp_path / "c.txt"], 64, False, vocabulary)
    assert rows_of(corpus.rows) == rows_of(vocabulary.encode_texts(list(filter(None, texts))))
    assert f"{texts.count('')} blank lines skipped" in capsys.readouterr().err


def corpus_of(sizes):
    """A Corpus of texts of so many rows each; row i has i % 7 + 3 ids."""
    texts = offsets_of(np.array(sizes))
    offsets = offsets_of(np.arange(texts[-1]) % 7 + 3)
    return Corpus(Rows(np.zeros(offsets[-1], np.uint16), offsets), texts, None, 0.0, "")


@pytest.mark.parametrize(
    ("sizes", "held_out"),
    [([1] * 400, [8]), ([1, 2, 3, 4] * 250, [50]), ([1, 1], [1]), ([3, 2], [2, 3]), ([500, 9, 600], [9, 500])],
)
def test_a_text_is_trained_on_or_held_out(sizes, held_out):
    corpus = corpus_of(sizes)
    seen = set()
    for seed in range(20):
        parts = hold_out(corpus, seed)
        lengths = [np.concatenate(list(part.length_blocks())) for part in parts]
        train, dev = (part.row_ids(np.arange(len(own))) for part, own in zip(parts, lengths, strict=True))
        assert sorted([*train, *dev]) == list(range(sum(sizes)))
        assert len(dev) in held_out
        assert all(
            np.array_equal(corpus.rows.lengths[ids], own) for ids, own in zip((train, dev), lengths, strict=True)
        )
        text_of_row = np.repeat(np.arange(len(sizes)), sizes)
        assert not set(text_of_row[train]) & set(text_of_row[dev])
        assert all(np.array_equal(a.starts, b.starts) for a, b in zip(parts, hold_out(corpus, seed), strict=True))
        seen.add(tuple(dev))
    assert len(seen) > 1


def test_what_is_held_out_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "DEV_ROWS", 100)
    sizes = [1, 5, 300, 2] * 500
    _, dev = hold_out(corpus_of(sizes), 1)
    assert 90 < (dev.ends - dev.starts).sum() <= 100


def test_a_vocabulary_is_built_from_texts():
    texts = [*TEXTS, *["iPhone 2009"] * 3, "x" * 101, "x" * 101]
    few, many = (build_wordpieces([spans_of(texts)], size) for size in (300, 30000))
    assert len(few) == 300
    assert few.pieces()[:5] == pieces()[:5]
    assert 0 < few.unknown(few.encode_texts(texts)) < 0.6
    assert many.unknown(many.encode_texts(texts[:-2])) == 0
    assert {"iphone", "2009", "##e"} < set(many.pieces())
    assert not any(len(piece) > 100 for piece in many.pieces())
    assert len(many) < 3000


def test_the_words_of_a_vocabulary_are_those_of_the_library():
    rules, texts = (
        BertWordPieceTokenizer(),
        [*ODD, *ODD, *TEXTS, "ab" + "\u200b" * 120 + "\u0301 iPhone " * 2, "豈 ≠ İ İ ㎡㎡"],
    )
    found = [rules.pre_tokenizer.pre_tokenize_str(rules.normalizer.normalize_str(text)) for text in texts]
    words = Counter(word for words in found for word, _ in words if len(word) <= 100)
    expected = Counter()
    for word, count in words.items():
        expected.update({character if i == 0 else f"##{character}": count for i, character in enumerate(word)})
    whole = {word for word, count in words.items() if count > 1}
    assert set(build_wordpieces([spans_of(texts)], 30000).pieces()[5:]) == expected.keys() | whole


def test_a_vocabulary_of_more_words_than_are_counted(monkeypatch):
    """The words that are counted are bounded; characters are counted all the same."""
    texts = [spans_of([f"w{i} often w{i + 1} 股"]) for i in range(2000)]
    whole = build_wordpieces(texts, 30000).pieces()
    monkeypatch.setattr(module, "MOST_WORDS", 50)
    bounded = build_wordpieces(texts, 30000).pieces()
    assert whole[:23] == bounded[:23]
    assert "often" in bounded and len(bounded) < 100 < len(whole)


def test_memory_does_not_grow_with_the_corpus(vocabulary, tmp_path, monkeypatch):
    """Python's own memory: twice as much text takes no more of it."""
    monkeypatch.setattr(module, "CHUNK", 1000)
    monkeypatch.setattr("text.files.BLOCK", 1 << 13)
    peaks = []
    for times in (20, 20, 80):
        path = tmp_path / f"{times}.txt"
        path.write_text("\n".join(TEXTS * times), encoding="utf-8")
        tracemalloc.start()
        read_corpus([path], 64, False, vocab_size=1000 + len(peaks))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.2 * peaks[1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.random.default_rng(1).bytes(1 << 20), r"c\.txt, line \d+: not UTF-8\. It is binary data, expected a file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0", r"c\.txt, line 1: not UTF-8\. It is binary data"),
        (
            "好\n新闻\n".encode("gb18030"),
            r"c\.txt, line 1: not UTF-8\. It can be read as GB18030; to convert it: python",
        ),
        ("好\n新闻\n".encode("utf-16"), r"c\.txt, line 1: not UTF-8\. It can be read as UTF-16"),
        ("好\n".encode() * 99 + b"\xff\n", r"c\.txt, line 100: not UTF-8\. Save it as UTF-8"),
        (bytes(1000), r"c\.txt: 0 texts, expected two or more, one a line"),
        (b"", r"c\.txt: 0 texts, expected two or more"),
    ],
)
def test_a_corpus_that_is_no_text(vocabulary, tmp_path, content, message):
    (tmp_path / "c.txt").write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_corpus([tmp_path / "c.txt"], 64, False, vocabulary)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("cache/*"))


def test_the_advice_for_a_compressed_corpus_is_not_for_its_bytes(vocabulary, tmp_path):
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress("好\n新闻\n".encode("gb18030")))
    with pytest.raises(UserError, match=r"It can be read as GB18030; unpack it and save it as UTF-8$"):
        read_corpus([tmp_path / "c.txt.gz"], 64, False, vocabulary)


def test_a_corpus_that_is_no_file(vocabulary, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UserError, match=f"--corpus {path} is not a file, expected a file of text"):
            read_corpus([path], 64, False, vocabulary)


def test_a_corpus_that_changes_while_it_is_read(vocabulary, tmp_path, monkeypatch):
    paths = write_corpus(tmp_path)
    encode = module._encode

    def changing(*arguments):
        found = encode(*arguments)
        paths[1].write_bytes(gzip.compress("另一条\n".encode()))
        return found

    monkeypatch.setattr(module, "_encode", changing)
    with pytest.raises(UserError, match=r"b\.txt\.gz: changed while it was read; start again"):
        read_corpus(paths, 64, False, vocabulary)
    assert entries(tmp_path) == []
