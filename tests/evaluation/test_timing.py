from types import SimpleNamespace

import pytest

from evaluation import timing


def test_rows_and_single_calls_are_timed(monkeypatch):
    monkeypatch.setattr(timing, "SECONDS", 0.02)
    monkeypatch.setattr(timing, "CALLS", 20)
    monkeypatch.setattr(timing, "WARM_UP", 2)
    clock, seen = [0.0], []
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def many(texts):
        clock[0] += 0.0001 * len(texts)

    def one(text):
        seen.append(text)
        clock[0] += 0.002 if len(seen) < 22 else 0.004

    measured = timing.measure(many, one, [f"{i}" for i in range(100)])
    assert measured == pytest.approx({"rows_per_second": 10000, "p50_ms": 2, "p99_ms": 3.62})
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
