import time

import pytest

from evaluation import timing


def test_rows_and_single_calls_are_timed(monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.02)
    monkeypatch.setattr(timing, "CALLS", 20)
    monkeypatch.setattr(timing, "WARM_UP", 2)
    seen = []

    def one(text):
        seen.append(text)
        time.sleep(0.002)

    measured = timing.measure(lambda texts: time.sleep(0.0001 * len(texts)), one, [f"{i}" for i in range(100)])
    assert 3000 < measured["rows_per_second"] < 10000
    assert 2 <= measured["p50_ms"] <= measured["p99_ms"]
    assert len(seen) == 22


@pytest.mark.parametrize(
    ("texts", "count", "spread"),
    [
        ("甲乙丙丁", 2, "甲丙"),
        ("甲乙丙丁", 4, "甲乙丙丁"),
        ("甲乙丙", 7, "甲乙丙甲乙丙甲"),
    ],
)
def test_texts_are_of_all_the_split(texts, count, spread):
    assert "".join(timing._spread(texts, count)) == spread
