"""A dispatch over HTTP survives kill -9 of the server at any moment: who sends it again has exactly one job, and who
listens hears of each."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from pathlib import Path
from random import Random
from threading import Timer
from typing import NamedTuple, Self
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
from tests.support.waiting import until
from tests.support.watched_worker import WAIT_SECONDS

SEED = 20_261_123
_SOAKED = int(os.environ.get("KILL_ROUNDS", "0"))
ROUNDS = {"postgres": _SOAKED or 200, "sqlite": _SOAKED or 50}
LATEST_SECONDS = 0.03
"""Answers take a few milliseconds: kills come before, in the middle and after."""


class Told(NamedTuple):
    """What a client was answered in the end, and how often it had to ask."""

    job_id: UUID
    tries: int


class Follower:
    """Listens to the tenant's events, and comes back with its last id whenever the server has died."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.jobs: list[UUID] = []
        """Those whose dispatch it was told of, as it was told."""
        self._client = httpx.Client(base_url=url, headers=headers, timeout=WAIT_SECONDS)
        self._last_id: str | None = None
        self._has_begun, self._enough = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._follow, name="follower")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._has_begun.wait(WAIT_SECONDS), "its stream did not begin"
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()

    def join(self) -> None:
        """It ends with the server."""
        self._thread.join()
        self._client.close()

    def _follow(self) -> None:
        while not self._enough.is_set():
            try:
                self._listen()
            except httpx.TransportError:
                self._enough.wait(0.01)

    def _listen(self) -> None:
        headers = {} if self._last_id is None else {"Last-Event-ID": self._last_id}
        with self._client.stream("GET", "/v1/tenants/acme/events", headers=headers) as stream:
            assert stream.status_code == 200, stream.read()
            told: dict[str, str] = {}
            for line in stream.iter_lines():
                name, _, value = line.partition(": ")
                told[name] = value
                if not line:
                    self._take(told)
                    told = {}

    def _take(self, told: dict[str, str]) -> None:
        """What a whole event says; one of which a part came only does not count."""
        if "data" in told:
            self.jobs.append(UUID(json.loads(told["data"])["job_id"]))
        if "id" in told:
            self._last_id = told["id"]
            self._has_begun.set()


@pytest.mark.timeout(900 + 2 * _SOAKED)
@pytest.mark.parametrize("engine", ["postgres", "sqlite"])
def test_a_server_killed_at_any_moment_leaves_one_job(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The client asks again with the same key until it is answered: one job, and it is the one it was told of. Who
    listened all the while, over all these deaths, was told of each job once, in order."""
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
        with Follower(server.url, headers) as follower:
            for number in range(ROUNDS[engine]):
                told[f"round-{number}"] = _round(server, client, f"round-{number}", random.uniform(0, LATEST_SECONDS))
            until(lambda: len(follower.jobs) >= len(told), "somebody was not told of")
    follower.join()
    assert max(one.tries for one in told.values()) > 1, f"nobody was cut off, with seed {SEED}"
    dispatched = _dispatched(database)
    assert dispatched == {name: [one.job_id] for name, one in told.items()}, f"seed {SEED}"
    assert follower.jobs == [job for jobs in dispatched.values() for job in jobs]


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
