"""What tests of tokenizers share: odd texts, and encoded rows as lists."""

ODD = [
    "体验2D巅峰 Hello",
    "Ａ１　全角",
    "naïve café",
    "abc\u200b\x00def",
    "😀表情",
    "㊣龘",
    "x" * 300,
    "[SEP] [MASK]x",
    " 甲 ",
]


def rows_of(rows):
    return [rows.ids[a:b].tolist() for a, b in zip(rows.offsets, rows.offsets[1:], strict=False)]
