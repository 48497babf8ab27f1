"""`FakeClient` and `AsyncFakeClient`: the clients of `jobledger.client` over a ledger in memory."""

from __future__ import annotations

from dataclasses import replace

import httpx

from jobledger.application.app import App

from ..client.asynchronous import AsyncClient
from ..client.core import Core
from ..client.driving import AsyncDriver, Driver
from ..client.threaded import Client
from .fake_server import FakeServer
from .ledger import InMemoryLedger

_URL = "http://jobledger.test"
_SOMEWHERE_BETWEEN = 0.5


class _Behind:
    """The ledger behind a fake, and its time: while a client waits, its workers work."""

    def __init__(self, ledger: InMemoryLedger | App) -> None:
        self.ledger = ledger if isinstance(ledger, InMemoryLedger) else InMemoryLedger(ledger)
        server = FakeServer(
            self.ledger.dispatcher, self.ledger._memory.reader, self.ledger.actor, work=self.ledger.drain,
            pass_time=self.ledger.clock.advance,
        )  # fmt: skip
        self.transport = httpx.MockTransport(server)

    def core(self, core: Core) -> Core:
        """The same with the ledger's time; nobody is waited for."""
        monotonic = self.ledger.clock.monotonic
        return replace(core, monotonic=monotonic, draw=lambda: _SOMEWHERE_BETWEEN, wait_seconds=0.0)

    def pause(self, seconds: float) -> None:
        """Let time pass, and the workers work."""
        self.ledger.clock.advance(seconds)
        self.ledger.drain()

    async def pause_coroutine(self, seconds: float) -> None:
        """As `pause`."""
        self.pause(seconds)


class FakeClient(Client):
    """A `Client` whose server is a ledger in memory: `client.ledger`, with its clock, its `drain` and its assertions.

    What is wrong with a request is told as by the real one. Nothing runs until `client.ledger.drain()` is called, or
    until the client waits: for a result, say. Then the clock goes on and jobs run, in no time.
    """

    ledger: InMemoryLedger

    def __init__(self, ledger: InMemoryLedger | App, *, tenant: str | None = None) -> None:
        """`ledger` is one, or the app that one is made for (with the tenant `acme`)."""
        behind = _Behind(ledger)
        super().__init__(_URL, tenant=tenant, http=httpx.Client(transport=behind.transport))
        self.ledger = behind.ledger
        self._connect(behind.core(self._core), Driver(self._http, behind.pause), self._close)


class AsyncFakeClient(AsyncClient):
    """As `FakeClient`, for coroutines."""

    ledger: InMemoryLedger

    def __init__(self, ledger: InMemoryLedger | App, *, tenant: str | None = None) -> None:
        """As `FakeClient`."""
        behind = _Behind(ledger)
        super().__init__(_URL, tenant=tenant, http=httpx.AsyncClient(transport=behind.transport))
        self.ledger = behind.ledger
        self._connect(behind.core(self._core), AsyncDriver(self._http, behind.pause_coroutine), self._close)
