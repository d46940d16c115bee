"""Runs inputs in worker processes, with limits for time and memory."""

import multiprocessing
import os
import queue
import re
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import psutil

from tests.fuzz import worker

SECONDS = 10  # of the processor, for an input
PATIENCE = 6  # times as long may an input take on the clock, since the machine may be busy
MEMORY = 2048  # MB, of the process
START = 300  # seconds in which a worker must be ready


class Outcome(NamedTuple):
    """An input and what became of it."""

    kind: str
    number: int
    mutation: str
    result: worker.Result


def run_inputs(inputs, folder, seed, workers=2, keep=None, module="tests.fuzz.kinds", seconds=SECONDS):
    """Yields the Outcome of each input as they end, in any order.

    inputs: pairs of a kind and a number; folder: an empty directory for temporary files; keep: the directory to which
    the inputs that failed are copied.
    """
    free = queue.SimpleQueue()
    guards = [Guard(Path(folder) / f"worker-{i}", seed, keep, module, seconds) for i in range(workers)]
    for guard in guards:
        free.put(guard)

    def run(kind, number):
        guard = free.get()
        try:
            return guard.run(kind, number)
        finally:
            free.put(guard)

    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(run, kind, number) for kind, number in inputs]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)
        for guard in guards:
            guard.stop()


class Guard:
    """A worker process, which is started again after an input that it does not survive."""

    def __init__(self, folder, seed, keep, module, seconds):
        self.folder, self.seed, self.keep, self.module, self.seconds = folder, seed, keep, module, seconds
        self.process = None

    def run(self, kind, number):
        """The Outcome of an input."""
        if self.process is None:
            self._start()
        self.connection.send((kind, number))
        mutation, result = "", None
        start, cpu = time.monotonic(), self._cpu()
        while result is None:
            try:
                if self.connection.poll(0.05):
                    message = self.connection.recv()
                    mutation, result = (message, None) if isinstance(message, str) else (mutation, message)
                    continue
                memory, used = self.watched.memory_info().rss / 2**20, self._cpu() - cpu
            except (EOFError, OSError, psutil.Error):
                result = self._end("the process has died")
                break
            if memory > MEMORY:
                result = self._end(f"more than {MEMORY} MB")
            elif used > self.seconds or time.monotonic() - start > PATIENCE * self.seconds:
                result = self._end(f"more than {self.seconds} s")
        if result.peak > MEMORY:  # for a moment, between two looks at it
            self.stop()
            result = result._replace(verdict="failed", error=f"more than {MEMORY} MB, {result.verdict}")
        outcome = Outcome(kind, number, mutation, result)
        if self.keep and result.verdict == "failed":
            save(outcome, self.folder / worker.INPUT, Path(self.keep))
        return outcome

    def stop(self):
        """Ends the worker."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None

    def _start(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        arguments = (other, self.folder, self.seed, self.module)
        self.process = context.Process(target=worker.serve, args=arguments, daemon=True)
        self.process.start()
        other.close()
        self.watched = psutil.Process(self.process.pid)
        try:
            ready = self.connection.poll(START) and self.connection.recv()
        except EOFError:
            ready = None
        if not ready:
            self.stop()
            log = (self.folder / worker.LOG).read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the worker does not start:\n{log[-3000:]}")

    def _cpu(self):
        times = self.watched.cpu_times()
        return times.user + times.system

    def _end(self, error):
        """The Result of an input that the worker does not survive, with the place at which it stood."""
        log = self.folder / worker.LOG
        if hasattr(signal, "SIGUSR1") and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGUSR1)  # writes the traceback to the log
            time.sleep(0.5)
        self.stop()
        trace = log.read_text(encoding="utf-8", errors="replace")[-6000:]
        places = re.findall(r'File "(.+)", line (\d+) in (\S+)', trace)
        ours = [place for place in places if worker.is_ours(place[0]) and "fuzz" not in Path(place[0]).parts]
        place = f"{Path(ours[0][0]).relative_to(worker.ROOT).as_posix()}:{ours[0][1]} {ours[0][2]}" if ours else ""
        return worker.Result("failed", error, place, trace)


def save(outcome, directory, keep):
    """Copies an input that failed, with the reason beside it."""
    target = keep / f"{outcome.kind}-{outcome.number}"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(directory, target, symlinks=True)
    text = f"{outcome.mutation}\n{outcome.result.error}\n{outcome.result.place}\n\n{outcome.result.trace}"
    (target / "failure.txt").write_text(text, encoding="utf-8", errors="backslashreplace")
