import os
import subprocess
import sys
from pathlib import Path

import pytest

from cli.console import UserError
from cli.files import locked, replacing
from conftest import ROOT


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


def test_a_file_of_the_user_is_no_temporary_file(tmp_path):
    (tmp_path / "in.tmp").write_text("text")
    with replacing(tmp_path / "in", "w") as file:
        file.write((tmp_path / "in.tmp").read_text())
    assert (tmp_path / "in.tmp").read_text() == (tmp_path / "in").read_text() == "text"


@pytest.mark.parametrize("name", ["file/m.ckpt", "loop", "a" * 300, "directory"])
def test_a_path_that_cannot_be_written(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop2")
    (tmp_path / "loop2").symlink_to(tmp_path / "loop")
    (tmp_path / "directory").mkdir()
    with pytest.raises(UserError, match="cannot be written: ") as error, replacing(tmp_path / name) as file:
        file.write(b"")
    assert "\n" not in str(error.value)


def test_the_longest_name_can_be_written(tmp_path):
    names = ["a" * 255, "新" * 85]  # 255 bytes each
    for name in names:
        with replacing(tmp_path / name, "w") as file:
            file.write("text")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == names


def test_a_lock_names_its_holder_and_ends_with_it(tmp_path):
    path = tmp_path / "saved_dict" / "TextCNN.lock"
    program = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from cli.files import locked
with locked(Path({str(path)!r}), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, encoding="utf-8")
    assert other.stdout.readline() == "held\n"
    expected = rf"^busy: process {other.pid}, since 20.* or use another --output$"
    with pytest.raises(UserError, match=expected), locked(path, "busy"):
        pass
    other.kill()
    other.wait()
    with locked(path, "busy"):
        pass


def test_a_lock_in_a_file_is_an_error_of_one_line(tmp_path):
    (tmp_path / "README.md").touch()
    path = tmp_path / "README.md" / "saved_dict" / "m.lock"
    with pytest.raises(UserError, match=r"cannot be written: .*; use --output DIR"), locked(path, "busy"):
        pass
