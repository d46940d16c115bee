import random

import pytest

from text.augmentation import Augmentation, changed, key_of
from text.perturbations import OF_TRAINING, PERTURBATIONS
from text.rows import spans_of, texts_of

TEXTS = [f"第{i}条新闻，股票大涨" for i in range(1000)]


def augmented(texts, share):
    change = Augmentation(share)
    return texts_of(change(spans_of(texts))), change


@pytest.mark.parametrize("share", [0.1, 0.3, 1])
def test_about_this_share_of_the_rows_is_changed_and_counted(share):
    found, change = augmented(TEXTS, share)
    count = sum(a != b for a, b in zip(TEXTS, found, strict=True))
    assert count / len(TEXTS) == pytest.approx(share, abs=0.04)
    assert change.notes == [f"--augment {share}: {count} of 1000 training rows are changed"]
    assert all(text.strip() == text != "" for text in found)


def test_a_row_is_changed_alike_among_others_and_a_larger_share_changes_the_same_rows():
    found, _ = augmented(TEXTS, 0.2)
    assert augmented(TEXTS[::-1], 0.2)[0] == found[::-1]
    assert [augmented([text], 0.2)[0] for text in TEXTS] == [[text] for text in found]
    more, _ = augmented(TEXTS, 0.6)
    assert all(own == other for text, own, other in zip(TEXTS, found, more, strict=True) if own != text)


def test_without_a_share_nothing_happens():
    spans, change = spans_of(TEXTS), Augmentation(0)
    assert change(spans) is spans
    assert change.notes == []
    assert key_of(0) == {}


def test_what_it_does_needs_no_optional_package():
    assert not any(PERTURBATIONS[name].package for name in OF_TRAINING)
    assert len(OF_TRAINING) == 7


def test_a_text_that_one_perturbation_cannot_change_is_changed_by_another():
    found = [changed("零一二三四五六七八九", random.Random(seed)) for seed in range(100)]
    assert found.count("零一二三四五六七八九") < 10
    assert len(set(found)) > 50
