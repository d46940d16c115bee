import numpy as np
import pytest

from text.rows import Rows, spans_of, texts_of
from text.vocabulary import TokenCounter, Vocabulary, choose_segmenter, words


def vocabulary_of(texts, segmenter="char", max_vocab=10000):
    raw = TokenCounter(segmenter)
    numbers = raw.add(raw.prepare(spans_of(texts)))
    vocabulary = raw.vocabulary(max_vocab)
    return vocabulary, Rows(raw.final_ids(vocabulary)[numbers.ids], numbers.offsets)


def test_tokens_stand_by_falling_frequency_then_unknown_then_padding():
    vocabulary, rows = vocabulary_of(["好好学习", "学好"])
    assert vocabulary.tokens == ["好", "学", "习", "<UNK>", "<PAD>"]
    assert rows.ids.tolist() == [0, 0, 1, 2, 1, 0]
    assert rows.offsets.tolist() == [0, 4, 6]


def test_max_vocab_keeps_the_most_frequent():
    vocabulary, rows = vocabulary_of(["甲甲乙", "乙甲丙"], max_vocab=2)
    assert vocabulary.tokens == ["甲", "乙", "<UNK>", "<PAD>"]
    assert rows.ids.tolist() == [0, 0, 1, 1, 0, vocabulary.unk]


@pytest.mark.parametrize("segmenter", ["char", "space", "jieba"])
def test_new_texts_are_encoded_as_the_training_texts_were(segmenter):
    texts = ["中国 女排 夺冠", "夺冠 之后 🏐 A股"]
    vocabulary, rows = vocabulary_of(texts, segmenter)
    again = vocabulary.encode_texts(texts)
    assert again.ids.tolist() == rows.ids.tolist()
    assert again.offsets.tolist() == rows.offsets.tolist()
    assert vocabulary.unk in vocabulary.encode_texts(["鑫"]).ids


def test_words():
    assert words("中国 女排　夺冠", "space") == ["中国", "女排", "夺冠"]
    assert words("中国女排夺冠", "jieba") == ["中国女排", "夺冠"]


def test_the_segmenter_follows_the_texts():
    assert choose_segmenter(["中国 女排 夺得 冠军", "北京 房价 A股 上涨"]) == "space"
    assert choose_segmenter(["体验2D巅峰 倚天屠龙记十大创新概览", "中国女排夺得冠军"]) == "jieba"
    assert choose_segmenter(["good hotel", "bad breakfast"]) == "space"


@pytest.mark.parametrize("segmenter", ["char", "space"])
def test_blocks_are_numbered_as_one_text_whatever_was_looked_up_ahead(segmenter):
    texts = ["丙 甲 甲", "乙 丙 丁 乙", "戊 甲"]
    whole, rows = vocabulary_of(texts, segmenter)
    raw = TokenCounter(segmenter)
    looked = [raw.prepare(spans_of([text])) for text in texts]  # before the first one is added
    parts = [raw.add(part).ids for part in looked]
    vocabulary = raw.vocabulary(10000)
    assert vocabulary.tokens == whole.tokens
    assert raw.final_ids(vocabulary)[np.concatenate(parts)].tolist() == rows.ids.tolist()


def test_more_tokens_than_two_bytes_number():
    text = "".join(map(chr, range(0x10000, 0x10000 + 70_000))) + "\U00010000"
    vocabulary, rows = vocabulary_of([text], max_vocab=100_000)
    assert len(vocabulary) == 70_002
    assert rows.ids.tolist() == [*range(70_000), 0]
    assert vocabulary.encode_texts([text]).ids.tolist() == rows.ids.tolist()


def test_texts_come_back_from_code_points():
    texts = ["", "一条新闻", "𠮷🏐", ""]
    assert texts_of(spans_of(texts)) == texts


def test_an_unknown_segmenter_is_refused():
    with pytest.raises(Exception, match="segmenter 'pkuseg' is unknown"):
        Vocabulary(["好"], "pkuseg")
