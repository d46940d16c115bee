import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import sample_rows
from text import chinese, grams, hygiene
from text.rows import spans_of

CASES = {
    "control": ["a\x07b", "甲\r乙", "\x9f甲乙"],
    "invisible": ["中\u200b文", "中\ufeff文", "中\u200d文", "a\u00adb", "\u202e中文"],
    "html": ["<b>中文</b>", "中文<br/>", "甲<a href='x'>乙", "甲&nbsp;乙", "甲&#8226;乙", "<!-- 注 -->甲", "</DIV>甲"],
    "url": ["见https://example.com/a?b=1，", "www.example.com 甲"],
    "mojibake": [
        "汪\ufffd",
        "锟斤拷",
        "中文分类，我们的".encode().decode("gbk", "replace"),
        "中国人民".encode().decode("latin-1"),
        "中文“好”".encode().decode("cp1252", "replace"),
        "中国人民".encode("gbk").decode("latin-1"),
        "it’s".encode().decode("cp1252"),
    ],
    "full_width": ["１亿吨", "ＣＯＳＭＯ", "ａ"],
}
CLEAN = [
    *(
        "价格<100元且>50元",
        "a<b",
        "AT&T",
        "《女儿国》：穿越（二）！",
        "Beyoncé……",
        "××××",
        "····",
        "“好”——",
        "café déjà",
    ),
    *("👨\u200d👩\u200d👧", "❤\u200d🔥", "37.5°C±0.1", "横浜", "ABC 123", "<没有标签>", "http", "涓流"),
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in CASES.items() for text in texts])
def test_each_kind_is_found(name, text):
    found = hygiene.find(spans_of(["好的", text, "不错"]))
    assert found[name].tolist() == [1]
    also = {"control", "invisible"} if name == "mojibake" else set()  # bytes that are such characters in Latin-1
    assert {kind for kind in hygiene.KINDS if len(found[kind])} - also == {name}


@pytest.mark.parametrize("text", CLEAN)
def test_ordinary_texts_are_clean(text):
    found = hygiene.find(spans_of([text]))
    assert [kind for kind in hygiene.KINDS if len(found[kind])] == []
    assert hygiene.clean(text) == text


def test_ordinary_headlines_are_hardly_ever_reported():
    texts = [text for text, _ in sample_rows("train", set(range(10)), 1500)]
    found = hygiene.find(spans_of(texts))
    assert sum(len(found[kind]) for kind in hygiene.KINDS) < 0.02 * len(texts)
    assert len(found["simplified"]) > 0.95 * len(texts) > 0 == len(found["traditional"])


def test_the_rows_of_each_block_are_found(monkeypatch):
    monkeypatch.setattr(grams, "BLOCK", 5)
    found = hygiene.find(spans_of(["甲", "<br>", "乙", "丙", "<br><br>", "國国"]))
    assert found["html"].tolist() == [1, 4]
    assert found["traditional"].tolist() == found["simplified"].tolist() == [5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>好<b>的</b></p>", "好的"),
        ("第一行<br/>第二行", "第一行 第二行"),
        ("甲&nbsp;乙&amp;丙&#9;丁&#10;戊", "甲 乙&丙 丁 戊"),
        ("&lt;br&gt;", "<br>"),
        ("中\u200b文\x07\r字", "中文 字"),
        ("<br>\u200b", ""),
        ("&#x110000;&#xd800;甲", "��甲"),
    ],
)
def test_cleaning(text, expected):
    assert hygiene.clean(text) == expected


@settings(deadline=None)
@given(st.text())
def test_a_cleaned_text_is_one_field_of_one_line(text):
    cleaned = hygiene.clean(text)
    assert not set(cleaned) & set("\t\n\r\x00\x0b\x0c\x1c\x85")
    assert cleaned == cleaned.strip()


def test_each_character_is_on_one_side_of_the_table():
    assert len(chinese.SIMPLIFIED) == len(set(chinese.SIMPLIFIED.values())) == len(chinese.TABLE.split())
    assert not chinese.SIMPLIFIED.keys() & set(chinese.SIMPLIFIED.values())
