"""What is read of long rows."""

import numpy as np
import pytest

from text.truncation import MODES, MOST_WINDOWS, Truncation


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("limit", [3, 4, 5, 8, 64, 512])
def test_windows_cover_a_row_up_to_their_highest_number(limit, framed):
    truncation = Truncation(limit, "windows", framed)
    lengths = np.arange(0, truncation.most + 100)
    counts = truncation.windows(lengths)
    assert counts.max() == MOST_WINDOWS
    for length, count in zip(lengths.tolist(), counts.tolist(), strict=True):
        starts = np.minimum(np.arange(count) * truncation.stride, max(length - limit, 0))
        read = np.zeros(length, bool)
        for start in starts:
            read[start + framed * (start > 0) : start + limit - framed * (length > start + limit)] = True
        assert read[: min(length, truncation.most) - framed].all()
        assert not read[truncation.most :].any()
        assert len(set(starts.tolist())) == count


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("limit", [1, 2, 3, 64, 512])
def test_first_and_last_tokens_are_all_that_is_read(mode, limit):
    truncation = Truncation(limit, mode)
    first, last = truncation.reach
    assert first >= 1
    assert first + last == truncation.most
    assert truncation.stride >= 1


def test_a_quarter_is_from_the_head():
    assert Truncation(512, "head_tail").reach == (128, 384)
