"""Servers with a small model, in this process and in others."""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

LIMITS = SimpleNamespace(max_bytes=10_000, max_texts=100, max_characters=50, timeout=60)
PATIENCE = 60  # seconds


class Lengths:
    """In a predictor's place: the class of a text is whether its length is odd, with the probability 0.9.

    `calls` are the texts of each call. A call waits while `gate` is not set. A text "!" is an error.
    """

    multi_label, limit = False, 32

    def __init__(self, classes=("even", "odd"), hierarchical=False):
        from text.hierarchy import Hierarchy
        from text.truncation import Truncation

        self.truncations = [("char", Truncation(self.limit))]
        self.classes, self.hierarchy = list(classes), Hierarchy(classes, hierarchical)
        self.calls, self.gate = [], threading.Event()
        self.gate.set()

    def compute(self, texts):
        self.calls.append(texts)
        assert self.gate.wait(PATIENCE)
        assert "!" not in texts
        found = np.full((len(texts), len(self.classes)), 0.1 / (len(self.classes) - 1), np.float32)
        found[range(len(texts)), [len(text) % 2 for text in texts]] = 0.9
        found[[not text for text in texts]] = 0
        return found, sum(len(text) > self.limit for text in texts)


def as_served(predictor, name="lengths"):
    """A predictor as a `Served`."""
    from engine.explanation import Explanation
    from serving.formatting import Formatter
    from serving.loading import Served

    parts = predictor, Formatter(predictor), Explanation(predictor)
    return Served(name, None, "Lengths", *parts, "0123", "2026-01-01T00:00:00+00:00")


@pytest.fixture
def lengths():
    return Lengths()


@pytest.fixture
def service(lengths):
    """A Service with the model `lengths`; `metrics` are its Metrics."""
    import torch

    from serving.batcher import Batcher
    from serving.log import Log
    from serving.metrics import Metrics
    from serving.service import READY, Service

    threads, metrics, log = torch.get_num_threads(), Metrics(), Log("off")
    batcher = Batcher(0.001, 1000, 5000, metrics.observe_batch, log)
    batcher.start(1)
    found = Service({}, batcher, log)
    found.models, found.state, found.metrics = {"lengths": as_served(lengths)}, READY, metrics
    yield found
    lengths.gate.set()
    batcher.close()
    log.close()
    torch.set_num_threads(threads)  # `load` sets it, and what later tests compute depends on it


@pytest.fixture
def app(service):
    return app_of(service)


def app_of(service):
    """The application of a Service, without what limits connections."""
    from serving.access import Access
    from serving.app import create_app

    app = create_app(service, LIMITS, service.metrics)
    return Access(app, {route.path for route in app.routes}, service.metrics, service.log)


def client_of(app, address="127.0.0.1"):
    """A client of an application in this process, for `async with`."""
    import httpx

    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(address, 1234)), base_url="http://test")


@pytest.fixture(scope="session")
def exported_svm(trained_svm, tmp_path_factory):
    """The exported directory of an SVM with three classes, which a server loads without torch."""
    from engine.predictor import Predict
    from exporting.content import write_export

    directory = tmp_path_factory.mktemp("export") / "svm"
    directory.mkdir()
    write_export(Predict("SVM", dataset=trained_svm, device="cpu").saved, directory, None, ())
    return directory


class Process:
    """A process of `script`; its messages so far are `lines`."""

    def __init__(self, *arguments, script="serve.py", **options):
        from conftest import ENVIRONMENT, ROOT, command

        options = {"stdout": subprocess.DEVNULL, "env": ENVIRONMENT, "cwd": ROOT} | options
        arguments = command(script, *arguments, "--port", 0)
        self.process = subprocess.Popen(arguments, stderr=subprocess.PIPE, encoding="utf-8", **options)
        self.lines = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(self.process.stderr), daemon=True)
        self.reader.start()
        until(lambda: self.lines or self.process.poll() is not None)
        self.port = int(re.search(r"http://[\d.]+:(\d+)", self.lines[0])[1])
        until(self.is_ready)

    def is_ready(self):
        with contextlib.suppress(OSError):
            return self.ask("GET", "/readyz")[0] == 200

    def ask(self, method, path, content=None, **headers):
        """The status and the content of an answer, an object if it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, None if content is None else json.dumps(content), headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, json.loads(text) if "json" in answer.headers["Content-Type"] else text

    def connect(self):
        """A connection of which a test sends the bytes itself."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def stop(self):
        """Sends SIGTERM; returns the exit status."""
        self.process.terminate()
        status = self.process.wait(PATIENCE)
        self.reader.join()
        return status


@contextlib.contextmanager
def serving(*arguments, **options):
    """A `Process` that is ready, and is killed at the end."""
    server = Process(*arguments, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def until(condition):
    """Waits until a condition holds, and returns its value."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value
