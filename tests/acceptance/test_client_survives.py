"""Clients whose server dies under them, comes back, is at a Unix socket, or says that it has had enough."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from threading import Timer
from typing import Literal, NamedTuple
from uuid import UUID

import httpx
import pytest

from jobledger import Ledger
from jobledger.client import AsyncClient, Client, DispatchRequest, TooManyRequests, Unauthenticated
from jobledger.domain.job import JobDispatched
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.settings import load
from tests.support.client_worlds import sqlite_server
from tests.support.forking_server import ForkingServer
from tests.support.http_app import app
from tests.support.server import RunningServer, first_key, running_server
from tests.support.watched_worker import WAIT_SECONDS

SEED = 20_261_123
ROUNDS = 8
LATEST_SECONDS = 0.03
Moment = Literal["before the request", "before the answer"]


class Mortal(NamedTuple):
    """A server that can be killed, and started again."""

    server: ForkingServer
    database: str
    key: str
    begun: int = 0
    """The position at which the test began."""

    def restart(self) -> None:
        """Kill it, and start the next one."""
        self.server.kill()
        self.server.start()

    def client(self, transport: httpx.BaseTransport | None = None) -> Client:
        """A client that goes on asking."""
        http = httpx.Client(transport=transport)
        return Client(self.server.url, self.key, tenant="acme", deadline_seconds=WAIT_SECONDS, http=http)

    def jobs(self) -> list[UUID]:
        """All jobs that were dispatched since the test began."""
        with closing(open_ledger(load(database=self.database))) as handle:
            events = handle.ports.reader.read_after(self.begun, limit=100_000).events
        return [event.originator_id for event in events if isinstance(event.facts, JobDispatched)]


class KillsOnce(httpx.HTTPTransport):
    """Lets the server be killed when the first dispatch is on its way."""

    def __init__(self, mortal: Mortal, moment: Moment) -> None:
        super().__init__()
        self._mortal = mortal
        self._moment = moment
        self.has_killed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; where it is time to, to a server that dies, or without telling what that answered."""
        is_time = request.method == "POST" and not self.has_killed
        self.has_killed = self.has_killed or is_time
        if is_time and self._moment == "before the request":
            self._mortal.restart()
        response = super().handle_request(request)
        if is_time and self._moment == "before the answer":
            response.read()
            self._mortal.restart()
            raise httpx.ReadError("the connection was reset", request=request)
        return response


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """A server on a ledger in a file."""
    database = f"sqlite:///{tmp_path_factory.mktemp('mortal')}/ledger.db"
    key = first_key(database)
    with Ledger.open(database, app=app) as ledger:
        ledger.tenants.create("acme", reason="a customer")
        ledger.types.register(app)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ForkingServer(database, port) as server:
        server.start()
        yield Mortal(server, database, key)


@pytest.fixture
def mortal(serving: Mortal) -> Mortal:
    """The same, as one test sees it."""
    with closing(open_ledger(load(database=serving.database))) as handle:
        return serving._replace(begun=handle.ports.reader.head())


@pytest.mark.parametrize("moment", ["before the request", "before the answer"])
@pytest.mark.parametrize("is_keyed", [True, False])
def test_a_dispatch_survives_the_servers_death(mortal: Mortal, moment: Moment, is_keyed: bool) -> None:
    """Killed before it was asked, or after the job was durable and before it said so: the client asks again by itself,
    and there is one job, the one that it was told of."""
    transport, key = KillsOnce(mortal, moment), f"killed {moment}" if is_keyed else None
    with mortal.client(transport) as client:
        told = client.dispatch("number.double", {"number": 1}, idempotency_key=key)
        assert transport.has_killed
        assert mortal.jobs() == [told.job_id]
        assert client.jobs.get(told.job_id).status == "pending"


@pytest.mark.parametrize("moment", ["before the request", "before the answer"])
def test_many_dispatches_survive_it(mortal: Mortal, moment: Moment) -> None:
    """One job for each item, in their order."""
    items = [DispatchRequest(type="number.double", payload={"number": number}) for number in range(700)]
    with mortal.client(KillsOnce(mortal, moment)) as client:
        told = [result.unwrap().job_id for result in client.dispatch_many(items)]
    assert mortal.jobs() == told
    assert len(set(told)) == 700


def test_dispatches_survive_it_at_any_moment(mortal: Mortal) -> None:
    """Killed again and again while it is asked: the client notices nothing but time."""
    random, told = Random(SEED), []
    with mortal.client() as client:
        for number in range(ROUNDS):
            killing = Timer(random.uniform(0, LATEST_SECONDS), mortal.restart)
            killing.start()
            told.append(client.dispatch("number.double", {"number": number}).job_id)
            killing.join()
    assert mortal.jobs() == told, f"seed {SEED}"


def test_who_follows_misses_nothing(mortal: Mortal) -> None:
    """Across a restart: each event once, in order."""
    with (
        mortal.client() as client,
        closing(client.events(topics=["job.dispatched"], after=_beginning(client))) as events,
    ):
        first = [client.dispatch("number.double").job_id for _ in range(3)]
        seen = [event.job_id for event in islice(events, 2)]
        mortal.restart()
        second = [client.dispatch("number.double").job_id for _ in range(3)]
        seen += [event.job_id for event in islice(events, 4)]
    assert seen == [*first, *second]


def _beginning(client: Client) -> str:
    """The position of a first job."""
    position = client.dispatch("number.double").position
    assert position is not None
    return position


# --- sockets, keys and limits ----------------------------------------------------------------------------------------


@contextmanager
def at_socket(folder: Path, server: RunningServer) -> Iterator[Path]:
    """The same ledger served at a Unix socket, too."""
    place = folder / "api.sock"
    with running_server(server.database, folder, "--uds", str(place), "--no-projections", key=server.key):
        yield place


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that nobody kills."""
    with sqlite_server(tmp_path_factory.mktemp("client")) as running:
        yield running


def test_a_socket_is_as_good_as_a_port(server: RunningServer, tmp_path: Path) -> None:
    """Named by its path, or by a URL."""
    with at_socket(tmp_path, server) as place:
        with Client(uds=place, key=server.key, tenant="acme") as client:
            job = client.dispatch("number.double").job_id
        with Client(f"http+unix://{place}", server.key, tenant="acme") as client:
            assert client.jobs.get(job).status == "pending"

        async def status() -> str:
            async with AsyncClient(uds=place, key=server.key, tenant="acme") as client:
                return (await client.jobs.get(job)).status

        assert asyncio.run(status()) == "pending"


@pytest.mark.parametrize("key", [None, "jl_nobody.x", "a.b.c"])
def test_a_key_is_needed(server: RunningServer, key: str | None) -> None:
    """Without one that is known nothing is told."""
    with Client(server.url, key, tenant="acme") as client, pytest.raises(Unauthenticated) as refused:
        client.dispatch("number.double")
    assert (refused.value.code, refused.value.status) == ("unauthenticated", 401)


def test_a_rate_slows_down_and_then_refuses(server: RunningServer, tmp_path: Path) -> None:
    """What is asked too often is asked again when the server says; who has no time for that is told."""
    settings = {"JOBLEDGER_HTTP_REQUESTS_PER_SECOND": "2"}
    with running_server(server.database, tmp_path, "--no-projections", key=server.key, settings=settings) as slow:
        with Client(slow.url, slow.key, tenant="acme") as patient:
            jobs = [patient.dispatch("number.double").job_id for _ in range(4)]
        assert len(set(jobs)) == 4
        with (
            Client(slow.url, slow.key, tenant="acme", deadline_seconds=0.1) as hurried,
            pytest.raises(TooManyRequests) as refused,
        ):
            _ = [hurried.tenants.list() for _ in range(20)]
    assert (refused.value.status, refused.value.retry_after_seconds) == (429, 1.0)
