"""No file that a user can give ends a script with a traceback, takes too long, takes too much memory, or lies."""

import os
import shutil
import time

import pytest

from tests.fuzz.guard import run_inputs
from tests.fuzz.inputs_text import Case
from tests.fuzz.report import lines_of_failures, table

COUNT = 725


@pytest.mark.timeout(300)
def test_damaged_and_odd_files(tmp_path):
    from tests.fuzz.kinds import KINDS  # torch takes seconds to load, which the workers of the next test need not do

    names = list(KINDS)
    inputs = [(names[i % len(names)], i // len(names)) for i in range(COUNT)]
    outcomes = list(run_inputs(inputs, tmp_path, seed=1))
    failures = lines_of_failures(outcomes)
    assert not failures, "\n".join([*failures, table(outcomes)])
    assert {outcome.kind for outcome in outcomes if outcome.result.verdict == "accepted"} == set(names)


ENDINGS = ("fast", "slow", "large", "dies", "raises")


def write_base(directory):
    directory.mkdir()


def make_input(kind, seed, number, base, directory):
    (directory / "file").write_text(kind)
    return Case(f"{kind} {seed}", {})


def run_target(kind, directory, base, case):
    while kind == "slow":
        pass
    if kind == "dies":
        os.abort()
    if kind == "raises":
        raise ValueError("two\nlines")
    if kind == "large":
        content = [bytes(range(256)) * 4096 for _ in range(3000)]  # 3 GB
        time.sleep(len(content))


def test_the_guard_ends_what_takes_too_much(tmp_path):
    inputs = [(kind, 7) for kind in ENDINGS]
    found = run_inputs(inputs, tmp_path / "work", 3, workers=1, keep=tmp_path, module="test_fuzz", seconds=10)
    results = {outcome.kind: outcome.result for outcome in found}
    assert {kind: result.verdict for kind, result in results.items()} == {"fast": "accepted"} | dict.fromkeys(
        ENDINGS[1:], "failed"
    )
    errors = [results[kind].error for kind in ENDINGS]
    assert errors == ["", "more than 10 s", "more than 2048 MB", "the process has died", "ValueError: two\nlines"]
    assert results["raises"].place.startswith("tests/test_fuzz.py:")
    assert (tmp_path / "slow-7" / "file").read_text() == "slow"
    assert (tmp_path / "slow-7" / "failure.txt").read_text().startswith("slow 3\nmore than 10 s")
    assert not (tmp_path / "fast-7").exists()


def test_the_same_seed_gives_the_same_inputs(tmp_path):
    from tests.fuzz.kinds import KINDS, make_input, write_base

    def made():
        """The contents of all files of some inputs of each kind."""
        write_base(tmp_path / "base")
        for kind in KINDS:
            for number in range(20):
                directory = tmp_path / f"{kind}-{number}"
                directory.mkdir()
                make_input(kind, 1, number, tmp_path / "base", directory)
        paths = sorted(path for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts)
        contents = {path.relative_to(tmp_path): path.read_bytes() for path in paths}
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        return contents

    first, again = made(), made()
    assert [path for path in first if first[path] != again.get(path)] == []
    assert first.keys() == again.keys()
