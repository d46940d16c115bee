"""Several processes that serve."""

import contextlib
import re
import sys

import psutil
import pytest

from conftest import script
from served import serving, until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="needs the signals of Linux"),
]


def workers_of(server):
    """The ids of its processes that serve."""
    found = set()
    for child in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.Error):  # it ends
            found |= {child.pid} if "spawn_main" in " ".join(child.cmdline()) else set()
    return found


def test_a_process_that_is_killed_is_replaced_and_metrics_add_up(exported_svm):
    with serving("--checkpoint", exported_svm, "--workers", 2, "--access_log", "off") as server:
        until(lambda: len(workers_of(server)) == 2)
        before = workers_of(server)
        for _ in range(20):
            assert server.ask("POST", "/predict", {"texts": ["甲", "乙"]})[0] == 200
        assert 'classifier_rows_total{model="svm"} 40.0' in server.ask("GET", "/metrics")[1]
        psutil.Process(max(before)).kill()
        until(lambda: len(workers_of(server)) == 2 and workers_of(server) != before)
        until(lambda: len(server.lines) > 1)
        assert re.search(rf"Worker \d \(process {max(before)}\) ended with status -9; another starts", server.lines[1])
        assert server.ask("POST", "/reload")[0] == 200
        assert server.stop() == 0
        assert not psutil.pid_exists(max(before)) and not any(map(psutil.pid_exists, before))


def test_the_other_processes_do_not_start_if_the_first_one_fails(tmp_path):
    done = script("serve.py", "--checkpoint", tmp_path, "--workers", 2, "--port", 0, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == [
        f"serve.py: {tmp_path} is no export, or not a whole one: no file {tmp_path / 'model.json'}"
    ]


def test_the_processes_end_if_the_supervisor_is_killed(exported_svm):
    with serving("--checkpoint", exported_svm, "--workers", 2, "--access_log", "off") as server:
        until(lambda: len(workers_of(server)) == 2)
        pids = workers_of(server)
        server.process.kill()
        until(lambda: not any(map(psutil.pid_exists, pids)))
