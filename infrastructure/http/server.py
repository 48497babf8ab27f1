"""A server: the application behind uvicorn, on a port and on a Unix socket, started and ended in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib.metadata import version as installed_version
from pathlib import Path
from threading import Event, Thread

import structlog
import uvicorn
from anyio import CapacityLimiter
from fastapi import FastAPI

from jobledger.application.accesses import Accesses, AccessesThread
from jobledger.application.authorization import Authorization
from jobledger.application.known_keys import KnownKeys
from jobledger.application.positions import Positions
from jobledger.domain.errors import InvalidSettings

from ..bootstrap import LedgerHandle
from ..identities import open_authenticator
from ..metrics.requests import ServerLoad
from .app import make_app
from .connections import LOOK_SECONDS, PATIENCE, guarded, look_after
from .cursors import Cursors
from .feed import feeding
from .operations import Operations
from .rates import FailedProofs, Rates, Streams
from .services import Services
from .waiting import listening

THREADS = 64
"""Requests that may wait for the ledger at a time; more wait for one of these."""
WAITING_THREADS = 16
"""Of these, those that may wait for lists to show what was written."""
_BACKLOG = 2_048
_GRACE_SECONDS = 10

_log = structlog.get_logger("jobledger.http")


@contextmanager
def services_for(handle: LedgerHandle) -> Iterator[Services]:
    """What an open ledger's server needs; to be closed before the ledger is."""
    settings = handle.settings
    key = settings.signing_key
    handle.room.bound(WAITING_THREADS)
    authorization = Authorization(handle.dispatcher, handle.ports.catalogue)
    known = KnownKeys(handle.ports.keys, handle.ports.clock)
    known.renew()
    with (
        _recording(authorization.accesses),
        open_authenticator(handle) as authenticator,
        listening(handle.wake_up) as waiting,
        feeding(handle.ports.reader) as feed,
        closing(Operations(handle.ports.clock.now)) as operations,
    ):
        yield Services(
            handle, authorization, authenticator,
            Cursors(key.get_secret_value().encode() if key is not None else secrets.token_bytes(32)),
            Rates(settings.http_requests_per_second, handle.ports.clock.monotonic), waiting, feed, operations,
            Streams(settings.http_streams_max), FailedProofs(handle.ports.clock.monotonic, known),
            Positions(handle.ports.reader),
        )  # fmt: skip


@contextmanager
def _recording(accesses: Accesses) -> Iterator[None]:
    """Record who asked during the block, sums of it too, and what is left at its end."""
    thread = AccessesThread(accesses)
    thread.start()
    with closing(thread):
        yield


def make_server_app(services: Services) -> FastAPI:
    """The application, as the settings want it."""
    settings = services.handle.settings
    return make_app(
        services, body_bytes_max=settings.http_body_bytes_max, version=installed_version("jobledger"),
        trusted_proxies=settings.http_trusted_proxies,
    )  # fmt: skip


class Server:
    """Serves an application on its sockets, in a thread of its own, from `start` to `close`."""

    def __init__(self, app: FastAPI, *, host: str | None, port: int = 0, uds: Path | None = None) -> None:
        """`host` None: only the Unix socket `uds`. Port 0 takes any that is free; `port` tells which."""
        self.patience, self.look_seconds = PATIENCE, LOOK_SECONDS
        self._app = app
        self._host = host
        self.port = port
        self._uds = uds
        self._closing = ExitStack()
        self._server: uvicorn.Server | None = None
        self._ended = Event()
        self._thread: Thread | None = None
        self._threads: CapacityLimiter | None = None

    @property
    def url(self) -> str | None:
        """Where it listens, for people; None where only on a Unix socket."""
        if self._host is None:
            return None
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Listen, and serve. `InvalidSettings` where that place is taken."""
        sockets = self._listen()
        connections_max = self._app.state.services.handle.settings.http_connections_max
        config = uvicorn.Config(
            self._app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=_GRACE_SECONDS,
            backlog=_BACKLOG, server_header=False, proxy_headers=False, h11_max_incomplete_event_size=65_536,
            ws="none", http=guarded(connections_max),
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = Thread(target=self._serve, args=(sockets,), name="jobledger-http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take no more requests, finish those under way, close the sockets."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._app.state.services.waiting.close()
            self._app.state.services.feed.close()
            self._thread.join()
        self._closing.close()

    @property
    def has_died(self) -> bool:
        """Whether it ended by itself."""
        return self._ended.is_set()

    def load(self) -> ServerLoad:
        """What it has to do just now."""
        services: Services = self._app.state.services
        threads = None if self._threads is None else self._threads.statistics()
        return ServerLoad(
            services.requests.snapshot(), services.streams.open,
            0 if self._server is None else len(self._server.server_state.connections), THREADS,
            0 if threads is None else threads.borrowed_tokens, 0 if threads is None else threads.tasks_waiting,
        )  # fmt: skip

    def _serve(self, sockets: list[socket.socket]) -> None:
        assert self._server is not None
        try:
            asyncio.run(self._limited(self._server, sockets))
        finally:
            self._ended.set()

    async def _limited(self, server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        from anyio.to_thread import current_default_thread_limiter  # noqa: PLC0415 - needs the loop

        self._threads = current_default_thread_limiter()
        self._threads.total_tokens = THREADS
        watching = asyncio.create_task(look_after(server.server_state.connections, self.patience, self.look_seconds))
        try:
            await server._serve(sockets)
        finally:
            watching.cancel()

    def _listen(self) -> list[socket.socket]:
        sockets = []
        if self._host is not None:
            sockets.append(self._closing.enter_context(_tcp(self._host, self.port)))
            self.port = sockets[0].getsockname()[1]
        if self._uds is not None:
            sockets.append(self._closing.enter_context(_unix(self._uds)))
            self._closing.callback(self._uds.unlink, missing_ok=True)
        return sockets


def _tcp(host: str, port: int) -> socket.socket:
    """Made for TCP by name: asyncio sends small answers at once only where it sees that protocol."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidSettings(
            f"cannot listen on {host}:{port}: {error.strerror or error}", field="JOBLEDGER_HTTP_PORT",
            rule="a port that is free, of an address of this machine",
            hint="is another server running? choose another with --port",
        ) from error  # fmt: skip
    return listening


def _unix(path: Path) -> socket.socket:
    """A socket that only this user may connect to. One that a dead server left is replaced."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        _remove_dead(path)
        mask = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(mask)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise InvalidSettings(
            f"cannot listen on {path}: {error.strerror or error}", field="--uds",
            rule="a path that is free, shorter than 100 bytes, in a folder that can be written to",
        ) from error  # fmt: skip
    return listening


def _remove_dead(path: Path) -> None:
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return  # it is not ours to remove: binding says so
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
