"""A dispatch over HTTP survives kill -9 of the server at any moment: who sends it again has exactly one job."""

from __future__ import annotations

import socket
import time
from collections import Counter
from pathlib import Path
from random import Random
from threading import Timer
from typing import NamedTuple
from uuid import UUID

import httpx
import pytest

from jobledger import Ledger
from jobledger.domain.job import JobDispatched
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.settings import load
from tests.support.forking_server import ForkingServer
from tests.support.http_app import app
from tests.support.server import first_key
from tests.support.watched_worker import WAIT_SECONDS

SEED = 20_261_123
ROUNDS = {"postgres": 200, "sqlite": 20}
LATEST_SECONDS = 0.03
"""Answers take a few milliseconds: kills come before, in the middle and after."""


class Told(NamedTuple):
    """What a client was answered in the end, and how often it had to ask."""

    job_id: UUID
    tries: int


@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["postgres", "sqlite"])
def test_a_server_killed_at_any_moment_leaves_one_job(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The client asks again with the same key until it is answered: one job, and it is the one it was told of."""
    database = request.getfixturevalue("postgres_dsn") if engine == "postgres" else f"sqlite:///{tmp_path}/ledger.db"
    key, random = first_key(database), Random(SEED)
    with Ledger.open(database, app=app) as ledger:
        ledger.tenants.create("acme", reason="a customer")
        ledger.types.register(app)
    told: dict[str, Told] = {}
    headers = {"Authorization": f"Bearer {key}"}
    with (
        ForkingServer(database, _free_port()) as server,
        httpx.Client(base_url=server.url, headers=headers, timeout=WAIT_SECONDS) as client,
    ):
        server.start()
        _until_ready(client)
        for number in range(ROUNDS[engine]):
            told[f"round-{number}"] = _round(server, client, f"round-{number}", random.uniform(0, LATEST_SECONDS))
    assert max(one.tries for one in told.values()) > 1, f"nobody was cut off, with seed {SEED}"
    assert _dispatched(database) == {name: [one.job_id] for name, one in told.items()}, f"seed {SEED}"


def _round(server: ForkingServer, client: httpx.Client, name: str, seconds: float) -> Told:
    """Ask for a job while the server is killed, that many seconds later; where there was no answer, ask the next."""
    killing = Timer(seconds, server.kill)
    killing.start()
    try:
        answer = _asked(client, name)
    finally:
        killing.join()
    server.start()
    _until_ready(client)
    if answer is not None:
        return Told(answer, 1)
    answer = _asked(client, name)
    assert answer is not None, "a server that nobody kills answers"
    return Told(answer, 2)


def _asked(client: httpx.Client, name: str) -> UUID | None:
    """The job; None where the server was gone."""
    try:
        answered = client.post(
            "/v1/tenants/acme/jobs", json={"type": "number.double", "payload": {"number": 1}},
            headers={"Idempotency-Key": name},
        )  # fmt: skip
    except httpx.TransportError:
        return None
    assert answered.status_code in (200, 201), answered.text
    return UUID(answered.json()["job_id"])


def _until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _dispatched(database: str) -> dict[str, list[UUID]]:
    """The jobs in the ledger, by key."""
    handle = open_ledger(load(database=database))
    try:
        events = handle.ports.reader.read_after(0, limit=100_000).events
    finally:
        handle.close()
    jobs: dict[str, list[UUID]] = {}
    for event in events:
        if isinstance(event.facts, JobDispatched):
            jobs.setdefault(str(event.facts.idempotency_key), []).append(event.originator_id)
    assert Counter(map(len, jobs.values())).keys() <= {1}, "a key has one job"
    return jobs
