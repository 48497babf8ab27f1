"""Clients, and what is behind them: a server, or the fake of `jobledger.testing`; for threads, and for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from jobledger.client import AsyncClient, Client
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.service import Service, publish_types, worker_options
from jobledger.infrastructure.settings import load
from jobledger.testing import AsyncFakeClient, FakeClient, InMemoryLedger

from .blocking import blocking
from .http_app import app
from .server import RunningServer, running_server
from .watched_worker import WAIT_SECONDS

TENANTS = ("acme", "other")
WORLDS = ("server", "server-async", "fake", "fake-async")


class World(NamedTuple):
    """A client for the tenant `acme` that may do everything, and what runs its jobs."""

    client: Client
    run_jobs: Callable[[], object]
    worker: Callable[[], Client]
    """A client that may work: the key of a person may not."""
    is_fake: bool


@contextmanager
def sqlite_server(folder: Path) -> Iterator[RunningServer]:
    """A server with the tenants and the job types of `http_app`."""
    with running_server(f"sqlite:///{folder}/ledger.db", folder) as server:
        with closing(open_ledger(load(database=server.database), app=app)) as handle:
            publish_types(handle, app)
        with Client(server.url, server.key) as client:
            for tenant in TENANTS:
                client.tenants.create(tenant, reason="a customer")
        yield server


@contextmanager
def world(name: str, server: Callable[[], RunningServer]) -> Iterator[World]:
    """One of `WORLDS`."""
    kind, _, manner = name.partition("-")
    if kind == "fake":
        ledger = InMemoryLedger(app, tenants=TENANTS)
        if not manner:
            fake: Client = FakeClient(ledger, tenant="acme")
            yield World(fake, ledger.drain, lambda: fake, is_fake=True)
            return
        with asyncio.Runner() as runner:
            fake = blocking(runner, AsyncFakeClient(ledger, tenant="acme"))
            yield World(fake, ledger.drain, lambda: fake, is_fake=True)
        return
    with ExitStack() as ending:
        yield _served(server(), ending, ending.enter_context(asyncio.Runner()) if manner else None)


def _served(running: RunningServer, ending: ExitStack, runner: asyncio.Runner | None) -> World:
    def client_with(key: str) -> Client:
        if runner is not None:
            real = AsyncClient(running.url, key, tenant="acme", deadline_seconds=WAIT_SECONDS)
            return ending.enter_context(closing(blocking(runner, real)))
        return ending.enter_context(Client(running.url, key, tenant="acme", deadline_seconds=WAIT_SECONDS))

    client = client_with(running.key)

    def worker() -> Client:
        return client_with(client.keys.create("a worker", [{"role": "worker"}], reason="a test").credential)

    return World(client, lambda: drain(running.database), worker, is_fake=False)


def drain(database: str) -> None:
    """Run what is ready in a ledger."""
    with closing(open_ledger(load(database=database), app=app)) as handle:
        options = worker_options(handle.settings, app, drain=True)
        Service(handle, app, options, projections=False, maintenance=False).run()
