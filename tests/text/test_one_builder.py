import errno
import os
import subprocess
import sys

import numpy as np
import pytest

from cli.files import digest_of
from conftest import ROOT
from text import one_builder
from text.cache import cached

# builds an entry as the lines of its standard input say
PROGRAM = """
import sys
from pathlib import Path

import numpy as np

from cli.console import UserError
from cli.files import digest_of
from text import one_builder
from text.cache import cached

path, one_builder.PATIENCE, one_builder.NOTICE = Path(sys.argv[1]), float(sys.argv[2]), 0


def fill(draft):
    numbers = draft.column("numbers", np.uint16)
    print("builds", flush=True)
    if sys.stdin.readline() == "fail\\n":
        raise UserError("a bad row")
    numbers.append(range(5))
    return {"digest": digest_of(path), "notes": []}


try:
    print(cached(path, {}, fill).arrays["numbers"].tolist())
except UserError as error:
    print(error)
"""
NUMBERS = "[0, 1, 2, 3, 4]\n"
WAITS = "{path}: another process reads and encodes it; waiting for the result\n"


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "d" / "data").mkdir(parents=True)
    path = tmp_path / "d" / "data" / "train.txt"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def start(path):
    """Starts the program. Afterwards those that still run are ended."""
    processes = []

    def start(patience=60, rank=0, program=PROGRAM):
        command = [sys.executable, "-c", program, str(path), str(patience)]
        env = os.environ | {"LOCAL_RANK": str(rank)}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        processes.append(subprocess.Popen(command, cwd=ROOT, env=env, encoding="utf-8", **pipes))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def start_waiting(start, path, **options):
    process = start(**options)
    assert process.stderr.readline() == WAITS.format(path=path)
    return process


def start_building(start):
    process = start()
    assert process.stdout.readline() == "builds\n"
    return process


def outputs(processes):
    """What processes print, any of which may build."""
    for process in processes:
        process.stdin.write("go on\n")
        process.stdin.flush()
    return sorted(process.communicate()[0] for process in processes)


def names(directory):
    """The kinds of what a cache contains."""
    return sorted(entry.suffix or "entry" for entry in directory.iterdir())


def test_of_several_that_start_together_one_builds(start, path):
    assert outputs([start() for _ in range(4)]) == [NUMBERS, NUMBERS, NUMBERS, f"builds\n{NUMBERS}"]
    assert names(path.parent.parent / "cache") == ["entry"]


@pytest.mark.parametrize("writable", [True, False])
def test_a_process_waits_and_says_so_once(start, path, tmp_path, writable):
    if not writable:
        (path.parent.parent / "cache").touch()  # no directory can be made there
    first = start_building(start)
    second = start_waiting(start, path)
    assert first.communicate("go on\n") == (NUMBERS, "")
    assert second.communicate() == (NUMBERS, "")
    folder = path.parent.parent / "cache" if writable else next((tmp_path / "home").glob("*/d-*"))
    assert names(folder) == ["entry"]


def test_a_process_that_is_killed_lets_another_one_build(start, path):
    first = start_building(start)
    others = [start_waiting(start, path) for _ in range(2)]
    first.kill()
    assert outputs(others) == [NUMBERS, f"builds\n{NUMBERS}"]
    assert names(path.parent.parent / "cache") == [".tmp", "entry"]


def test_what_fails_is_tried_again_by_those_that_wait(start, path):
    first = start_building(start)
    second = start_waiting(start, path)
    assert first.communicate("fail\n")[0] == "a bad row\n"
    assert second.communicate("fail\n")[0] == "builds\na bad row\n"
    assert names(path.parent.parent / "cache") == []


def test_nobody_waits_for_ever_for_a_process_that_writes_nothing(start, path):
    first = start_building(start)
    second = start_waiting(start, path, patience=0.5)
    told = f"{path}: the other process has written nothing for 0.5 seconds; this one reads it too\n"
    assert second.communicate("go on\n") == (f"builds\n{NUMBERS}", told)
    third = start()
    assert third.communicate() == (NUMBERS, "")
    assert first.communicate("go on\n") == (NUMBERS, "")
    assert names(path.parent.parent / "cache") == ["entry"]


def test_the_first_rank_of_a_machine_builds(start, path):
    other = start_waiting(start, path, rank=1)
    first = start_building(start)
    assert first.communicate("go on\n") == (NUMBERS, "")
    assert other.communicate() == (NUMBERS, "")


def test_no_rank_waits_for_ever(start, path):
    other = start_waiting(start, path, rank=1, patience=0.5)
    assert other.communicate("go on\n")[0] == f"builds\n{NUMBERS}"


def test_a_process_waits_as_long_as_another_one_writes(path, tmp_path, monkeypatch):
    draft = tmp_path / "train-000000000001.tmp"
    draft.mkdir()
    entries = iter([None] * 20 + ["the entry"])

    def find():
        with open(draft / "numbers.npy", "ab") as file:
            file.write(b"x")
        return next(entries)

    monkeypatch.setattr(one_builder, "LOCAL_RANK", 1)
    monkeypatch.setattr(one_builder, "PATIENCE", 0.2)  # the twenty times take a second
    with one_builder.one_builder(path, [tmp_path], "train", "train-1", find) as entry:
        assert entry == "the entry"


def test_an_entry_that_is_completed_just_before_the_lock_is_released_is_used(path, tmp_path):
    entries = iter([None, "the entry"])
    with one_builder.one_builder(path, [tmp_path], "train", "train-1", lambda: next(entries)) as entry:
        assert entry == "the entry"


@pytest.mark.parametrize("error", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS])
def test_without_locks_every_process_builds(path, monkeypatch, error):
    def refuse(lock):
        raise OSError(error, os.strerror(error))

    def fill(draft):
        draft.column("numbers", np.uint16).append([7])
        return {"digest": digest_of(path), "notes": []}

    monkeypatch.setattr(one_builder.FileLock, "acquire", refuse)
    assert cached(path, {}, fill).arrays["numbers"].tolist() == [7]


def test_entries_with_other_settings_are_built_at_the_same_time(start, path):
    first = start_building(start)
    second = start(program=PROGRAM.replace("cached(path, {},", "cached(path, {'word': True},"))
    assert second.communicate("go on\n") == (f"builds\n{NUMBERS}", "")
    assert first.communicate("go on\n") == (NUMBERS, "")
    assert names(path.parent.parent / "cache") == ["entry", "entry"]
