"""How every script starts and ends. Scripts import this module before any package.

At import it checks the installation, so that a missing package is reported in one line instead of a traceback.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from cli import installation


def run_script(main):
    """Calls a script's `main`. An error that the user can correct becomes one line and exit status 2."""
    from cli.console import RANK, RANKS, UserError, say

    _open_standard_streams()
    if RANKS == 1:  # torchrun ends its processes itself
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that files and child processes are cleaned up
    script, status = Path(sys.argv[0]).name, 0
    try:
        main()
        sys.stdout.flush()
    except UserError as error:
        if RANK:
            time.sleep(2)  # an error on all ranks is printed by the first one; torchrun then ends the others
            print(f"{script}, rank {RANK}: {error}", file=sys.stderr)
        say(f"{script}: {error}")
        status = 2
    except KeyboardInterrupt:
        say("Interrupted.")
        status = 130
    except BrokenPipeError:  # the reader, for example `head`, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    is_outermost = sys._getframe(1).f_back is None  # no profiler or debugger runs the script
    if is_outermost and not sys.flags.interactive and threading.active_count() == 1:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(BrokenPipeError):  # the reader is gone
                stream.flush()
        os._exit(status)  # sys.exit takes torch apart first, which takes 0.4 s
    sys.exit(status)


def _open_standard_streams():
    """Makes pipes and files UTF-8, whatever the console's code page, and replaces streams that are closed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name) or open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
        if not stream.isatty():
            stream.reconfigure(encoding="utf-8")
        if mode == "w":
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, stream)


def _check_installation():
    problem = installation.problem()
    if problem:
        print(f"{Path(sys.argv[0]).name}: {problem}", file=sys.stderr)
        sys.exit(2)


_check_installation()
