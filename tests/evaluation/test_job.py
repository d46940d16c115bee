"""`job.call`: how a script is watched and ended."""

import os
import signal
import sys

import psutil
import pytest

from evaluation import job

HANGS = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"


class Enough(Exception):
    """What a test's watch raises."""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP is sent")
def test_what_watch_raises_ends_a_script_and_one_that_is_stopped_too(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "PATIENCE", 0.5)
    monkeypatch.setattr(job, "ROOT", tmp_path)
    (tmp_path / "hangs.py").write_text(HANGS, encoding="utf-8")
    log = tmp_path / "run.log"

    def watch():
        if text := log.read_text(encoding="utf-8"):
            os.kill(int(text), signal.SIGSTOP)
            raise Enough

    with pytest.raises(Enough):
        job.call(["hangs.py"], log, "a script", watch)
    assert not psutil.pid_exists(int(log.read_text(encoding="utf-8")))


def test_a_script_that_is_watched_ends_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "ROOT", tmp_path)
    (tmp_path / "ends.py").write_text("import time; time.sleep(1)", encoding="utf-8")
    calls = []
    job.call(["ends.py"], tmp_path / "run.log", "a script", lambda: calls.append(0))
    assert calls
