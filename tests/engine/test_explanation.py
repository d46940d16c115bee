"""Explanations by occlusion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import in_other_forms
from engine import explanation
from engine.explanation import UNKNOWN, Explanation, decisive_spans, log_odds, replaced, runs_of, spans_to_replace
from engine.predictor import Predict
from text.aliases import UNREAD
from text.truncation import Truncation


class Odds:
    """In a predictor's place: the log-odds of class 0 are the sum of the characters' values."""

    def __init__(self, values):
        self.values, self.calls = values, []
        self.multi_label, self.truncations = False, [("char", Truncation(650))]

    def compute(self, texts):
        self.calls.append(len(texts))
        sums = np.array([sum(self.values.get(c, 0) for c in text) for text in texts])
        first = 1 / (1 + np.exp(-sums))
        found = np.stack((first, 1 - first), axis=1).astype(np.float32)
        found[[not text.strip() for text in texts]] = 0
        return found, 0


def explained(texts, **values):
    predictor = Odds(values)
    return Explanation(predictor), predictor.compute(texts)[0]


def test_weights_are_the_log_odds_that_a_character_brings():
    own, probabilities = explained(["甲乙丙", "", "乙 乙"], 甲=2, 乙=-1.5, 丙=0.5)
    first, empty, last = own.weights(["甲乙丙", "", "乙 乙"], probabilities)
    assert first == pytest.approx([2, -1.5, 0.5], abs=1e-3)
    assert empty.shape == (0,)
    assert last == pytest.approx([1.5, 0, 1.5], abs=1e-3)  # for class 1, which is predicted


def test_colours_marks_and_spans():
    texts = ["<甲>乙丙"]
    own, probabilities = explained(texts, 甲=4, 乙=-1, 丙=4)
    assert own.spans(texts, probabilities) == [[(1, 2, 4.0), (4, 5, 4.0)]]
    orange, blue = (f'<span style="background: rgba({colour})">' for colour in ("255,140,0,1.0", "60,130,255,0.25"))
    assert own.marks(texts, probabilities) == [f"&lt;{orange}甲</span>&gt;{blue}乙</span>{orange}丙</span>"]
    (coloured,) = own.colours(texts, probabilities)
    assert coloured == "<\033[30;48;5;208m甲\033[0m>\033[30;48;5;195m乙\033[0m\033[30;48;5;208m丙\033[0m"


def test_a_text_in_which_nothing_decides_is_plain():
    own, probabilities = explained(["甲乙", "  "])
    assert own.spans(["甲乙", "  "], probabilities) == [[], []]
    assert own.colours(["甲乙", "  "], probabilities) == ["甲乙", "  "]


def test_long_and_many_texts_are_computed_in_parts(monkeypatch):
    monkeypatch.setattr(explanation, "CHARACTERS", 100)
    texts = ["甲乙丙丁" * 3, "", "乙", "乙甲" * 300, "甲"]
    own, probabilities = explained(texts, 甲=0.01, 乙=0.02)
    own.predictor.calls.clear()
    weights = own.weights(texts, probabilities)
    assert len(own.predictor.calls) > 1
    assert sum(own.predictor.calls) == 12 + 0 + 1 + 120 + 1
    assert [len(w) for w in weights] == [len(text) for text in texts]
    assert weights[0] == pytest.approx(np.tile([0.01, 0.02, 0, 0], 3), abs=1e-3)
    assert weights[3] == pytest.approx(np.tile([0.08, 0.07], 60).repeat(5), abs=1e-3)  # five characters at a time
    assert weights[4] == pytest.approx([0.01], abs=1e-3)


def test_one_class_has_no_odds():
    assert log_odds(np.ones(1, np.float32), 0) == 0


@given(st.text(max_size=400), st.integers(1, 500))
def test_spans_cover_all_that_is_read_but_white_space(text, limit):
    spans = spans_to_replace(text, limit)
    assert len(spans) <= explanation.SPANS
    covered = np.zeros(len(text), bool)
    for start, end in spans:
        assert not covered[start:end].any()
        covered[start:end] = True
    end = len(text) - len(text.lstrip()) + limit + sum(c in UNREAD for c in text)
    assert not covered[end:].any()
    assert all(c.isspace() or c in UNREAD for c, own in zip(text[:end], covered, strict=False) if not own)
    assert len(explanation.replaced(text, 0, 1)) == len(text)


def test_the_characters_of_other_forms_have_the_weights_of_the_plain_ones(trained_svm):
    predictor = Predict("SVM", dataset=trained_svm, device="cpu")
    texts = ["北京二手房价格上涨 A股三大股指收涨"]
    others = in_other_forms(texts, predictor.saved.vocabulary.aliases)
    plain, found = (Explanation(predictor).weights(own, predictor.predict_proba(own))[0] for own in (texts, others))
    assert found[::2] == pytest.approx(plain) and plain.any()
    assert len(found) == len(others[0]) and not found[1::2].any()


@pytest.mark.parametrize("last", [0, 2])
def test_invisible_characters_have_no_weight_and_no_place(last):
    assert spans_to_replace("甲\u200b乙丙丁", 2, last) == [(0, 1), (2, 3), *([(3, 4), (4, 5)] if last else [])]
    assert replaced("甲\u200b乙", 0, 3) == f"{UNKNOWN}\u200b{UNKNOWN}"


@given(st.lists(st.floats(-50, 50), max_size=60))
def test_runs_cover_all_characters_and_spans_are_positive(weights):
    weights = np.array(weights, float)
    runs = runs_of(weights)
    assert [start for start, _, _ in runs] == [0, *(end for _, end, _ in runs)][: len(runs)]
    assert sum(end - start for start, end, _ in runs) == len(weights)
    assert all(-4 <= level <= 4 for _, _, level in runs)
    for start, end, weight in decisive_spans(weights):
        assert (weights[start:end] > 0).all()
        assert weight == pytest.approx(weights[start:end].max(), abs=1e-4)


def test_no_tokenizer_knows_or_drops_what_replaces_a_character():
    from conftest import FIXTURES
    from engine import checkpoint

    for name in ("TextCNN", "bert"):
        vocabulary = checkpoint.load(FIXTURES / f"{name}.ckpt").vocabulary
        rows = vocabulary.encode_texts(["好" + UNKNOWN + "好", "好好"])
        assert vocabulary.unk in rows.ids[: rows.offsets[1]]
        assert rows.lengths[0] == rows.lengths[1] + 1


def test_the_odds_of_one_of_several_labels_are_its_own():
    probabilities = np.array([0.8, 0.9, 1.0], np.float32)
    assert log_odds(probabilities, 0, multi_label=True) == pytest.approx(np.log(4), abs=1e-5)
    assert log_odds(probabilities, 2, multi_label=True) < 20  # that of a float32 next to 1
