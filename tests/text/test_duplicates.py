import importlib.util
import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import sample_rows
from text import duplicates
from text.duplicates import exact_groups, near_duplicates, nearest
from text.grams import fold, gram_sets
from text.rows import spans_of, texts_of

HEADLINES = [text for text, _ in sample_rows("train", set(range(10)), 600)]


def changed(text, rng):
    """A text with two characters changed."""
    characters = list(text)
    for i in rng.sample(range(len(text)), 2):
        characters[i] = rng.choice("甲乙丙丁戊己庚辛")
    return "".join(characters)


def bigrams(text):
    return {text[i : i + 2] for i in range(len(text) - 1)} or {text}


def jaccard(one, other):
    return len(one & other) / len(one | other)


@settings(deadline=None)
@given(st.lists(st.text("甲乙", min_size=1, max_size=3), min_size=1, max_size=20))
def test_the_same_texts_have_the_same_number(texts):
    groups = exact_groups(spans_of(texts))
    for (i, one), (k, other) in itertools.combinations(enumerate(texts), 2):
        assert (groups[i] == groups[k]) == (one == other)
    assert sorted(set(groups)) == list(range(len(set(texts))))


def test_the_pairs_are_those_of_a_comparison_of_all_texts():
    rng = random.Random(3)
    texts = HEADLINES[:200] + [changed(text, rng) for text in HEADLINES[:100]]
    near = near_duplicates(spans_of(texts))
    folded = texts_of(fold(spans_of(texts)))
    sets = {group: bigrams(text) for group, text in zip(near.groups.tolist(), folded, strict=True)}
    expected = {}
    for one, other in itertools.combinations(sorted(sets), 2):
        if (similarity := jaccard(sets[one], sets[other])) >= duplicates.NEAR:
            expected[one, other] = similarity
    found = dict(zip(zip(near.first.tolist(), near.second.tolist(), strict=True), near.similarity, strict=True))
    assert found.keys() <= expected.keys()
    assert len(found) > 0.95 * len(expected) > 80
    for pair, similarity in found.items():
        assert similarity == pytest.approx(expected[pair])


def test_the_pairs_are_those_of_datasketch():
    if importlib.util.find_spec("datasketch") is None:
        pytest.skip("datasketch is not installed")
    from datasketch import MinHash, MinHashLSH

    rng = random.Random(4)
    texts = HEADLINES[:300] + [changed(text, rng) for text in HEADLINES[:150]]
    near = near_duplicates(spans_of(texts))
    folded = dict(zip(near.groups.tolist(), texts_of(fold(spans_of(texts))), strict=True))
    index, expected = MinHashLSH(num_perm=duplicates.BANDS * duplicates.HASHES, params=(40, 4)), set()
    for group, text in sorted(folded.items()):
        sketch = MinHash(num_perm=duplicates.BANDS * duplicates.HASHES)
        sketch.update_batch([gram.encode() for gram in bigrams(text)])
        for other in index.query(sketch):
            if jaccard(bigrams(text), bigrams(folded[other])) >= duplicates.NEAR:
                expected.add((other, group))
        index.insert(group, sketch)
    found = set(zip(near.first.tolist(), near.second.tolist(), strict=True))
    assert len(found & expected) >= 0.95 * len(found | expected)
    assert len(expected) > 100


def test_a_band_with_many_texts_has_a_bounded_number_of_pairs(monkeypatch):
    texts = spans_of([f"{number:04d}年北京大学硕士研究生招生简章" for number in range(500)])
    monkeypatch.setattr(duplicates, "NEIGHBOURS", 2)
    near = near_duplicates(texts)
    assert 500 < len(near.first) <= 500 * 2 * duplicates.BANDS
    assert len(set(near.first) | set(near.second)) == 500


def test_texts_that_differ_in_punctuation_width_case_or_script_are_the_same():
    near = near_duplicates(spans_of(["Ａ股大涨！", "a股 大漲", "A股大跌", "！", "？", "股"]))
    assert near.groups[0] == near.groups[1]
    assert len(set(near.groups.tolist())) == 5


def test_the_nearest_row_is_the_same_text_or_the_most_similar():
    texts = [
        "今天上证指数大涨百点收盘",
        "今天上证指数大跌百点收盘",
        "今天上证指数大涨百点",
        "无关的一条",
        "今天上证指数大涨百点收盘",
    ]
    near = near_duplicates(spans_of(texts))
    found, similarity = nearest(near, np.array([1, 2, 3]))
    group = near.groups[0]
    assert (found[group], similarity[group]) == (2, pytest.approx(9 / 11))
    assert (found[near.groups[3]], similarity[near.groups[3]]) == (3, 1)
    found, similarity = nearest(near, np.array([0, 4]))
    assert (found[group], similarity[group]) == (0, 1)  # the first of those that are the same
    assert (found[near.groups[3]], similarity[near.groups[3]]) == (-1, 0)


def test_no_texts_are_similar_without_a_pair():
    near = near_duplicates(spans_of(["甲"]))
    assert (near.groups.tolist(), len(near.first)) == ([0], 0)


@pytest.mark.parametrize("words", [1, 4])
def test_sketches_exclude_many_pairs_and_no_similar_one(monkeypatch, words):
    monkeypatch.setattr(duplicates, "SKETCH_WORDS", words)
    sets = gram_sets(fold(spans_of([text for text, _ in sample_rows("train", {0, 1, 2}, 200)])), single=False)
    order = np.arange(200, dtype=np.uint64)
    pairs = (order[:, None] << 32 | order)[np.triu_indices(200)]
    similarity = duplicates._jaccard(sets, pairs)
    for threshold in (0.05, 0.2, 0.5, 1.0):
        kept = duplicates._may_share(duplicates._sketches(sets), sets.lengths, pairs, threshold)
        assert kept[similarity >= threshold].all()
    assert kept.mean() < 0.02
