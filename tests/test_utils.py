import numpy as np
import pytest

from cli.console import UserError
from conftest import write_dataset
from models import model_module
from text.aliases import RARER
from text.rows import Rows
from text.vocabulary import Vocabulary
from utils import fit_to_rows, read_dataset


def test_the_vocabulary_is_that_of_the_training_data_as_it_is_now(tmp_path):
    directory = write_dataset(tmp_path / "d", ["财经"], [("旧文", 0)])
    assert read_dataset(directory).vocabulary.tokens[:2] == ["文", "旧"]
    (directory / "data" / "train.txt").write_text("新文\t0\n", encoding="utf-8")
    assert set(read_dataset(directory).vocabulary.tokens[:2]) == {"新", "文"}


def test_word_mode(tmp_path, capsys):
    directory = write_dataset(tmp_path / "d", ["体育"], [("中国 女排 夺冠", 0), ("女排 回国", 0)])
    dataset = read_dataset(directory, word=True)
    assert dataset.vocabulary.tokens[0] == "女排"
    assert dataset.vocabulary.segmenter == "space"
    assert "Segmenter: space" in capsys.readouterr().err
    assert read_dataset(directory, word=True, segmenter="jieba").vocabulary.segmenter == "jieba"
    with pytest.raises(UserError, match="add --word True"):
        read_dataset(directory, segmenter="jieba")


def rows_of(lengths):
    return Rows(np.zeros(0), np.concatenate(([0], np.cumsum(lengths))))


@pytest.mark.parametrize(("count", "pad_size"), [(1, 3), (2, 5), (150, 10), (5000, 20), (5000, 70)])
def test_what_is_cut_is_told_with_the_length_that_keeps_most(count, pad_size, monkeypatch, capsys):
    monkeypatch.setattr("text.rows.BLOCK", 64)
    lengths = np.random.default_rng(count).integers(4, 60, count)
    config = model_module("TextCNN").Config(pad_size=pad_size, batch_size=8)
    assert fit_to_rows(config, rows_of(lengths), 50) == config
    cut, whole = (lengths > pad_size).sum(), np.quantile(lengths, 0.99, method="higher")
    told = capsys.readouterr().err
    assert told.startswith(f"{cut} of {count} training rows ({cut / count:.1%}) are longer than {pad_size}") or not cut
    assert (f"--pad_size {whole} keeps 99 % whole" in told) == (cut > 0 and whole > pad_size)
    assert ("reads at most 50" in told) == (cut > 0 and whole > 50)
    assert bool(told) == bool(cut)


@pytest.mark.parametrize(
    ("long", "positions", "told"),
    [
        ("head", 50, "cut; --pad_size 100 keeps 99 % whole, but this encoder reads at most 50; --long windows reads"),
        ("head_tail", None, "cut to the first 2 and the last 6; --pad_size 100 keeps 99 % whole"),
        ("windows", None, "read in windows, 2 of them up to token 98 alone"),
    ],
)
def test_what_is_read_of_long_rows_is_told(long, positions, told, capsys):
    config = model_module("TextCNN").Config(pad_size=8, batch_size=8, long=long)
    fit_to_rows(config, rows_of(np.arange(1, 101)), positions)
    assert f"92 of 100 training rows (92.0%) are longer than 8 tokens and are {told}" in capsys.readouterr().err


def test_pad_size_follows_the_rows(capsys):
    config, bag = model_module("TextCNN").Config(), model_module("FastText").Config(batch_size=8)
    assert fit_to_rows(config, rows_of([5, 20])).pad_size == 32
    lengths = np.arange(1, 201)
    assert fit_to_rows(config, rows_of(lengths)).pad_size == 199
    assert fit_to_rows(bag, rows_of(lengths)).pad_size == 200
    assert fit_to_rows(config, rows_of(lengths), 64).pad_size == 64
    assert fit_to_rows(config, rows_of([5000] * 10)).pad_size == config.affordable
    told = capsys.readouterr().err
    assert told.count("Tokens read of a row: 199 (--pad_size)") == 1
    assert (
        "136 of 200 training rows (68.0%) are longer than 64 tokens and are cut; --pad_size 199 keeps 99 % whole"
        in told
    )


@pytest.mark.parametrize(("rows", "network", "bag"), [(1, 16, 16), (1500, 32, 32), (6212, 128, 128), (45000, 128, 512)])
def test_batch_size_follows_the_rows(rows, network, bag, capsys):
    for name, expected in (("TextCNN", network), ("FastText", bag)):
        assert fit_to_rows(model_module(name).Config(), rows_of([3] * rows)).batch_size == expected
        assert f"Rows of a batch: {expected} (--batch_size)" in capsys.readouterr().err


@pytest.mark.parametrize("marks_words", [False, True])
def test_what_is_read_as_another_character_is_told(marks_words, tmp_path, capsys):
    train = [("房价\u200b上涨", 0), *RARER * [("房价上涨", 0)], ("房價上漲", 0)]
    rows = train, [("房價上漲", 0), ("房價", 0)], [("房价\u200d上涨", 0), ("上涨", 0)]
    directory = write_dataset(tmp_path / "d", ["财经"], *rows)
    for _ in range(2):  # the second time it is in the cache
        dataset = read_dataset(directory, marks_words=marks_words)
        assert capsys.readouterr().err.splitlines() == [
            f"{directory / 'data' / 'train.txt'}: 2 rare or unknown characters are read as known forms of them "
            "(價 as 价, 漲 as 涨)",
            f"{directory / 'data' / 'train.txt'}: 1 invisible characters are not read",
            f"{directory / 'data' / 'dev.txt'}: 3 rare or unknown characters are read as known forms of them "
            "(價 as 价, 漲 as 涨)",
            f"{directory / 'data' / 'test.txt'}: 1 invisible characters are not read",
        ]
        assert dataset.train.rows.ids.tolist() == len(train) * dataset.dev.rows.ids.tolist()[:4]
    assert dataset.test.texts.ids.tolist() == [ord(c) for c in "房价\u200d上涨上涨"]


@pytest.mark.parametrize(
    ("segmenter", "text", "tokens"), [("char", "房價上漲", [*"房价上涨"]), ("space", "房價 上漲", ["房价", "上涨"])]
)
def test_another_form_of_a_known_token_is_no_new_token(segmenter, text, tokens, tmp_path):
    directory = write_dataset(tmp_path / "d", ["财经"], [(text, 0)] * 9)
    word = {"word": True, "segmenter": segmenter} if segmenter != "char" else {}
    dataset = read_dataset(directory, known=Vocabulary(tokens, segmenter), **word)
    assert list(dataset.vocabulary.ids) == tokens
    assert (
        dataset.train.rows.ids.tolist()
        == 9 * [*range(len(tokens))]
        == dataset.vocabulary.encode_texts([text] * 9).ids.tolist()
    )


def test_a_row_of_nothing_else_is_read_as_unknown(tmp_path):
    directory = write_dataset(tmp_path / "d", ["财经"], [("房价", 0), ("\u200b", 0)], [("\u200b\u200d", 0)])
    dataset = read_dataset(directory)
    assert dataset.train.rows.lengths.tolist() == [2, 1] and dataset.dev.rows.lengths.tolist() == [1]
    assert dataset.dev.rows.ids[0] == dataset.train.rows.ids[2]
