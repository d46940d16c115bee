import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.console import UserError
from text.aliases import RARER, aliases_of, count_characters
from text.rows import Rows, spans_of, texts_of
from text.vocabulary import Vocabulary, WordCounter, character_vocabulary, choose_segmenter, cut, word_ends, words


def counted(texts, segmenter="char", marks_words=False, max_vocab=10000, known=None):
    """The vocabulary of these texts, and their ids as training has them. known: a vocabulary that it extends."""
    spans, counts = spans_of(texts), np.zeros(0x110000, np.int64)
    count_characters(spans, counts)
    aliases = aliases_of("".join(known.ids) if known else "", counts)
    if segmenter == "char":
        vocabulary = character_vocabulary(counts, aliases, max_vocab, marks_words)
        vocabulary = known.extended(vocabulary) if known else vocabulary
        return vocabulary, vocabulary.encode(spans)
    counter = WordCounter(segmenter, aliases)
    rows = counter.add(spans)
    vocabulary = counter.vocabulary(max_vocab)
    vocabulary = known.extended(vocabulary) if known else vocabulary
    return vocabulary, Rows(counter.final_ids(vocabulary)[rows.ids], rows.offsets)


def test_tokens_stand_by_falling_frequency_then_unknown_then_padding():
    vocabulary, rows = counted(["好好学习", "学好"])
    assert vocabulary.tokens == ["好", "学", "习", "<UNK>", "<PAD>"]
    assert rows.ids.tolist() == [0, 0, 1, 2, 1, 0]
    assert rows.offsets.tolist() == [0, 4, 6]


def test_max_vocab_keeps_the_most_frequent():
    vocabulary, rows = counted(["甲甲乙", "乙甲丙"], max_vocab=2)
    assert vocabulary.tokens == ["甲", "乙", "<UNK>", "<PAD>"]
    assert rows.ids.tolist() == [0, 0, 1, 1, 0, vocabulary.unk]


@pytest.mark.parametrize("segmenter", ["char", "space", "jieba"])
def test_new_texts_are_encoded_as_the_training_texts_were(segmenter):
    texts = ["中国 女排 夺冠", "夺冠 之后 🏐 A股"]
    vocabulary, rows = counted(texts, segmenter)
    again = vocabulary.encode_texts(texts)
    assert again.ids.tolist() == rows.ids.tolist()
    assert again.offsets.tolist() == rows.offsets.tolist()
    assert vocabulary.unk in vocabulary.encode_texts(["鑫"]).ids


def test_words():
    assert words("中国 女排　夺冠", "space") == ["中国", "女排", "夺冠"]
    assert words("中国女排夺冠", "jieba") == ["中国女排", "夺冠"]


@given(st.lists(st.text(st.characters()), max_size=3))
def test_the_words_of_a_text_are_the_text(texts):
    ends = word_ends(spans_of(texts))
    assert len(ends) == sum(map(len, texts))
    starts = itertools.accumulate(map(len, texts), initial=0)
    for text, start in zip(texts, starts, strict=False):
        lengths = np.diff(np.flatnonzero(ends[start : start + len(text)]), prepend=-1).tolist()
        assert lengths == [len(word) for word in cut(text)]


def test_characters_are_marked_where_words_end():
    texts = ["中国女排夺冠", "女排 A股", ""]
    vocabulary, (ids, _) = counted(texts, marks_words=True, max_vocab=4)
    plain, rows = counted(texts, max_vocab=4)
    assert (ids >> 1).tolist() == rows.ids.tolist() and vocabulary.tokens == plain.tokens
    assert (ids & 1).tolist() == [0, 0, 0, 1, 0, 1, 0, 1, 1, 0, 1]
    again = Vocabulary(**vocabulary.content)
    assert again.encode_texts(texts).ids.tolist() == ids.tolist() and again.package == "rjieba"
    assert again.extended(plain).marks_words and vocabulary.digest != plain.digest


@pytest.mark.parametrize("content", [{"marks_words": 1}, {"marks_words": True, "segmenter": "space"}])
def test_marks_of_other_tokens_are_refused(content):
    with pytest.raises(UserError, match="marks of words are for a vocabulary of characters"):
        Vocabulary(["甲"], **content)


def test_the_segmenter_follows_the_texts():
    assert choose_segmenter(["中国 女排 夺得 冠军", "北京 房价 A股 上涨"]) == "space"
    assert choose_segmenter(["体验2D巅峰 倚天屠龙记十大创新概览", "中国女排夺得冠军"]) == "jieba"
    assert choose_segmenter(["good hotel", "bad breakfast"]) == "space"


def test_blocks_are_numbered_as_one_text():
    texts = ["丙 甲 甲", "乙 丙 丁 乙", "戊 甲"]
    whole, rows = counted(texts, "space")
    counter = WordCounter("space", "")
    parts = [counter.add(spans_of([text])).ids for text in texts]
    vocabulary = counter.vocabulary(10000)
    assert vocabulary.tokens == whole.tokens
    assert counter.final_ids(vocabulary)[np.concatenate(parts)].tolist() == rows.ids.tolist()


def test_more_tokens_than_two_bytes_number():
    text = "".join(map(chr, range(0x10000, 0x10000 + 70_000))) + "\U00010000"
    vocabulary, rows = counted([text], max_vocab=100_000)
    assert len(vocabulary) == 70_002
    assert rows.ids.tolist() == [*range(70_000), 0]
    assert vocabulary.encode_texts([text]).ids.tolist() == rows.ids.tolist()


def test_texts_come_back_from_code_points():
    texts = ["", "一条新闻", "𠮷🏐", ""]
    assert texts_of(spans_of(texts)) == texts


def test_an_unknown_segmenter_is_refused():
    with pytest.raises(Exception, match="segmenter 'pkuseg' is unknown"):
        Vocabulary(["好"], "pkuseg")


@pytest.mark.parametrize("segmenter", ["char", "space"])
def test_an_extended_vocabulary_keeps_the_ids_and_appends_new_tokens(segmenter):
    texts = ["好 好 学 <UNK>"] if segmenter == "space" else ["好好学"]
    old, _ = counted(texts, segmenter)
    new, _ = counted(["天 学 向 上"], segmenter, known=old)
    assert new.ids.items() >= old.ids.items()
    assert (new.unk, new.pad) == (old.unk, len(new) - 1)
    assert sorted(new.ids.values()) == [i for i in range(len(new) - 1) if i != new.unk]
    assert [new.tokens[i] for i in new.ids.values()] == list(new.ids)
    assert new.encode_texts(["天 好 鑫"]).ids.tolist()[-1] == new.unk
    again = Vocabulary(**new.content)
    assert (again.ids, again.unk, again.digest) == (new.ids, new.unk, new.digest)
    assert again.encode_texts(["天学好"]).ids.tolist() == new.encode_texts(["天学好"]).ids.tolist()
    assert counted(texts, segmenter, known=new)[0].content == new.content
    assert counted(texts, segmenter, known=old)[0].content == old.content
    assert "unk" not in old.content
    third, _ = counted(["丁"], segmenter, known=new)
    assert third.ids.items() >= new.ids.items() and third.unk == old.unk


@pytest.mark.parametrize("unk", [-1, 3, True, "1", 1.0])
def test_an_unknown_token_out_of_place_is_refused(unk):
    with pytest.raises(Exception, match="the id of the unknown token is out of range"):
        Vocabulary(["好", "学"], "char", unk)


PLAIN = ["北京房价上涨 2009年A股收涨", "后台发言人:爱国,干净 万里 3%"]
DRESSED = ["北京房價上漲　２００９年Ａ股收漲", "後臺發言人：愛國，乾淨　萬里　３％"]
MIXED = (RARER + 1) * PLAIN + DRESSED  # with rare forms
KINDS = [("char", False), ("char", True), ("space", False), ("jieba", False)]


def encoded(vocabulary, texts):
    rows = vocabulary.encode_texts(texts)
    return [rows.ids[start:end].tolist() for start, end in itertools.pairwise(rows.offsets)]


@pytest.mark.parametrize(("segmenter", "marks_words"), KINDS)
def test_texts_in_other_forms_are_encoded_as_the_plain_ones(segmenter, marks_words):
    vocabulary, _ = counted(PLAIN, segmenter, marks_words)
    plain = encoded(vocabulary, PLAIN)
    assert encoded(vocabulary, DRESSED) == plain
    assert encoded(vocabulary, ["\u200b" + "\u2060".join(text) + "\ufeff" for text in PLAIN]) == plain
    assert encoded(Vocabulary(**vocabulary.content), DRESSED) == plain
    traditional, _ = counted(DRESSED, segmenter, marks_words)
    assert encoded(traditional, PLAIN) == encoded(traditional, DRESSED)
    mixed, _ = counted(MIXED, segmenter, marks_words)
    assert mixed.tokens == vocabulary.tokens and encoded(mixed, DRESSED) == plain


@pytest.mark.parametrize(("segmenter", "marks_words"), KINDS)
def test_aliases_change_no_text_of_known_characters(segmenter, marks_words):
    texts = [*PLAIN, *DRESSED]
    vocabulary, _ = counted(texts, segmenter, marks_words)
    content = {name: value for name, value in vocabulary.content.items() if name != "aliases"}
    earlier = Vocabulary(**content)
    assert encoded(earlier, texts) == encoded(vocabulary, texts)
    assert earlier.digest != vocabulary.digest and "aliases" not in earlier.content
    assert encoded(earlier, ["\u200b"]) == [[earlier.unk << marks_words | marks_words]]


@given(
    st.lists(st.text(st.sampled_from("房價价漲涨Ａ A，,\u200b\0\ufffd後学"), max_size=8), max_size=6),
    st.sampled_from(KINDS),
)
def test_training_and_prediction_encode_alike(texts, kind):
    texts = [text for text in texts if text.strip()] + ["房价"]
    texts += RARER * texts[:2]
    for max_vocab, known in itertools.product((3, 100), (None, counted(["漲漲 後Ａ價"], *kind)[0])):
        vocabulary, rows = counted(texts, *kind, max_vocab, known)
        again = vocabulary.encode_texts(texts)
        assert (again.ids.tolist(), again.offsets.tolist()) == (rows.ids.tolist(), rows.offsets.tolist())
        assert kind[0] != "char" or (rows.lengths > 0).all()


def test_an_extended_vocabulary_encodes_words_as_in_training():
    known, _ = counted(["爱 好"], "space", False)
    both, rows = counted(["好 好 愛"], "space", False, 1, known)
    assert rows.ids.tolist() == both.encode_texts(["好 好 愛"]).ids.tolist() == [1, 1, 0]


@given(st.text(st.sampled_from("房價价漲涨Ａ A，,\u200b\u200d後後学"), max_size=12), st.sampled_from(KINDS))
def test_a_text_is_encoded_as_its_known_form(text, kind):
    vocabulary, _ = counted(PLAIN, *kind)
    known = str.maketrans({"價": "价", "漲": "涨", "Ａ": "A", "，": ",", "後": "后", "\u200b": "", "\u200d": ""})
    plain = text.translate(known)
    if plain:
        assert encoded(vocabulary, [text]) == encoded(vocabulary, [plain])


def test_an_extended_vocabulary_has_aliases_of_all_its_tokens():
    old, _ = counted(["房价Ａ"], "char", False)
    both, _ = counted(["上漲"], "char", False, known=old)
    assert encoded(both, ["房價A上涨"]) == encoded(both, ["房价Ａ上漲"])
    assert both.unk not in encoded(both, ["房價A上涨"])[0]


@pytest.mark.parametrize(("segmenter", "marks_words"), KINDS)
def test_an_extended_vocabulary_reads_other_forms_as_the_known_ones(segmenter, marks_words):
    known, _ = counted(PLAIN, segmenter, marks_words)
    both, _ = counted(DRESSED, segmenter, marks_words, known=known)
    assert both.tokens == known.tokens and encoded(both, DRESSED) == encoded(known, PLAIN)


def test_aliases_that_are_no_pairs_are_refused():
    with pytest.raises(UserError, match="the aliases are no pairs of characters"):
        Vocabulary(["好"], aliases="愛")
