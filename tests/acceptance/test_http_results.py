"""Waiting for what becomes of a job, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest

from jobledger.application.key_messages import CreateKey
from jobledger.application.message import Actor
from jobledger.domain.identity import Grant, Role
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.settings import load
from tests.support.server import RunningServer

from .http_server import client, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"


@contextmanager
def client_for(server: RunningServer, role: Role) -> Iterator[httpx.Client]:
    """A client with a key of a role."""
    handle = open_ledger(load(database=server.database))
    try:
        actor, grants = Actor(id="test:admin"), (Grant(role=role),)
        made = handle.dispatcher.execute(
            CreateKey(actor=actor, key_name=role.value, grants=grants, reason="a test")
        ).unwrap()  # fmt: skip
    finally:
        handle.close()
    with server.client(made.credential) as client:
        yield client


@pytest.fixture
def worker(server: RunningServer) -> Iterator[httpx.Client]:
    """A worker's client."""
    with client_for(server, Role.WORKER) as client:
        yield client


class Job:
    """A job in a queue of its own, and the worker that takes it."""

    def __init__(self, client: httpx.Client, worker: httpx.Client, **about: object) -> None:
        self._worker = worker
        self._queue = f"results-{uuid4().hex[:8]}"
        body = {"type": "number.double", "queue": self._queue, "payload": {"number": 4}, **about}
        self.path = client.post(f"{TENANT}/jobs", json=body).headers["Location"]

    def end(self, how: str, **said: object) -> None:
        """Take it, and end its attempt."""
        claimed = self._worker.post("/v1/leases/claim", json={"worker": "w1", "queues": [self._queue]})
        (lease,) = claimed.json()["leases"]
        ended = self._worker.post(f"{lease['path']}/{how}", json={"worker": "w1", **said})
        assert ended.status_code == 200, ended.text


def test_a_result_is_told_once_there_is_one(client: httpx.Client, worker: httpx.Client) -> None:
    """202 until then, and when to ask again; then 200 with what the handler returned."""
    job = Job(client, worker)
    early = client.get(f"{job.path}/result")
    assert (early.status_code, early.json()["status"], early.headers["Retry-After"]) == (202, "pending", "1")
    job.end("complete", result={"number": 8})
    told = client.get(f"{job.path}/result")
    assert (told.status_code, told.headers["ETag"]) == (200, f'"{told.json()["version"]}"')
    result = told.json()
    assert (result["status"], result["result"], result["result_shown"]) == ("completed", {"number": 8}, True)
    assert result["error"] is None


def test_who_waits_is_told_as_soon_as_it_ended(client: httpx.Client, worker: httpx.Client) -> None:
    """Many wait at once, more than the server has threads, and all are told."""
    job = Job(client, worker)

    def wait(_number: int) -> dict[str, Any]:
        answered = client.get(f"{job.path}/result", params={"wait_seconds": 30}, timeout=60)
        assert answered.status_code == 200, answered.text
        answer: dict[str, Any] = answered.json()
        return answer

    with ThreadPoolExecutor(80) as waiting:
        told = waiting.map(wait, range(80))
        job.end("complete", result={"number": 9})
        assert {answer["result"]["number"] for answer in told} == {9}


def test_what_failed_for_good_says_why(client: httpx.Client, worker: httpx.Client) -> None:
    """A dead job has no result but an error; one that was cancelled has neither."""
    job = Job(client, worker)
    job.end("fail", error_type="Refused", message="it is wrong", never_retry=True)
    told = client.get(f"{job.path}/result", params={"wait_seconds": 5}).json()
    assert (told["status"], told["result"], told["result_shown"]) == ("dlq", None, False)
    assert (told["error"]["type"], told["error"]["message"]) == ("Refused", "it is wrong")
    cancelled = Job(client, worker)
    client.post(f"{cancelled.path}/cancel", json={"reason": "no"})
    told = client.get(f"{cancelled.path}/result").json()
    assert (told["status"], told["result"], told["error"]) == ("cancelled", None, None)


def test_a_wait_ends_with_its_time(client: httpx.Client, worker: httpx.Client) -> None:
    """202 then; and nobody waits longer than 30 seconds."""
    job = Job(client, worker)
    waited = client.get(f"{job.path}/result", params={"wait_seconds": 0.2})
    assert (waited.status_code, waited.json()["status"]) == (202, "pending")
    for wrong in ("-1", "31", "x"):
        refused = client.get(f"{job.path}/result", params={"wait_seconds": wrong})
        assert (refused.status_code, refused.json()["field"]) == (422, "query.wait_seconds")


def test_who_may_not_see_data_is_told_the_rest(
    client: httpx.Client, worker: httpx.Client, server: RunningServer
) -> None:
    """An operator learns that it completed, not what came out; that a result was seen is in the audit."""
    job = Job(client, worker)
    job.end("complete", result={"number": 8})
    with client_for(server, Role.OPERATOR) as operator:
        told = operator.get(f"{job.path}/result").json()
    assert (told["status"], told["result"], told["result_shown"]) == ("completed", None, False)
