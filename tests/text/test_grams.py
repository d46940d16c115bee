import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from text.grams import blocks_of, fold, gram_sets, take
from text.rows import offsets_of, spans_of, texts_of

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), min_size=1, max_size=12)


def test_folding_drops_what_makes_no_difference():
    texts = ["Ａ股ＡＢＣ，大涨！", "a 股 abc 大漲", "\u200b国會\x07", "！？", "㈱"]
    assert texts_of(fold(spans_of(texts))) == ["a股abc大涨", "a股abc大涨", "国会", "！？", "㈱"]


@settings(deadline=None)
@given(TEXTS)
def test_folding_leaves_no_text_empty_and_folding_again_changes_nothing(texts):
    folded = fold(spans_of(texts))
    assert (folded.lengths > 0).all()
    again = fold(folded)
    assert all(a == b or len(b) < len(a) for a, b in zip(texts_of(folded), texts_of(again), strict=True))


@settings(deadline=None)
@given(TEXTS)
def test_gram_sets_have_as_many_elements_as_sets_of_strings(texts):
    bigrams = [{text[i : i + 2] for i in range(len(text) - 1)} or {text} for text in texts]
    assert gram_sets(spans_of(texts), single=False).lengths.tolist() == [len(grams) for grams in bigrams]
    both = [grams | set(text) for grams, text in zip(bigrams, texts, strict=True)]
    assert gram_sets(spans_of(texts), single=True).lengths.tolist() == [len(grams) for grams in both]


def test_the_same_grams_have_the_same_ids_in_different_blocks(monkeypatch):
    texts = spans_of(["今日股市大涨", "天", "今日股市", "今日股市大涨"])
    whole = gram_sets(texts, single=True)
    monkeypatch.setattr("text.grams.BLOCK", 1)
    parts = gram_sets(texts, single=True)
    assert whole.ids.tolist() == parts.ids.tolist()
    assert whole.offsets.tolist() == parts.offsets.tolist()
    first, last = (set(take(whole, [i]).ids.tolist()) for i in (0, 3))
    assert first == last > set(take(whole, [2]).ids.tolist())


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 40))
def test_blocks_cover_the_rows_in_order_and_are_small_unless_a_row_is_large(lengths, size):
    offsets = offsets_of(lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("text.grams.BLOCK", size)
        blocks = list(blocks_of(offsets))
    assert [row for block in blocks for row in range(*block)] == list(range(len(lengths) if sum(lengths) else 0))
    assert all(sum(lengths[start : end - 1]) <= size for start, end in blocks)
