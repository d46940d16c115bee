"""A real browser for tests, driven over pipes with https://chromedevtools.github.io/devtools-protocol."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking")
FLAGS += ("disable-component-update", "disable-sync", "disable-dev-shm-usage", "remote-debugging-pipe")
PATIENCE = 60  # seconds until a test gives up
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "End": (35, "")}


class Browser:
    """Chromium with one page. directory: a new one, for its profile and what it downloads."""

    def __init__(self, directory):
        program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
        if os.name == "nt":
            pytest.skip("browsers take no pipes on Windows")
        if not program:
            pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed, and CHROMIUM names none")
        self.downloads = directory / "downloads"
        self.downloads.mkdir()
        theirs, self.output = os.pipe()
        self.input, back = os.pipe()
        flags = [f"--{flag}" for flag in FLAGS] + [f"--user-data-dir={directory / 'profile'}", "about:blank"]
        redirected = f'exec "$@" 3</dev/fd/{theirs} 4>/dev/fd/{back}'  # the browser reads from 3 and writes to 4
        self.process = subprocess.Popen(
            ["sh", "-c", redirected, "sh", program, *flags],
            pass_fds=(theirs, back),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs)
        os.close(back)
        self.rest, self.number, self.session, self.events = b"", 0, None, []
        (target,) = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")
        path = str(self.downloads)
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=path, eventsEnabled=True)

    def call(self, method, **params):
        """The result of a command of the protocol."""
        number = self.send(method, **params)
        while True:
            message = self.receive()
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def send(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        return self.number

    def receive(self):
        """The next message. An event is also kept in `events`."""
        while b"\0" not in self.rest:
            assert select.select([self.input], [], [], PATIENCE)[0], "the browser does not answer"
            block = os.read(self.input, 1 << 20)
            assert block, "the browser has ended"
            self.rest += block
        content, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(content)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message

    def show(self, width=1280, height=900, language="en-US", dark=False, scale=1):
        """Sets the size of the page, the languages that the browser asks for, and the colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **metrics)
        self.call("Emulation.setUserAgentOverride", userAgent="test", acceptLanguage=language)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        """Opens a page and forgets the events before."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for_event("Page.loadEventFired")

    def evaluate(self, expression):
        """The value of an expression of JavaScript, a promise's too."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression):
        """Waits until an expression is true and returns its value."""
        deadline = time.monotonic() + PATIENCE
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.02)
        return value

    def wait_for_event(self, name, condition=lambda params: True):
        """Waits for an event, which may have come already, and returns its parameters."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for method, params in self.events:
                if method == name and condition(params):
                    return params
            self.receive()
        raise AssertionError(f"no event {name}")

    def text(self, selector):
        """What an element shows."""
        return self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    def click(self, selector):
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def focus(self, selector):
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")

    def type(self, text):
        """Puts a text in where the focus is, at once."""
        self.call("Input.insertText", text=text)

    def press(self, key):
        code, text = KEYS[key]
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def picture(self, path, **options):
        """Writes a picture of the page. options: of `Page.captureScreenshot`."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", **options)["data"]))

    def close(self):
        os.close(self.output)
        os.close(self.input)
        self.process.wait(PATIENCE)
