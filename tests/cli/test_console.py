import argparse
import os
from pathlib import Path

import pytest

from cli.console import UserError, boolean, number
from cli.files import replacing


def test_booleans():
    assert [boolean(text) for text in ("True", "false", "1", "No")] == [True, False, True, False]
    with pytest.raises(argparse.ArgumentTypeError):
        boolean("maybe")


def test_numbers_within_bounds():
    assert number(float, 0, 1)("0.5") == 0.5
    assert number(int, 1)("1") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="2 is out of range, expected at least 0 and at most 1"):
        number(float, 0, 1)("2")
    with pytest.raises(argparse.ArgumentTypeError, match="expected above 0"):
        number(float, 0, open_low=True)("0")
    with pytest.raises(argparse.ArgumentTypeError):
        number(float, 0, 1)("nan")


def test_a_crash_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.ckpt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.ckpt"]


def test_a_link_is_followed_and_a_device_is_written_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with replacing(tmp_path / "link", "w") as file:
        file.write("new")
    assert (tmp_path / "file").read_text() == "new"
    assert (tmp_path / "link").is_symlink()
    with replacing(os.devnull, "w") as file:
        file.write("gone")
    assert not Path(os.devnull).is_file()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"), replacing(tmp_path / "file" / "m.ckpt") as file:
        file.write(b"")
