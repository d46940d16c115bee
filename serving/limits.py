"""What a client may do: its key, the size of its body and the time for it, and the number of connections."""

import asyncio
import hmac
import json
from contextlib import suppress

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.sockets import is_loopback

MOST_HELD = 1 << 26  # bytes of bodies that are in memory at a time
MOST_OF_HEAD = 1 << 16  # bytes of a request's line and headers, and of what is not body after them
OPEN = ("/", "/healthz", "/readyz", "/openapi.json")  # paths that need no key
STATIC = "/static/"  # nor do those below it
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    b"form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
SECURITY = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
NOT_STORED, CLOSE, RETRY = (b"cache-control", b"no-store"), (b"connection", b"close"), (b"retry-after", b"1")
FULL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Guard:
    """ASGI middleware that checks the key, reads the body within limits, and adds headers of security.

    key: expected in `Authorization: Bearer KEY` or `X-API-Key: KEY`, None for none; max_bytes: of a body; seconds: in
    which a body must arrive.
    """

    def __init__(self, app, key, max_bytes, seconds):
        self.app, self.key, self.max_bytes, self.seconds = app, key and key.encode(), max_bytes, seconds
        self.held, self.most_held = 0, max(MOST_HELD, max_bytes)

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        send, path, headers = with_security(send), scope["path"], dict(scope["headers"])
        if self.key and path not in OPEN and not path.startswith(STATIC) and not self._has_key(headers):
            return await answer(send, 401, "the key is missing or wrong", (b"www-authenticate", b"Bearer"))
        if path == "/reload" and not self.key and not is_loopback(scope["client"]):
            return await answer(send, 403, "without a key, only this machine may reload")
        if int(headers.get(b"content-length", 0)) > self.max_bytes:
            return await self._refuse_body(receive, send)
        body = bytearray()
        try:
            status, more = await self._read(body, receive)
            if status == 413:
                return await self._refuse_body(receive, send, more)
            if status == 408:
                return await answer(send, 408, f"the body did not arrive within {self.seconds:g} s", CLOSE)
            if status == 503:
                return await answer(send, 503, "too many large bodies are arriving", RETRY, CLOSE)
            if status == 200:
                return await self.app(scope, replayed(bytes(body), receive), send)
        finally:
            self.held -= len(body)

    async def _read(self, body, receive):
        """Reads a body; returns the status of an answer, 0 if the client is gone, and whether there is more."""
        more = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        return 0, False
                    part, more = message.get("body", b""), message.get("more_body", False)
                    body += part
                    self.held += len(part)
                    if len(body) > self.max_bytes:
                        return 413, more
                    if self.held > self.most_held:
                        return 503, more
                return 200, False
        return 408, True

    async def _refuse_body(self, receive, send, more=True):
        """Answers 413. Reads on for a while, since a client that is still sending does not see the answer otherwise."""
        await answer(send, 413, f"the body has more than {self.max_bytes} bytes", CLOSE, is_last=False)
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                while more:
                    message = await receive()
                    more = message["type"] == "http.request" and message.get("more_body", False)
        await send({"type": "http.response.body"})

    def _has_key(self, headers):
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        given = token.strip() if scheme.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        return hmac.compare_digest(given, self.key)


def with_security(send):
    """`send` with the headers of security; responses are not stored, unless they say something else."""

    async def wrapped(message):
        if message["type"] == "http.response.start":
            headers = [*message["headers"], *SECURITY]
            if all(name != NOT_STORED[0] for name, _ in message["headers"]):
                headers.append(NOT_STORED)
            message = message | {"headers": headers}
        await send(message)

    return wrapped


def replayed(body, receive):
    """A `receive` of a body that was read already."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def wrapped():
        return messages.pop() if messages else await receive()

    return wrapped


async def answer(send, status, detail, *headers, is_last=True):
    """Sends a JSON object with this detail."""
    content = json.dumps({"detail": detail}).encode()
    size = (b"content-length", str(len(content)).encode())
    start = {"type": "http.response.start", "status": status}
    await send(start | {"headers": [(b"content-type", b"application/json"), size, *headers]})
    await send({"type": "http.response.body", "body": content, "more_body": not is_last})


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 with at most `most_connections` at a time, heads and trailers of at most `MOST_OF_HEAD` bytes."""

    def __init__(self, *args, most_connections, **kwargs):
        super().__init__(*args, **kwargs)
        self.most_connections = most_connections
        self.pending = 0  # bytes since the last part of a body, or since a head or body was complete
        self.quiet_since = self.loop.time()
        self.unread_since = None  # when the client has left too much of the answers unread

    def connection_made(self, transport):
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.write(FULL)
            transport.close()

    def data_received(self, data):
        self.pending += len(data)
        super().data_received(data)
        if self.pending > MOST_OF_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head has more than {MOST_OF_HEAD} bytes.")

    def on_headers_complete(self):
        super().on_headers_complete()
        self.pending = 0

    def on_body(self, body):
        super().on_body(body)
        self.pending = 0

    def on_message_complete(self):
        super().on_message_complete()
        self.pending = 0

    def on_response_complete(self):
        super().on_response_complete()
        self.quiet_since = self.loop.time()

    def pause_writing(self):
        super().pause_writing()
        self.unread_since = self.loop.time()

    def resume_writing(self):
        super().resume_writing()
        self.unread_since = None

    def close_if_quiet(self, seconds):
        """Closes the connection if for so long it is without a complete head, or its client reads no answer."""
        is_quiet = self.cycle is None or self.cycle.response_complete
        since = self.quiet_since if is_quiet else self.unread_since  # pipelined requests wait for the answers before
        if since is not None and self.loop.time() - since > seconds:
            self.transport.abort()
