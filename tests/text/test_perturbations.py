import itertools
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cli.console import UserError
from text import perturbations
from text.perturbations import EMOJI, LOOK_ALIKES, MARKS, NO_WIDTH, OF_TRAINING, PERTURBATIONS, available, perturb

TEXTS = ["词汇阅读是关键 08年考研暑期英语复习全指南", "苹果iPhone4在中国银行发售", "头发和发展", "A", "!"]
LINE = st.text(st.characters(exclude_characters="\t\n"))
each = pytest.mark.parametrize("name", PERTURBATIONS)


@each
@example(text="坏\ud83d银行 1\0A", strength=1, seed=1)
@given(text=LINE, strength=st.floats(0, 1), seed=st.integers(0, 9))
def test_any_text_is_changed_the_same_way_by_the_same_seed_and_remains_a_line(name, text, strength, seed):
    (found,) = perturb([text], name, strength, seed)
    assert perturb(["另一条", text], name, strength, seed)[1] == found
    assert not set(found) & set("\t\n\r") - set(text)
    assert bool(found.strip()) >= bool(text.strip())
    assert perturb([text], name, 0, seed) == [text]


@each
def test_another_seed_changes_other_characters_and_the_global_generator_does_not_matter(name):
    texts = [f"{text}苹果iPhone4在中国银行发售123" for text in TEXTS]
    random.seed(1)
    found = perturb(texts, name, 0.5, 1)
    random.seed(2)
    assert perturb(texts, name, 0.5, 1) == found
    assert any(perturb(texts, name, 0.03, seed) != perturb(texts, name, 0.03, 1) for seed in range(2, 5))


def test_what_full_strength_does():
    def pairs_of(text):
        return "".join(text[i : i + 2][::-1] for i in range(0, len(text), 2))

    assert perturb(TEXTS, "doubled", 1) == ["".join(2 * c for c in text) for text in TEXTS]
    assert perturb(TEXTS, "swapped", 1) == [pairs_of(text) for text in TEXTS]
    assert perturb(["08年 iPhone！"], "full_width", 1) == ["０８年\u3000ｉＰｈｏｎｅ！"]
    assert perturb(["头发和发展，皇后在后面", "甲"], "traditional", 1) == ["頭髮和發展，皇后在後面", "甲"]


def test_characters_become_homophones_as_they_are_read_in_the_text():
    heard = {perturb(["银行"], "homophones", 1, seed)[0][1] for seed in range(50)}
    assert heard == set("航杭")
    assert perturb(["行人"], "homophones", 1)[0][0] in "形刑型邢"
    assert perturb(["A a 1！"], "homophones", 1) == ["A a 1！"]


def test_characters_become_look_alikes():
    found = {perturb(["未来"], "look_alikes", 1, seed)[0] for seed in range(20)}
    assert found == {"末来", "朱来"}


def test_letters_and_digits_become_others_of_their_kind():
    (found,) = perturb(["新iPhone 4S"], "letters_digits", 1)
    kinds = [(c.isdigit(), c.islower(), c.isupper(), c) for c in "iPhone4S"]
    others = [(c.isdigit(), c.islower(), c.isupper(), c) for c in found.replace(" ", "")[1:]]
    assert [kind[:3] for kind in kinds] == [kind[:3] for kind in others]
    assert all(a[3] != b[3] for a, b in zip(kinds, others, strict=True))


@pytest.mark.parametrize(("name", "marks"), [("punctuation", MARKS), ("emoji", EMOJI), ("zero_width", NO_WIDTH)])
def test_what_is_inserted_is_all_that_is_new(name, marks):
    for text, found in zip(TEXTS, perturb(TEXTS, name, 1), strict=True):
        assert found[::2] == text
        assert set(found[1::2]) <= set(marks)


def test_dropping_all_leaves_a_character():
    assert perturb(["甲乙", " 甲", "　"], "dropped", 1) == ["甲", "甲", "　"]


@pytest.mark.parametrize("name", ["dropped", "doubled", "swapped", "punctuation", "homophones"])
@pytest.mark.parametrize("strength", [0.1, 0.4])
def test_the_strength_is_the_share_of_characters(name, strength):
    texts = [f"{i}号的股票价格大幅上涨引起市场关注" for i in range(500)]
    pairs = list(zip(texts, perturb(texts, name, strength), strict=True))
    changed = {
        "swapped": lambda a, b: sum(x != y for x, y in zip(a, b, strict=True)),
        "homophones": lambda a, b: sum(x != y for x, y in zip(a, b, strict=True)),
    }.get(name, lambda a, b: abs(len(a) - len(b)))
    share = sum(itertools.starmap(changed, pairs)) / sum(map(len, texts))
    assert share == pytest.approx(strength, rel=0.1)


def test_a_larger_strength_changes_the_same_characters_and_more():
    weak, strong = (perturb(TEXTS, "look_alikes", strength) for strength in (0.05, 0.2))
    for text, a, b in zip(TEXTS, weak, strong, strict=True):
        assert {i for i, c in enumerate(a) if c != text[i]} <= {i for i, c in enumerate(b) if c != text[i]}


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(UserError, match=rf"^strength {strength} is out of range, expected at least 0 and at most 1$"):
        perturb(TEXTS, "dropped", strength)


def test_an_unknown_perturbation_is_refused():
    with pytest.raises(UserError, match=r"^perturbation 'drop' is unknown, expected one of traditional, full_width, "):
        perturb(TEXTS, "drop", 0.1)


def test_without_the_optional_packages_the_others_work_and_the_command_is_named(monkeypatch, capsys):
    from cli import installation

    known = installation.version_of
    for module in (installation, perturbations):
        monkeypatch.setattr(module, "version_of", lambda name: None if name in ("opencc", "pypinyin") else known(name))
    assert available() == [name for name in PERTURBATIONS if name not in ("traditional", "homophones")]
    command = "install what is needed: python -m pip install -r "
    why = "opencc is not installed, pypinyin is not installed"
    assert f"traditional, homophones left out: {why}; {command}" in capsys.readouterr().err
    for name in ("traditional", "homophones"):
        with pytest.raises(UserError, match=rf"^{name}: {why}; {command}.*requirements-robustness\.txt$"):
            perturb(TEXTS, name, 0.1)
    assert all(perturb(TEXTS, name, 0.1) for name in OF_TRAINING)


def test_with_the_packages_all_are_available(capsys):
    assert available() == list(PERTURBATIONS)
    assert capsys.readouterr().err == ""


def test_the_glyphs_of_look_alikes_overlap():
    """As the file says: in Noto Sans SC, which the package zhplot has."""
    from importlib.util import find_spec
    from pathlib import Path

    path = Path(find_spec("zhplot").origin).parent / "fonts" / "NotoSansSC-Regular.ttf"
    font = ImageFont.truetype(str(path), 64)

    def glyph(character):
        image = Image.new("L", (80, 96))
        ImageDraw.Draw(image).text((8, 0), character, 255, font=font)
        pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)), float).ravel()
        return pixels / np.linalg.norm(pixels)

    lines = LOOK_ALIKES.read_text(encoding="utf-8").splitlines()
    pairs = [pair for line in lines if not line.startswith("#") for pair in line.split()]
    assert len(pairs) == len({frozenset(pair) for pair in pairs}) == 640
    overlaps = [glyph(a) @ glyph(b) for a, b in pairs]
    assert min(overlaps) > 0.89
