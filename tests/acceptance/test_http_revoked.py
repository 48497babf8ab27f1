"""A key that is revoked ends what it began, as soon as anything more would be done or shown for it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.http_keys import key_for
from tests.support.server import RunningServer
from tests.support.waiting import until

from .http_server import client, server

__all__ = ["client", "server"]

JOBS = "/v1/tenants/acme/jobs"
BLOB = {
    "name": "blob.keep", "effects": "none", "payload_schema": {"type": "object"}, "result_schema": {"type": "null"}
}  # fmt: skip


class Revocable:
    """A key of one role."""

    def __init__(self, server: RunningServer, admin: httpx.Client, role: str, *extra: str) -> None:
        made = key_for(admin, role, tenants=["acme"], extra=extra)
        self._admin, self._key_id = admin, made.key_id
        self.client = server.client(made.credential)

    def revoke(self) -> None:
        """Revoke it, and wait until no server believes it any more."""
        revoked = self._admin.post(f"/v1/keys/{self._key_id}/revoke", json={"reason": "a test"})
        assert revoked.status_code == 200, revoked.text
        until(lambda: self.client.get("/v1/tenants").status_code == 401)


@pytest.fixture
def emitter(server: RunningServer, client: httpx.Client) -> Iterator[Revocable]:
    """Who dispatches and waits for results."""
    made = Revocable(server, client, "emitter")
    with made.client:
        yield made


@pytest.fixture
def worker(server: RunningServer, client: httpx.Client) -> Iterator[Revocable]:
    """Who runs jobs."""
    made = Revocable(server, client, "worker")
    with made.client:
        yield made


def test_a_batch_that_goes_on_ends(emitter: Revocable) -> None:
    """Lines that come after are not dispatched, and the summary says why."""

    def lines() -> Iterator[bytes]:
        yield b'{"type": "number.double"}\n'
        emitter.revoke()
        yield b'{"type": "number.double"}\n'

    headers = {"Content-Type": "application/jsonl"}
    with emitter.client.stream("POST", f"{JOBS}/bulk", content=lines(), headers=headers) as answered:
        said = [json.loads(line) for line in answered.iter_lines()]
    last = said[-1]  # a summary, or where nothing was settled before, the problem itself
    assert last.get("summary", {"problem": last})["problem"]["code"] == "unauthenticated"
    assert {line["line"] for line in said[:-1]} <= {1}


def test_a_claim_that_waits_takes_nothing(worker: Revocable, client: httpx.Client) -> None:
    """A job that comes after is not handed out."""
    asked = {"worker": "w1", "queues": ["revoked"], "types": ["number.double"], "limit": 1, "wait_seconds": 20}
    with ThreadPoolExecutor(1) as waiting:
        claimed = waiting.submit(worker.client.post, "/v1/leases/claim", json=asked)
        until(lambda: "/w1" in client.get("/v1/workers").text)  # the claim has come that far
        worker.revoke()
        job = client.post(JOBS, json={"type": "number.double", "queue": "revoked"})
        assert job.status_code == 201
        answered = claimed.result()
    assert answered.json()["leases"] == []
    assert client.get(job.headers["Location"]).json()["status"] == "pending"


def test_a_result_that_was_waited_for_is_not_shown(emitter: Revocable, client: httpx.Client) -> None:
    """Who waits for the end of a job hears 401."""
    place = client.post(JOBS, json={"type": "number.double"}).headers["Location"]
    with ThreadPoolExecutor(1) as waiting:
        result = waiting.submit(emitter.client.get, f"{place}/result", params={"wait_seconds": "20"})
        emitter.revoke()
        cancelled = client.post(f"{place}/cancel", json={"reason": "a test"})
        assert cancelled.status_code == 200
        assert result.result().status_code == 401


def test_an_export_that_goes_on_breaks_off(server: RunningServer, client: httpx.Client) -> None:
    """Nobody takes it for whole: its last chunk never comes, and its record has no end."""
    types = {"app": "blobs", "code_version": "1", "definitions": [BLOB]}
    assert client.post("/v1/job-types", json=types).status_code == 200
    for _ in range(30):  # more than sockets hold while nobody reads
        blob = {"type": "blob.keep", "queue": "blobs", "payload": {"text": "x" * 250_000}}
        assert client.post(JOBS, json=blob).status_code == 201
    auditor = Revocable(server, client, "auditor", "payloads.read")
    small = httpx.HTTPTransport(socket_options=[(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)])
    place = {"tenant": "acme", "topic": "job.dispatched", "bodies": "true", "reason": "a test"}
    with (
        auditor.client,
        httpx.Client(base_url=server.url, headers=auditor.client.headers, transport=small) as reading,
        reading.stream("GET", "/v1/audit/events", params=place, headers={"Accept-Encoding": "identity"}) as answered,
    ):
        assert answered.status_code == 200
        auditor.revoke()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            for _ in answered.iter_raw():
                pass
    export = f"/v1/audit/exports/{answered.headers['Jobledger-Export-Id']}"
    assert client.get(export, params={"tenant": "acme"}).json()["ended"] is None
