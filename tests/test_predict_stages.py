"""The stages of `predict.py`, which read, predict and write at the same time."""

import io
import threading
import time

import numpy as np
import pytest

import predict
from cli.console import UserError
from engine.predictions import Lines


class Slow:
    """In a predictor's place: takes a while for each chunk, unless it is stopped."""

    workers = (2, 1)

    def __init__(self, fails=None):
        self.fails, self.stopped, self.cut, self.begun = fails, False, 0, 0

    def compute(self, texts):
        self.begun += 1
        if texts[0] == self.fails:
            raise UserError("the fourth chunk fails")
        end = time.monotonic() + 0.1 + 60 * (self.fails is None and self.begun > 4)
        while time.monotonic() < end and not self.stopped:
            time.sleep(0.01)
        return np.eye(3, dtype=np.float32)[[int(text) % 3 for text in texts]], 0


class Full(io.StringIO):
    """A file that takes so many chunks."""

    def __init__(self, error, chunks):
        super().__init__()
        self.error, self.left = error, chunks + 1  # the header is one

    def write(self, content):
        if not self.left:
            raise self.error
        self.left -= 1
        return super().write(content)


@pytest.mark.parametrize("stage", ["read", "predict", "write", "interrupted"])
def test_an_error_in_whichever_stage_ends_all(stage, monkeypatch):
    monkeypatch.setattr(predict, "CHUNK", 10)
    before, start = threading.active_count(), time.monotonic()
    predictor = Slow(fails="30" if stage == "predict" else None)
    error = {"read": UserError("line 41"), "write": OSError("disk full"), "interrupted": KeyboardInterrupt()}.get(stage)
    file = Full(error, 2 if stage in ("write", "interrupted") else 99)

    def texts():
        for i in range(1000):
            if stage == "read" and i == 40:
                raise error
            yield [str(i)]

    with pytest.raises((UserError, OSError, KeyboardInterrupt)) as raised:
        predict.write_all(predictor, texts(), Lines("tsv", "abc", None), file)
    assert raised.value is error or str(raised.value) == "the fourth chunk fails"
    assert threading.active_count() == before
    assert predictor.begun < 10  # of 100
    assert time.monotonic() - start < 20
    assert [line.split("\t")[0] for line in file.getvalue().splitlines()[1:]] == [
        str(i) for i in range(10 * (file.getvalue().count("\n") // 10))
    ]


def test_no_more_than_a_few_chunks_are_read_ahead(monkeypatch):
    monkeypatch.setattr(predict, "CHUNK", 1)
    predictor = Slow(fails="no text")
    seen, file = [], io.StringIO()

    def texts():
        for i in range(30):
            seen.append(i + 1 - file.getvalue().count("\n"))
            yield [str(i)]

    predict.write_all(predictor, texts(), Lines("jsonl", "abc", None), file)
    assert 2 < max(seen) <= 6
