"""The Dockerfile: its steps one by one, apart from those that install packages."""

import fnmatch
import json
import re
import shutil
import subprocess
import sys

import pytest

from conftest import ENVIRONMENT, ROOT
from served import serving


def steps():
    """The instructions and their arguments."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [tuple(line.split(" ", 1)) for line in text.replace("\\\n", " ").splitlines() if line]


def arguments_of(instruction):
    """The arguments of the only instruction of this name, which are written as JSON."""
    (found,) = (json.loads(text[text.index("[") :]) for name, text in steps() if name == instruction)
    return found


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A directory with what the COPY steps copy."""
    directory = tmp_path_factory.mktemp("app")
    for *sources, target in (text.split() for name, text in steps() if name == "COPY"):
        for source in (ROOT / source for source in sources):
            if source.is_dir():
                shutil.copytree(source, directory / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, directory / target)
    return directory


def test_the_copied_files_are_sent_to_the_engine_and_no_others_are():
    ignored, *kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored == "*"
    copied = {source for name, text in steps() if name == "COPY" for source in text.split()[:-1]}
    assert {line.removeprefix("!") for line in kept if line.startswith("!")} == copied
    assert not any(fnmatch.fnmatch(source, line) for source in copied for line in kept if not line.startswith("!"))


def test_packages_are_those_of_the_requirements():
    (install,) = (text for name, text in steps() if name == "RUN" and "pip" in text)
    version = re.search(r"^torch==.*$", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert f" {version} " in install
    assert set(re.findall(r"-r (\S+)", install)) == {"requirements.txt", "requirements-serve.txt"}


def test_it_runs_as_a_user_without_rights():
    names = [name for name, _ in steps()]
    (user,) = (text for name, text in steps() if name == "USER")
    assert ("RUN", f"useradd --system --no-create-home {user}") in steps()
    assert names.index("COPY") < names.index("USER") < names.index("ENTRYPOINT")


def test_what_is_copied_serves(image, exported_svm, trained_svm):
    python, script, *flags = arguments_of("ENTRYPOINT")
    assert python == "python"
    model = [str(exported_svm) if part == "/model" else part for part in arguments_of("CMD")]
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"}
    python, *check = arguments_of("HEALTHCHECK")
    with serving(*flags, *model, script=image / script, cwd=image, env=environment) as server:
        assert server.ask("GET", "/")[0] == 200
        check[-1] = check[-1].replace(f":{flags[flags.index('--port') + 1]}/", f":{server.port}/")
        assert subprocess.run([sys.executable, *check], check=False).returncode == 0
        assert server.stop() == 0
    assert subprocess.run([sys.executable, *check], check=False, stderr=subprocess.DEVNULL).returncode == 1
    checkpoint = trained_svm / "saved_dict" / "SVM.ckpt"
    with serving(*flags, "--checkpoint", checkpoint, script=image / script, cwd=image, env=environment) as server:
        assert server.ask("POST", "/predict", {"text": "股票"})[0] == 200
