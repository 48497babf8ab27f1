"""Clients, and what is behind them: a server, or the fake of `jobledger.testing`; for threads, and for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
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
            yield World(FakeClient(ledger, tenant="acme"), ledger.drain)
            return
        with asyncio.Runner() as runner:
            yield World(blocking(runner, AsyncFakeClient(ledger, tenant="acme")), ledger.drain)
        return
    running = server()

    def run_jobs() -> None:
        drain(running.database)

    if not manner:
        with Client(running.url, running.key, tenant="acme", deadline_seconds=WAIT_SECONDS) as client:
            yield World(client, run_jobs)
        return
    with asyncio.Runner() as runner:
        client = blocking(runner, AsyncClient(running.url, running.key, tenant="acme", deadline_seconds=WAIT_SECONDS))
        with closing(client):
            yield World(client, run_jobs)


def drain(database: str) -> None:
    """Run what is ready in a ledger."""
    with closing(open_ledger(load(database=database), app=app)) as handle:
        options = worker_options(handle.settings, app, drain=True)
        Service(handle, app, options, projections=False, maintenance=False).run()
