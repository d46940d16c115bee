"""The log of a server: a line a request on standard output, messages on standard error.

A thread writes them. If it cannot keep up or a disk is full, lines are lost, and the server runs on.
"""

import datetime
import json
import os
import queue
import threading
from urllib.parse import quote

MOST_WAITING = 1 << 24  # characters of lines
FORMATS = ("line", "json", "off")


class Log:
    """Writes what happens. format: of requests, one in `FORMATS`; log_texts: whether texts are in it.

    files: descriptors of where requests and messages are written.
    """

    def __init__(self, format="line", log_texts=False, files=(1, 2)):
        self.format, self.log_texts = format, log_texts
        self.requests, self.messages = files
        self.lost = 0  # lines
        self.queue, self.waiting = queue.SimpleQueue(), 0  # lines, and their characters
        self.lock = threading.Lock()  # of the two numbers
        self.thread = threading.Thread(target=self._run, name="log", daemon=True)
        self.thread.start()

    def message(self, text):
        """Writes a line for the person who runs the server."""
        self._put(self.messages, text)

    def request(self, scope, status, seconds):
        """Writes a line for a request, with what the application has added to `scope["log"]`."""
        if self.format == "off":
            return
        entry = {
            "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
            "client": (scope["client"] or ["-"])[0],
            "method": scope["method"],
            "path": quote(scope["path"]),
            "status": status,
            "ms": round(seconds * 1000, 1),
        }
        if texts := scope["log"].get("texts"):
            entry |= {"model": scope["log"]["model"], "rows": len(texts)}
            if self.log_texts:
                entry["texts"] = texts
        if self.format == "json":
            line = encoded(entry)
        else:
            line = " ".join(encoded(value) if isinstance(value, list) else str(value) for value in entry.values())
        self._put(self.requests, line)

    def close(self):
        """Waits a second at most for the lines that are not written."""
        self._put(None, "")
        self.thread.join(timeout=1)

    def _put(self, file, line):
        with self.lock:
            if self.waiting > MOST_WAITING:
                self.lost += 1
                return
            self.waiting += len(line)
        self.queue.put((file, line))

    def _run(self):
        while True:
            file, line = self.queue.get()
            if file is None:
                return
            is_lost = False
            try:
                os.write(file, f"{line}\n".encode(errors="backslashreplace"))
            except OSError:
                is_lost = True
            with self.lock:
                self.waiting -= len(line)
                self.lost += is_lost


def encoded(value):
    return json.dumps(value, ensure_ascii=False)
