"""A process that serves: the application with its limits, on a socket, until a signal ends it."""

import asyncio
import contextlib
import functools
import signal

import uvicorn

from cli.console import UserError
from serving.access import Access
from serving.app import create_app
from serving.batcher import Batcher, Refused
from serving.limits import Guard, Protocol
from serving.log import Log
from serving.metrics import Metrics
from serving.service import LOADING, STOPPING, Service
from serving.sockets import allow_files

FILES = 256  # that a process opens beside its connections
GRACE = 5  # seconds that clients have for the rest of their answers when the server stops


class Server(uvicorn.Server):
    """Serves a Service. SIGTERM and SIGINT end it as soon as all requests at hand are answered, SIGHUP reloads.

    log: a `Log`; seconds: those of `Protocol.close_if_quiet`; when_ready: called when the models are loaded, or None.
    """

    def __init__(self, config, service, log, seconds, when_ready):
        super().__init__(config)
        self.service, self.log, self.seconds, self.when_ready = service, log, seconds, when_ready
        self.error = None  # with which loading failed
        self.running = set()  # tasks, which would be collected otherwise

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self._start(self._load())
        self._start(self._close_quiet())

    @contextlib.contextmanager
    def capture_signals(self):
        loop = asyncio.get_running_loop()
        actions = {"SIGINT": self._stop, "SIGTERM": self._stop, "SIGBREAK": self._stop, "SIGHUP": self._reload}
        actions = {getattr(signal, name): action for name, action in actions.items() if hasattr(signal, name)}

        def handle(number, frame):
            if number == signal.SIGINT and self.service.state == STOPPING:  # the second Ctrl-C
                self.force_exit = True
            loop.call_soon_threadsafe(lambda: self._start(actions[number]()))

        before = {number: signal.signal(number, handle) for number in actions}
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # see `workers.hangup_blocked`
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _start(self, work):
        task = asyncio.ensure_future(work)
        self.running.add(task)
        task.add_done_callback(self.running.discard)

    async def _load(self):
        try:
            if self.service.state == LOADING:
                await asyncio.to_thread(self.service.load)
            if self.when_ready:
                self.when_ready()
        except Exception as error:
            self.error, self.should_exit = error, True

    async def _reload(self):
        with contextlib.suppress(UserError, Refused):  # the service has logged it
            await self.service.reload()

    async def _stop(self):
        if self.service.state != STOPPING:
            self.log.message("Stopping when the requests at hand are answered")
            await self.service.stop()
        self.should_exit = True

    async def _close_quiet(self):
        while True:
            await asyncio.sleep(self.seconds / 4)
            for connection in list(self.server_state.connections):
                connection.close_if_quiet(self.seconds)


def serve(socket, paths, args, is_first=True, when_ready=None, when_changed=None):
    """Serves models at a socket until a signal ends it.

    paths: of the models, by name; args: the flags of `serve.py`; is_first: whether it listens while it loads, and
    answers that it is not ready; when_ready: called when it is; when_changed: called after a request for a reload has
    succeeded. Raises UserError if a model is not valid.
    """
    allow_files(args.max_connections + FILES)
    log, metrics = Log(args.access_log, args.log_texts), Metrics()
    batcher = Batcher(args.batch_ms / 1000, args.batch_characters, args.max_queue, metrics.observe_batch, log)
    service = Service(paths, batcher, log, device=args.device, amp=args.amp, share=1 / args.workers)
    if not is_first:
        service.load()
    app = create_app(service, args, metrics, when_changed)
    guarded = Guard(app, args.key, args.max_bytes, args.client_timeout)
    config = uvicorn.Config(
        Access(guarded, {route.path for route in app.routes}, metrics, log),
        http=functools.partial(Protocol, most_connections=args.max_connections),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=args.client_timeout,
        timeout_graceful_shutdown=GRACE,
    )
    server = Server(config, service, log, args.client_timeout, when_ready)
    server.run([socket])
    if not server.force_exit:
        batcher.close()
    log.close()
    if server.error:
        raise server.error
