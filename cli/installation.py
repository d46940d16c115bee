"""What is installed: the versions of Python and packages. Only the standard library is used, of an old Python too."""

import os
import platform
import re
import sys
from pathlib import Path

PYTHON = (3, 11)
REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"


def version_of(package):
    """A package's version, None if it is not installed."""
    from importlib import metadata  # not in Python 3.7

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def versions(*packages):
    """The versions that a result depends on, as a dict."""
    return {"python": platform.python_version(), **{package: version_of(package) for package in packages}}


def problem(requirements=REQUIREMENTS, python=sys.version_info):
    """What is missing or too old, and the command that repairs it, as a line; None if nothing is."""
    if tuple(python[:2]) < PYTHON:
        return "Python {}.{} is too old, expected 3.11 to 3.13".format(*python[:2])
    if not requirements.exists():  # a part of the project, copied
        return None
    problems = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r"):
            continue
        requirement, _, marker = line.partition(";")
        if "win32" in marker and sys.platform == "win32":  # the only marker: not on Windows
            continue
        name, _, needed = requirement.partition("==")
        found = version_of(name)
        if found is None:
            problems.append(f"{name} is not installed")
        elif _parts(found) < _parts(needed):
            problems.append(f"{name} {found} is older than {needed}")
    here = requirements.drive == Path.cwd().drive  # Windows has no relative path to another drive
    command = f"python -m pip install -r {os.path.relpath(requirements) if here else requirements}"
    return f"{', '.join(problems)}; install what is needed: {command}" if problems else None


def _parts(version):
    return [int(number) for number in re.match(r"[\d.]*", version).group().split(".") if number]
