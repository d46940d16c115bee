import numpy as np
import pytest

from vocabulary import RawTokens, Rows, Vocabulary, choose_segmenter, spans_of, texts_of, words


def vocabulary_of(texts, segmenter="char", max_vocab=10000):
    raw = RawTokens(segmenter)
    raw.add(spans_of(texts))
    vocabulary = raw.count(max_vocab)
    return vocabulary, raw.encode(vocabulary)


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


def test_cutting_shortens_only_what_is_longer():
    rows = Rows(np.arange(6), np.array([0, 4, 5, 6]))
    cut = rows.cut(2)
    assert cut.ids.tolist() == [0, 1, 4, 5]
    assert cut.lengths.tolist() == [2, 1, 1]
    assert rows.cut(4).ids is rows.ids


def test_texts_come_back_from_code_points():
    texts = ["", "一条新闻", "𠮷🏐", ""]
    assert texts_of(spans_of(texts)) == texts


def test_an_unknown_segmenter_is_refused():
    with pytest.raises(Exception, match="segmenter 'pkuseg' is unknown"):
        Vocabulary(["好"], "pkuseg")
