"""The process that runs inputs, one after the other. The module `guard` starts and watches it."""

import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import shutil
import signal
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

ROOT = Path(__file__).parent.parent.parent
LOG = "log.txt"  # what the process writes to standard error, and where it stands when it is stopped
INPUT = "input"  # the directory of the input at hand


class Result(NamedTuple):
    """What became of an input."""

    verdict: str  # accepted, refused or failed
    error: str = ""  # type and message of the exception
    place: str = ""  # file, line and function of the project
    trace: str = ""
    peak: float = 0.0  # the largest memory that the process has held, in MB


def serve(connection, folder, seed, module):
    """Runs the inputs whose kinds and numbers arrive, until the other side closes the connection.

    module: the name of a module with the functions of `kinds`. For each input, sends its mutation, then its Result.
    """
    _redirect(folder / LOG)
    os.environ |= {"XDG_CACHE_HOME": str(folder), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    tqdm.monitor_interval = 0  # no thread of its own in the tracebacks
    multiprocessing.set_start_method(None, force=True)  # as in a script; locks of "spawn" outlive a killed worker
    module = importlib.import_module(module)
    base = folder / "base"
    module.write_base(base)
    with contextlib.suppress(EOFError, OSError):
        connection.send("ready")
        while True:
            kind, number = connection.recv()
            os.ftruncate(2, 0)
            connection.send(_run(connection, module, kind, number, seed, base, folder / INPUT))


def _redirect(path):
    """Sends standard error to a file and standard output nowhere."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    faulthandler.enable(file=2)
    if hasattr(signal, "SIGUSR1"):  # not on Windows
        faulthandler.register(signal.SIGUSR1, file=2)


def _run(connection, module, kind, number, seed, base, directory):
    from cli.console import UserError
    from cli.files import peak_memory

    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    case = None
    try:
        case = module.make_input(kind, seed, number, base, directory)
        connection.send(case.mutation)
        module.run_target(kind, directory, base, case)
        result = Result("accepted")
    except UserError as error:
        refused = case and case.mutation != "unchanged"
        result = Result("refused", str(error)) if refused else _failure(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also what libraries in Rust raise
        result = _failure(error)
    return result._replace(peak=peak_memory())


def _failure(error):
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_ours(frame.filename)]
    frames = [frame for frame in frames if "fuzz" not in Path(frame.filename).parts] or frames
    place = f"{Path(frames[-1].filename).relative_to(ROOT).as_posix()}:{frames[-1].lineno} {frames[-1].name}"
    text = f"{type(error).__name__}: {error}"
    return Result("failed", text[:300], place, "".join(traceback.format_exception(error, limit=-30))[-6000:])


def is_ours(path):
    """Whether a source file belongs to the project, and not to a package in its virtual environment."""
    return ROOT in Path(path).parents and "site-packages" not in Path(path).parts
