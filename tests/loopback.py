"""A server on loopback for tests of downloads: it answers as a good one, or in many wrong ways."""

import contextlib
import http.server
import itertools
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest


class Answer(NamedTuple):
    """How the server answers a request for a file. The defaults are those of a good server."""

    status: int = 200
    cut: int | None = None  # the connection is closed after this number of bytes
    stall: bool = False  # the connection stays open instead
    announced: int = 0  # bytes that Content-Length has too many
    ranges: bool = True  # whether the server supports Range
    content_range: str | None = None  # replaces the true one
    content: bytes | None = None  # replaces the file
    raw: Callable | None = None  # returns the pieces of an answer that replaces all this


GOOD = Answer()


def raw(content):
    return Answer(raw=lambda: [content])


def to(location):
    return raw(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n".encode())


def flood(head, piece=b"x" * 10_000):
    """An answer without an end, or almost: 100 MB are enough to fail."""
    return Answer(raw=lambda: itertools.chain([head], itertools.repeat(piece, 10_000)))


def drip(head, piece=b"x"):
    """An answer without an end that sends a piece every 10 ms."""
    return Answer(raw=lambda: itertools.chain([head], iter(lambda: time.sleep(0.01) or piece, None)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server, name = self.server, urlsplit(self.path).path.rpartition("/")[2]
        server.requests.append((name, self.headers["Range"]))
        server.paths.append(self.path)
        plan = server.plans.get(name, [GOOD])
        answer = plan.pop(0) if len(plan) > 1 else plan[0]  # the last one is repeated
        if answer.raw:
            self.close_connection = True
            with contextlib.suppress(ConnectionError):
                for piece in answer.raw():
                    self.wfile.write(piece)
            return
        content = server.files.get(name) if answer.content is None else answer.content
        if answer.status != 200 or content is None:
            return self.reply(answer.status if answer.status != 200 else 404, b"sorry")
        start, headers = 0, {}
        if self.headers["Range"] and answer.ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            headers["Content-Range"] = answer.content_range or f"bytes {start}-{len(content) - 1}/{len(content)}"
        rest = content[start:]
        headers["Content-Length"] = len(rest) + answer.announced
        return self.reply(206 if start else 200, rest[: answer.cut], headers, answer.stall)

    def reply(self, status, content, headers=None, stall=False):
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # the other side may have closed it
            self.send_response(status)
            for name, value in ({"Connection": "close", "Content-Length": len(content)} | (headers or {})).items():
                if value is not None:
                    self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()
            if stall:
                self.server.stopping.wait(10)


@pytest.fixture
def serve():
    """Starts servers on loopback. `plans` are the answers to the requests for a file, one after the other."""
    servers = []

    def start(files, plans=None):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.files, server.plans = files, {name: list(answers) for name, answers in (plans or {}).items()}
        server.requests, server.paths, server.stopping = [], [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stopping.set()
        server.shutdown()
        server.server_close()
