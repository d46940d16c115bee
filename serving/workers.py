"""Several processes that serve the same models, and one that supervises them."""

from cli.start import run_script

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from multiprocessing import connection

from prometheus_client import multiprocess

from serving.log import Log
from serving.metrics import DIRECTORY
from serving.sockets import bind_beside

PAUSE = 1  # seconds before a process is replaced
CHECK = 0.2  # seconds between looks at the processes
LATE = 20  # seconds beyond `--timeout` after which a process that does not stop is killed


def supervise(socket, paths, args):
    """Runs `args.workers` processes that serve, and replaces those that end, until SIGTERM or SIGINT.

    socket: one that `sockets.bind` has made as shared. SIGHUP is passed on. Exits with the status of the first
    process if that cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="classifier_metrics_") as directory:
        os.environ[DIRECTORY] = directory
        Supervisor(socket, paths, args).run()


class Supervisor:
    """The processes, each with its index."""

    def __init__(self, socket, paths, args):
        self.socket, self.paths, self.args = socket, paths, args
        self.context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.ready = self.context.Event()  # whether one has loaded the models
        self.processes, self.stopping = {}, False
        self.log = Log()

    def run(self):
        signals = {signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._pass_on}
        for number, handler in signals.items():
            signal.signal(number, handler)
        self._start(0)  # alone, so that a model that is not valid is reported once
        while not self.ready.wait(CHECK) and not self.stopping:
            if not self.processes[0].is_alive():
                sys.exit(self.processes[0].exitcode)
        for index in range(1, self.args.workers):
            if not self.stopping:
                self._start(index)
        while not self.stopping:
            connection.wait([process.sentinel for process in self.processes.values()], CHECK)
            for index, process in list(self.processes.items()):
                if not process.is_alive() and not self.stopping:
                    self._replace(index, process)
        self._wait()

    def _start(self, index):
        arguments = self.socket, self.paths, self.args, self.ready
        process = self.context.Process(target=work, args=arguments, name=f"Worker {index + 1}")
        with hangup_blocked():  # until the process handles it
            process.start()
        self.processes[index] = process

    def _replace(self, index, process):
        self.log.message(f"{process.name} (process {process.pid}) ended with status {process.exitcode}; another starts")
        multiprocess.mark_process_dead(process.pid)
        time.sleep(PAUSE)
        if not self.stopping:
            self._start(index)

    def _stop(self, number, frame):
        self.stopping = True
        self._signal(signal.SIGTERM)

    def _pass_on(self, number, frame):
        self._signal(number)

    def _signal(self, number):
        for process in list(self.processes.values()):
            if process.is_alive():
                os.kill(process.pid, number)

    def _wait(self):
        """Waits until all have stopped."""
        self._signal(signal.SIGTERM)  # also for one that was just started
        end = time.monotonic() + self.args.timeout + LATE
        for process in self.processes.values():
            process.join(max(0, end - time.monotonic()))
            process.kill()


@contextlib.contextmanager
def hangup_blocked():
    """A process that is started meanwhile does not end by SIGHUP; `server.Server` unblocks it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def work(socket, paths, args, ready):
    """What a process does. Until the first one is ready, it answers that; those that follow listen when they are."""
    from serving.server import serve  # loads FastAPI, which the supervisor does not need

    def changed():
        os.kill(multiprocessing.parent_process().pid, signal.SIGHUP)

    threading.Thread(target=end_with_supervisor, daemon=True).start()
    is_first = not ready.is_set()
    run_script(lambda: serve(bind_beside(socket), paths, args, is_first, ready.set, changed))


def end_with_supervisor():
    """Stops this process if the supervisor was killed."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)
