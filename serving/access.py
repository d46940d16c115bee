"""Counts requests, and writes them into the log."""

import time


class Access:
    """ASGI middleware around all others.

    paths: those that are counted one by one, since a client may ask for any; metrics: a `Metrics`; log: a `Log`.
    """

    def __init__(self, app, paths, metrics, log):
        self.app, self.paths, self.metrics, self.log = app, paths, metrics, log

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 0
        scope["log"] = {}  # what the application adds

        async def counted(message):
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            seconds = time.perf_counter() - start
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.observe_request(path, status or 499, seconds)  # 499: the client has gone
            self.log.request(scope, status or 499, seconds)
