"""A dataset with a leaderboard, for tests of `compare.py`."""

import contextlib
import io
import shutil

import pytest

from conftest import compare_here, script

SMALL = ("--", "--num_epochs", 1, "--embed", 8, "--batch_size", 40, "--device", "cpu")
MODELS = ("--models", "TextCNN", "FastText", "--seeds", 2)
RUNS = [(model, seed) for model in ("TextCNN", "FastText") for seed in (1, 2)]


@pytest.fixture(scope="session")
def compared(tiny, tmp_path_factory):
    """The tiny dataset with its leaderboard, of one run at first and then of more; what was printed each time."""
    dataset = shutil.copytree(tiny, tmp_path_factory.mktemp("compared") / "tiny")
    first = script("compare.py", "--models", "TextCNN", "--seeds", 1, "--dataset", dataset, *SMALL)
    before = state(dataset / "leaderboard" / "TextCNN" / "seed-1")
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        compare_here(*MODELS, "--dataset", dataset, *SMALL)
    assert state(dataset / "leaderboard" / "TextCNN" / "seed-1") == before
    return dataset, first, out.getvalue(), err.getvalue()


@pytest.fixture
def copied(compared, tmp_path):
    return shutil.copytree(compared[0], tmp_path / "tiny")


def state(directory):
    """The files of the runs and when they were written."""
    return {str(path): path.stat().st_mtime_ns for path in directory.rglob("*") if path.parent != directory}
