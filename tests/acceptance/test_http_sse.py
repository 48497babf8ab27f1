"""Live events over HTTP: what is recorded is told, in order, once, across lost connections and servers."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

from jobledger.application.commands import DispatchJob
from jobledger.application.dispatch_item import Dispatch
from jobledger.application.key_messages import CreateKey, RevokeKey
from jobledger.application.message import Actor
from jobledger.domain.identity import Grant, Role
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.settings import load
from tests.support.http_keys import key_for
from tests.support.postgres import TestCluster
from tests.support.server import RunningServer, running_server
from tests.support.watched_worker import WAIT_SECONDS

from .http_server import client, prepare, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"
ADMIN = Actor(id="test:admin")


class Told(NamedTuple):
    """An event as it came."""

    id: str
    data: dict[str, Any]

    @property
    def what(self) -> tuple[str, int]:
        """Which it is."""
        return str(self.data["job_id"]), int(self.data["version"])


class Listening:
    """A connection that is told events; `last_id` is where to go on."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last_id: str | None = None

    def next(self) -> Told:
        """The next event."""
        for told in self:
            return told
        raise AssertionError("the stream has ended")

    def __iter__(self) -> Iterator[Told]:
        """All events until the stream ends."""
        data = ""
        for line in self._lines:
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                data = value
            elif not line and data:
                yield Told(self.last_id or "", json.loads(data))
                data = ""


@contextmanager
def listening(client: httpx.Client, path: str, last_id: str | None = None, **params: Any) -> Iterator[Listening]:  # noqa: ANN401
    """Listen to a stream, once it says that it has begun."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with client.stream("GET", path, params=params, headers=headers, timeout=WAIT_SECONDS) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Encoding" not in response.headers
        listening = Listening(response.iter_lines())
        if last_id is None and "after" not in params:
            _until_begun(listening)
        yield listening


def _until_begun(listening: Listening) -> None:
    for line in listening._lines:
        name, _, value = line.partition(": ")
        if name == "id":
            listening.last_id = value
            return


def dispatch(client: httpx.Client, tenant: str = "acme", **about: object) -> dict[str, Any]:
    """Dispatch a job."""
    answered = client.post(f"/v1/tenants/{tenant}/jobs", json={"type": "number.double", **about})
    assert answered.status_code == 201, answered.text
    answer: dict[str, Any] = answered.json()
    return answer


def cancel(client: httpx.Client, job_id: str) -> None:
    """Cancel a job."""
    assert client.post(f"{TENANT}/jobs/{job_id}/cancel", json={"reason": "no need"}).status_code == 200


@pytest.fixture
def handle(server: RunningServer) -> Iterator[LedgerHandle]:
    """The server's ledger."""
    handle = open_ledger(load(database=server.database))
    try:
        yield handle
    finally:
        handle.close()


def test_what_happens_is_told_as_it_happens(client: httpx.Client) -> None:
    """From now on: a job's events with their facts and never a payload, none of another tenant's."""
    with listening(client, f"{TENANT}/events") as stream:
        dispatch(client, "other")
        job = dispatch(client, payload={"number": 4_711})
        cancel(client, job["job_id"])
        born, gone = stream.next(), stream.next()
    assert (born.id, born.what, born.data["topic"]) == (job["position"], (job["job_id"], 1), "job.dispatched")
    assert (gone.what, gone.data["topic"], gone.data["why"]) == ((job["job_id"], 2), "job.cancelled", "no need")
    assert (born.data["tenant"], born.data["type"], born.data["queue"]) == ("acme", "number.double", "default")
    assert "4711" not in json.dumps(born.data)


def test_one_goes_on_where_one_left_off(client: httpx.Client) -> None:
    """With Last-Event-ID, or a position as `after`, nothing is missed and nothing told again."""
    with listening(client, f"{TENANT}/events") as stream:
        first = dispatch(client)
        assert stream.next().what == (first["job_id"], 1)
        last_id = stream.last_id
    missed = [dispatch(client)["job_id"] for _ in range(5)]
    with listening(client, f"{TENANT}/events", last_id) as stream:
        assert [stream.next().what for _ in missed] == [(job, 1) for job in missed]
        more = dispatch(client)
        assert stream.next().what == (more["job_id"], 1)
    with listening(client, f"{TENANT}/events", after=first["position"]) as stream:
        assert stream.next().what == (missed[0], 1)


def test_one_hears_only_what_one_asked_for(client: httpx.Client) -> None:
    """By type, queue, persona and topic."""
    persona = uuid4().hex
    with ExitStack() as streams:
        by_type = streams.enter_context(listening(client, f"{TENANT}/events", type="number.refuse"))
        by_queue = streams.enter_context(listening(client, f"{TENANT}/events", queue="quiet"))
        by_persona = streams.enter_context(listening(client, f"{TENANT}/events", persona=persona))
        by_topic = streams.enter_context(listening(client, f"{TENANT}/events", topic=["job.cancelled"]))
        plain = dispatch(client)["job_id"]
        cancel(client, plain)
        typed = dispatch(client, type="number.refuse")["job_id"]
        queued = dispatch(client, queue="quiet")["job_id"]
        own = dispatch(client, persona=persona)["job_id"]
        assert by_type.next().what == (typed, 1)
        assert by_queue.next().what == (queued, 1)
        assert by_persona.next().what == (own, 1)
        assert by_topic.next().what == (plain, 2)


def test_all_of_one_job(client: httpx.Client) -> None:
    """A job is told from its first event on, and goes on after a Last-Event-ID."""
    job = dispatch(client)["job_id"]
    path = f"{TENANT}/jobs/{job}/events"
    with client.stream("GET", path, timeout=WAIT_SECONDS) as response:
        stream = Listening(response.iter_lines())
        assert stream.next().what == (job, 1)
        last_id = stream.last_id
        dispatch(client)
        cancel(client, job)
        assert stream.next().what == (job, 2)
    with client.stream("GET", path, headers={"Last-Event-ID": str(last_id)}, timeout=WAIT_SECONDS) as response:
        assert Listening(response.iter_lines()).next().what == (job, 2)


@pytest.mark.parametrize(
    ("params", "headers", "field"),
    [
        ({"topic": "job.invented"}, {}, "query.topic"),
        ({"topic": "tenant.created"}, {}, "query.topic"),
        ({"after": "x"}, {}, "query.after"),
        ({}, {"Last-Event-ID": "7"}, "header.Last-Event-ID"),
        ({}, {"Last-Event-ID": "elsewhere.7"}, "header.Last-Event-ID"),
    ],
)
def test_what_is_wrong_is_named(
    client: httpx.Client, params: dict[str, str], headers: dict[str, str], field: str
) -> None:
    """422, also for an id of before the ledger was restored."""
    refused = client.get(f"{TENANT}/events", params=params, headers=headers)
    assert (refused.status_code, refused.json()["field"]) == (422, field)


def test_of_nobody_nothing_is_told(client: httpx.Client, server: RunningServer) -> None:
    """Unknown tenants are 404, impossible ones 422, and without a key it is 401."""
    assert client.get("/v1/tenants/nobody/events").json()["code"] == "unknown_tenant"
    assert client.get("/v1/tenants/a%00b/events").json()["field"] == "path.tenant"
    assert httpx.get(f"{server.url}{TENANT}/events").status_code == 401


def test_an_identity_hears_of_its_tenants_and_queues_only(
    client: httpx.Client, server: RunningServer, handle: LedgerHandle
) -> None:
    """A key for one queue of one tenant: other queues are not told, and refused; other tenants do not exist for it."""
    grant = Grant(role=Role.OPERATOR, tenants=frozenset({"acme"}), queues=frozenset({"quiet"}))
    key = handle.dispatcher.execute(CreateKey(actor=ADMIN, key_name="quiet", grants=(grant,), reason="a test")).unwrap()
    with server.client(key.credential) as limited, listening(limited, f"{TENANT}/events") as stream:
        other = dispatch(client)["job_id"]
        own = dispatch(client, queue="quiet")["job_id"]
        assert stream.next().what == (own, 1)
        assert limited.get(f"{TENANT}/events", params={"queue": "default"}).status_code == 403
        assert limited.get(f"{TENANT}/jobs/{other}/events").status_code == 404
        assert limited.get("/v1/tenants/other/events").json()["code"] == "unknown_tenant"


def test_an_identity_has_so_many_streams_at_a_time(client: httpx.Client, server: RunningServer) -> None:
    """One more is 429, with the time to come back; others still get theirs."""
    made = key_for(client, "operator", tenants=["acme"])
    with ExitStack() as ending:
        greedy = ending.enter_context(server.client(made.credential))
        for _ in range(load().http_streams_max):
            ending.enter_context(listening(greedy, f"{TENANT}/events"))
        refused = greedy.get(f"{TENANT}/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["Retry-After"]) > 0
        ending.enter_context(listening(client, f"{TENANT}/events"))


def test_who_lost_his_key_is_told_no_more(client: httpx.Client, server: RunningServer, handle: LedgerHandle) -> None:
    """A stream ends soon after its key was revoked."""
    grant = Grant(role=Role.OPERATOR)
    key = handle.dispatcher.execute(CreateKey(actor=ADMIN, key_name="lost", grants=(grant,), reason="a test")).unwrap()
    with server.client(key.credential) as lost, listening(lost, f"{TENANT}/events") as stream:
        job = dispatch(client)["job_id"]
        assert stream.next().what == (job, 1)
        handle.dispatcher.execute(RevokeKey(actor=ADMIN, key_id=key.key.key_id, reason="lost")).unwrap()
        assert list(stream) == []


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A ledger of the test's own."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    cluster: TestCluster = request.getfixturevalue("postgres_cluster")
    with cluster.database(migrated=True) as url:
        yield url


def test_nothing_is_missed_when_a_server_dies(database: str, tmp_path: Path) -> None:
    """Killed between two events and started again on the same ledger: who goes on after his last id is told each event
    exactly once, in order, also those that were recorded before the server died and not told."""
    with running_server(database, tmp_path) as first:
        prepare(first)
        with first.client() as client, listening(client, f"{TENANT}/events") as stream:
            jobs = [dispatch(client)["job_id"] for _ in range(3)]
            told = [stream.next().what[0]]
            last_id = stream.last_id
            jobs.append(dispatch(client)["job_id"])
            first.process.send_signal(signal.SIGKILL)
            first.process.wait(WAIT_SECONDS)
    with ExitStack() as ending:
        client = ending.enter_context(ending.enter_context(running_server(database, tmp_path, key=first.key)).client())
        stream = ending.enter_context(listening(client, f"{TENANT}/events", last_id))
        told += [stream.next().what[0] for _ in range(3)]
        jobs.append(dispatch(client)["job_id"])
        told.append(stream.next().what[0])
    assert told == jobs


def test_a_server_that_stops_ends_its_streams(database: str, tmp_path: Path) -> None:
    """In order, and at once: nobody is waited for."""
    with running_server(database, tmp_path) as server:
        prepare(server)
        with server.client() as client, listening(client, f"{TENANT}/events") as stream:
            server.process.send_signal(signal.SIGTERM)
            assert list(stream) == []
        assert server.process.wait(WAIT_SECONDS) == 0


@contextmanager
def dispatching(database: str) -> Iterator[list[str]]:
    """Another program dispatches all the time, whether a server is there or not; the ids, in their order."""
    handle = open_ledger(load(database=database))
    jobs: list[str] = []
    enough = threading.Event()

    def dispatch_on() -> None:
        item = Dispatch("number.double", tenant="acme")
        while not enough.is_set():
            receipt = handle.dispatcher.execute(DispatchJob(actor=ADMIN, item=item)).unwrap()
            jobs.append(str(receipt.job_id))
            enough.wait(0.002)

    thread = threading.Thread(target=dispatch_on)
    thread.start()
    try:
        yield jobs
    finally:
        enough.set()
        thread.join()
        handle.close()


def test_servers_that_die_again_and_again_cost_nothing(database: str, tmp_path: Path) -> None:
    """Killed at random moments while jobs are dispatched without a pause: whoever comes back each time with his last id
    has heard of all jobs in the end, each once, in order."""
    random, told = Random(11), list[str]()
    with running_server(database, tmp_path) as server:
        prepare(server)
        with server.client() as client:
            begin: str | None = dispatch(client)["position"]
    with dispatching(database) as jobs:
        for _ in range(3):
            with served(database, tmp_path, server.key, begin) as (process, stream):
                told += [stream.next().what[0] for _ in range(random.randint(1, 150))]
                begin = stream.last_id
                process.send_signal(signal.SIGKILL)
                process.wait(WAIT_SECONDS)
    with served(database, tmp_path, server.key, begin) as (_, stream):
        told += [stream.next().what[0] for _ in range(len(jobs) - len(told))]
    assert told == jobs


@contextmanager
def served(
    database: str, folder: Path, key: str, last_id: str | None
) -> Iterator[tuple[subprocess.Popen[bytes], Listening]]:
    """A server on a ledger that is there, and one who comes back to it."""
    with ExitStack() as ending:
        server = ending.enter_context(running_server(database, folder, key=key))
        client = ending.enter_context(server.client())
        yield server.process, ending.enter_context(listening(client, f"{TENANT}/events", last_id))
