"""Measures a server under load from another process, beside the speed of predict.py.

    python -m benchmarks.serving --checkpoint THUCNews/saved_dict/TextCNN.ckpt --dataset THUCNews
    python -m benchmarks.serving --checkpoint F --dataset D --clients 256 --rows 64 -- --workers 2

Arguments after `--` are flags of serve.py. Each client has a connection, and sends a request as soon as the answer to
the one before has arrived. Prints a table in Markdown. An answer counts as an error if its status is not 200 or if it
has another number of predictions.
"""

from cli.start import run_script

import contextlib
import itertools
import json
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import psutil

from cli.console import MOST, Parser, UserError, echo, number, split_arguments
from cli.files import ROOT
from text.labelled import read_split

REQUESTS = 512  # different ones
WARM_UP = 20.0  # seconds, in which the memory grows to what the largest batches take
PATIENCE = 120  # seconds in which the server must be ready


class Client:
    """A connection that repeats requests. start: the index of its first one."""

    def __init__(self, address, requests, start):
        self.connection = socket.create_connection(address)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.requests = itertools.cycle(requests[start:] + requests[:start])
        self.answer, self.sent = b"", 0.0

    def send(self):
        self.answer, self.sent = b"", time.perf_counter()
        self.connection.sendall(next(self.requests))

    def receive(self):
        """Reads what has arrived; returns whether the answer is complete."""
        self.answer += self.connection.recv(1 << 18)
        head, found, body = self.answer.partition(b"\r\n\r\n")
        if not found:
            return False
        length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
        return len(body) >= length

    def is_right(self, rows):
        """Whether the answer has so many predictions."""
        head, _, body = self.answer.partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200 ") and len(json.loads(body)["predictions"]) == rows


def load(address, texts, clients, rows, seconds):
    """Sends requests of so many rows for some seconds; returns the duration, all latencies and the number of errors."""
    stream = itertools.cycle(texts)
    requests = [request_of(list(itertools.islice(stream, rows))) for _ in range(REQUESTS)]
    latencies, errors = [], 0
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
        for i in range(clients):
            client = Client(address, requests, i * REQUESTS // clients)
            stack.enter_context(client.connection)
            selector.register(client.connection, selectors.EVENT_READ, client)
            client.send()
        start, active = time.perf_counter(), clients
        while active:
            for key, _ in selector.select():
                client = key.data
                if not client.receive():
                    continue
                now = time.perf_counter()
                latencies.append(now - client.sent)
                errors += not client.is_right(rows)
                if now - start < seconds:
                    client.send()
                else:
                    selector.unregister(client.connection)
                    active -= 1
        return time.perf_counter() - start, np.array(latencies), errors


def request_of(texts):
    body = json.dumps({"texts": texts}, ensure_ascii=False).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextlib.contextmanager
def served(checkpoint, flags):
    """Starts serve.py; yields its process and address when it is ready."""
    command = [sys.executable, str(ROOT / "serve.py"), "--checkpoint", checkpoint, "--port", "0", "--access_log", "off"]
    process = subprocess.Popen([*command, *flags], stderr=subprocess.PIPE, encoding="utf-8")
    try:
        line = process.stderr.readline()
        found = re.search(r"http://([\d.]+):(\d+)", line)
        if not found:
            raise UserError(f"serve.py does not start: {line.strip()}")
        address = found[1], int(found[2])
        end = time.monotonic() + PATIENCE
        while not is_ready(address):
            if process.poll() is not None or time.monotonic() > end:
                process.terminate()  # ends what is read next
                raise UserError(f"serve.py is not ready: {process.stderr.read()}")
            time.sleep(0.1)
        yield psutil.Process(process.pid), address
    finally:
        process.terminate()
        process.wait()


def is_ready(address):
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(f"http://{address[0]}:{address[1]}/readyz").status == 200
    return False


def predicted_per_second(checkpoint, texts, count):
    """The rows a second of predict.py, without its start."""
    with tempfile.TemporaryDirectory() as directory:
        seconds = []
        for rows in (1, count):
            file = Path(directory) / f"{rows}.txt"
            lines = (text.replace("\n", " ") for text in itertools.islice(itertools.cycle(texts), rows))
            file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            start = time.perf_counter()
            command = [sys.executable, ROOT / "predict.py", "--checkpoint", checkpoint, "--input", file]
            subprocess.run([*command, "--output", file.with_suffix(".tsv")], check=True, stderr=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
    return (count - 1) / (seconds[1] - seconds[0])


def memory_of(process):
    """The memory of a process and its children, in MB."""
    return sum(one.memory_info().rss for one in [process, *process.children(recursive=True)]) / 2**20


def main():
    own, flags = split_arguments(sys.argv[1:])
    parser = Parser(__doc__)
    parser.add_argument("--checkpoint", required=True, help="checkpoint file or exported directory")
    parser.add_argument("--dataset", required=True, help="directory of the dataset whose test split is sent")
    parser.add_argument(
        "--clients", nargs="+", type=number(int, 1, 10_000), default=[1, 16, 256], help="numbers of clients"
    )
    parser.add_argument(
        "--rows", nargs="+", type=number(int, 1, MOST), default=[1, 64], help="numbers of rows a request"
    )
    parser.add_argument("--seconds", type=number(float, 0, open_low=True), default=10.0, help="seconds of each load")
    parser.add_argument("--predict_rows", type=number(int, 2), default=100_000, help="rows that predict.py gets")
    args = parser.parse_args(own)

    texts, _ = read_split(args.dataset, "test")
    if Path(args.checkpoint).is_file():
        echo(f"predict.py: {predicted_per_second(args.checkpoint, texts, args.predict_rows):,.0f} rows/s\n")
    with served(args.checkpoint, flags) as (process, address):
        load(address, texts, max(args.clients), max(args.rows), WARM_UP)
        before = memory_of(process)
        echo("| clients | rows a request | requests/s | rows/s | p50, ms | p99, ms | errors | memory, MB |")
        echo("|---|---|---|---|---|---|---|---|")
        total = 0
        for rows, clients in itertools.product(args.rows, args.clients):
            seconds, latencies, errors = load(address, texts, clients, rows, args.seconds)
            total += len(latencies)
            p50, p99 = np.percentile(latencies, [50, 99]) * 1000
            per_second = len(latencies) / seconds
            speeds = f"{per_second:,.0f} | {per_second * rows:,.0f} | {p50:.1f} | {p99:.1f}"
            echo(f"| {clients} | {rows} | {speeds} | {errors} | {memory_of(process):.0f} |")
        echo(f"\n{total:,} requests; memory {before:.0f} MB before them, {memory_of(process):.0f} MB after")


if __name__ == "__main__":
    run_script(main)
