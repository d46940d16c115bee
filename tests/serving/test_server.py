"""A server as a process: clients of all kinds, reloads and signals."""

import contextlib
import http.client
import itertools
import json
import shutil
import signal
import socket
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from served import serving, until

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform != "linux", reason="needs the signals and /dev/full of Linux"),
]
TEXTS = ["体验2D巅峰", "", "股票大涨"]
CONNECTIONS = 1000


@pytest.fixture(scope="module")
def directory(exported_svm, tmp_path_factory):
    """An exported directory that tests change."""
    return shutil.copytree(exported_svm, tmp_path_factory.mktemp("served") / "svm")


@pytest.fixture(scope="module")
def server(directory):
    """A process that serves it, whose log cannot be written."""
    with open("/dev/full", "wb") as full:
        arguments = "--checkpoint", directory, "--max_connections", CONNECTIONS + 50
        with serving(*arguments, stdout=full) as found:
            yield found
            assert found.stop() == 0


def labels(server, texts=TEXTS):
    status, content = server.ask("POST", "/predict", {"texts": texts})
    assert status == 200, content
    return [row["label"] for row in content["predictions"]]


def raw(server, content):
    """What the server answers to these bytes until it closes the connection."""
    with server.connect() as connection:
        connection.sendall(content)
        with connection.makefile("rb") as file:
            return file.read()


def test_it_predicts_as_the_export_and_needs_no_torch(server, exported_svm):
    from exporting.predict_onnx import Predict

    assert labels(server) == Predict(exported_svm).predict_list(TEXTS)
    assert "torch" not in Path(f"/proc/{server.process.pid}/maps").read_text()


@pytest.mark.parametrize(
    "content, status",
    [
        (b"hello\r\n\r\n", b"400"),
        (b"POST /predict HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"POST /predict HTTP/1.1\r\nConnection: close\r\nContent-Length: 3\r\n\r\n{x}", b"422"),
    ],
)
def test_broken_requests(server, content, status):
    assert raw(server, content).split(b" ")[1] == status
    assert labels(server)


@pytest.mark.parametrize(
    "start, piece",
    [
        (b"GET / HTTP/1.1\r\nX: ", b"x"),
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"x"),
        (b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n", b"a: b\r\n"),
    ],
    ids=["head", "chunk", "trailers"],
)
def test_a_head_without_an_end(server, start, piece):
    with server.connect() as connection, contextlib.suppress(ConnectionError):
        connection.sendall(start + piece * 200_000)
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert labels(server)


def test_pipelined_requests(server):
    body = json.dumps({"texts": ["股票"] * 9000}).encode()
    request = b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    answers = raw(server, request + request + b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answers.count(b"HTTP/1.1 200 OK") == 3


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_of_100_mb(server, is_chunked):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    piece = b"x" * 1_000_000
    headers = {} if is_chunked else {"Content-Length": "100000000"}
    connection.request("POST", "/predict", itertools.repeat(piece, 100), headers, encode_chunked=is_chunked)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)) == (413, {"detail": "the body has more than 4000000 bytes"})
    connection.close()


def test_1000_connections_hold_nobody_up(server):
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CONNECTIONS + 500:
        pytest.skip(f"a process may open {hard} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CONNECTIONS + 500), hard))
    with ExitStack() as stack:
        for i in range(CONNECTIONS):
            connection = stack.enter_context(server.connect())
            connection.sendall(b"POST /predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n"[: i % 50])
        assert labels(server)
        refused = [stack.enter_context(server.connect()) for _ in range(100)][-1]
        assert b" 503 " in refused.recv(1000)
    until(server.is_ready)
    assert labels(server)


def test_a_reload_loses_no_request(server, directory):
    stopped, answers = threading.Event(), []

    def send():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        while not stopped.is_set():
            connection.request("POST", "/predict", json.dumps({"texts": TEXTS}))
            answers.append((connection.getresponse().read(), len(versions)))
        connection.close()

    versions = {server.ask("GET", "/models")[1]["models"][0]["version"]}
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        count = len(answers)
        change(directory)
        status, content = server.ask("POST", "/reload")
        assert status == 200
        versions.add(content["models"]["svm"])
        until(lambda count=count: len(answers) > count + 8)
    change(directory)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.ask("GET", "/models")[1]["models"][0]["version"] not in versions)
    stopped.set()
    for thread in threads:
        thread.join()
    assert len(versions) == 4
    assert {answer for answer, _ in answers} == {answers[0][0]}


def change(directory):
    """Changes the digest of an exported directory, not what it predicts."""
    file = directory / "model.json"
    (directory / "new").write_bytes(file.read_bytes() + b"\n")
    (directory / "new").rename(file)


def test_a_bad_file_leaves_the_old_model(server, directory):
    file = directory / "model.json"
    content = file.read_bytes()
    file.write_text('{"format": "x"}', encoding="utf-8")
    status, answer = server.ask("POST", "/reload")
    assert status == 422
    assert answer["detail"].startswith(f"{directory}: model.json: format is 'x'")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: len([line for line in server.lines if line.startswith("Not reloaded: ")]) == 2)
    assert labels(server)
    file.write_bytes(content)


def test_slow_clients_are_cut_off(exported_svm):
    with serving("--checkpoint", exported_svm, "--client_timeout", 1) as server:
        assert raw(server, b"") == b""
        assert raw(server, b"POST /predict HT") == b""
        answer = raw(server, b"POST /predict HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.endswith(b'{"detail": "the body did not arrive within 1 s"}')
        with server.connect() as one, server.connect() as two:  # they ask for much, and read nothing
            body = json.dumps({"texts": ["股票"] * 10_000, "top_k": 3}).encode()
            request = b"POST /predict HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            for connection, content in ((one, request), (two, request * 6)):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(content)
            own = psutil.Process(server.process.pid)
            until(lambda: not [one for one in own.net_connections() if one.status == "ESTABLISHED"])
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0


def test_the_end_waits_for_the_requests_at_hand(exported_svm):
    with serving("--checkpoint", exported_svm) as server:
        answers = []
        query = {"texts": ["词汇阅读是关键 08年考研暑期英语复习全指南"] * 500, "explain": True}
        thread = threading.Thread(target=lambda: answers.append(server.ask("POST", "/predict", query)))
        thread.start()
        until(lambda: answers or "classifier_rows_total{" in server.ask("GET", "/metrics")[1])
        assert server.stop() == 0
        thread.join()
        assert answers[0][0] == 200
        assert len(answers[0][1]["predictions"]) == 500
