"""What scripts print before their packages are installed."""

import os
import shutil
import subprocess
import sys

import pytest

from cli import installation
from conftest import ENVIRONMENT, ROOT


def test_what_is_missing_or_too_old_is_a_line_with_the_command(tmp_path, monkeypatch):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("-r others.txt\npytest==1.0\nnumpy==999.0.1\nno-such-package==1.0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    problem = installation.problem(requirements)
    assert problem.startswith("numpy ")
    assert problem.endswith(
        " is older than 999.0.1, no-such-package is not installed; install what is needed: "
        "python -m pip install -r requirements.txt"
    )
    monkeypatch.setattr(sys, "platform", "win32")
    requirements.write_text('no-such-package==1.0; sys_platform != "win32"\n', encoding="utf-8")
    assert installation.problem(requirements) is None
    monkeypatch.setattr(sys, "platform", "linux")
    assert installation.problem(requirements).startswith("no-such-package is not installed; ")
    assert installation.problem(requirements, (3, 8)) == "Python 3.8 is too old, expected 3.11 to 3.13"
    assert installation.problem() is None


@pytest.mark.parametrize(
    "name", ["run.py", "predict.py", "compare.py", "download.py", "utils.py", "pretrain_mlm.py", "serve.py"]
)
def test_a_missing_package_is_a_line(name, tmp_path):
    """Without the packages of the environment."""
    arguments = [sys.executable, "-S", ROOT / name]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", cwd=ROOT, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"{name}: torch is not installed, ")
    assert done.stderr.endswith("; install what is needed: python -m pip install -r requirements.txt\n")


SCRIPT = """
from cli.start import run_script
import atexit, sys, threading, time
from cli.console import UserError

def later():
    time.sleep(0.2)
    print("thread")

def main():
    print("main")
    atexit.register(print, "exit")
    if "thread" in sys.argv:
        threading.Thread(target=later).start()
    if "mistake" in sys.argv:
        raise UserError("mistake")

run_script(main)
"""


@pytest.mark.parametrize(
    ("command", "status", "printed"),
    [
        (["script.py"], 0, "main\nexit\n"),
        (["script.py", "thread"], 0, "main\nthread\nexit\n"),
        (["script.py", "mistake"], 2, "main\nexit\n"),
        (["-m", "cProfile", "script.py"], 0, "function calls"),
    ],
)
def test_a_script_ends_quickly_but_completely(tmp_path, command, status, printed):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, *command]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment, check=False)
    assert done.returncode == status, done.stderr
    assert printed in done.stdout
    assert done.stderr == ("script.py: mistake\n" if status else "")


def test_a_reader_that_is_gone_does_not_change_the_status(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "script.py", "mistake"]
    done = subprocess.run(
        command, stdout=write, stderr=subprocess.PIPE, encoding="utf-8", cwd=tmp_path, env=environment, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (2, "script.py: mistake\n")


def version(python):
    done = subprocess.run([python, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


@pytest.mark.parametrize("python", ["python3.8", "python3.9", "python3.10"])
def test_an_old_python_is_named_in_a_line(python, tmp_path):
    if shutil.which(python) is None or not version(python):
        pytest.skip(f"there is no {python}")
    done = subprocess.run([python, ROOT / "run.py"], capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert done.stderr == f"run.py: Python {python.removeprefix('python')} is too old, expected 3.11 to 3.13\n"


def test_every_script_starts_with_the_check():
    for path in [*ROOT.glob("*.py"), *(ROOT / "evaluation").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if "run_script(main)" in text:
            imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
            assert imports[0] == "from cli.start import run_script", path
