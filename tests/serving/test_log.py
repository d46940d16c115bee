"""The log of requests: what it holds, and that nothing stops if it cannot be written."""

import json
import os
import sys

import pytest

from served import until
from serving import log as logs
from serving.log import Log

SCOPE = {
    "client": ("10.0.0.1", 5),
    "method": "POST",
    "path": "/预 测\n",
    "log": {"model": "m", "texts": ["甲\n", "乙"]},
}


def written(scope=SCOPE, **options):
    """What a Log writes of a request."""
    read, write = os.pipe()
    log = Log(files=(write, 2), **options)
    log.request(scope, 200, 0.0123)
    log.close()
    os.close(write)
    with open(read, encoding="utf-8") as file:
        return file.read()


def test_a_line():
    line = written()
    assert line.endswith(" 10.0.0.1 POST /%E9%A2%84%20%E6%B5%8B%0A 200 12.3 m 2\n")
    assert written(SCOPE | {"client": None, "log": {}}).endswith(" - POST /%E9%A2%84%20%E6%B5%8B%0A 200 12.3\n")
    assert written(log_texts=True).endswith(' m 2 ["甲\\n", "乙"]\n')
    assert written(format="off") == ""


def test_an_object():
    found = json.loads(written(format="json"))
    assert list(found) == ["time", "client", "method", "path", "status", "ms", "model", "rows"]
    assert (found["status"], found["ms"], found["rows"]) == (200, 12.3, 2)
    assert json.loads(written(format="json", log_texts=True))["texts"] == ["甲\n", "乙"]


def test_a_pipe_that_nobody_reads_any_more():
    read, write = os.pipe()
    os.close(read)
    log = Log(files=(write, 2))
    log.request(SCOPE, 200, 0)
    until(lambda: log.lost == 1)
    log.close()
    os.close(write)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk():
    with open("/dev/full", "wb") as file:
        log = Log(files=(file.fileno(), file.fileno()))
        log.request(SCOPE, 200, 0)
        log.message("hello")
        until(lambda: log.lost == 2)
        log.close()


def test_a_reader_that_is_too_slow(monkeypatch):
    monkeypatch.setattr(logs, "MOST_WAITING", 1_000_000)
    read, write = os.pipe()
    log = Log(files=(write, 2), log_texts=True)
    scope = SCOPE | {"log": {"model": "m", "texts": ["甲" * 100_000]}}  # more than a pipe holds
    for _ in range(20):
        log.request(scope, 200, 0)
    assert log.lost >= 8
    assert log.waiting < 1_200_000
    os.close(read)
    log.close()
    os.close(write)
