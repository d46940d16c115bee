import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from text.rows import codepoints, offsets_of, text_of
from text.spans import split_at, trim


@given(st.lists(st.text("ab, \u3000\r"), min_size=1))
def test_spans_are_split_and_trimmed_as_python_does(texts):
    codes = codepoints("\n".join(texts) + "\n")
    starts = offsets_of(np.array([len(text) + 1 for text in texts]))
    ends = starts[1:] - 1
    rows, *parts = split_at(ord(","), codes, starts[:-1], ends)
    spans = zip(rows, *trim(codes, *parts), strict=True)
    found = [(row, text_of(codes[start:end])) for row, start, end in spans]
    assert found == [(i, part.strip()) for i, text in enumerate(texts) if text for part in text.split(",")]
