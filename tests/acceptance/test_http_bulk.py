"""Many jobs in one request."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from jobledger.application.key_messages import CreateKey
from jobledger.application.message import Actor
from jobledger.domain.identity import Grant, Role
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.settings import load
from tests.support.server import RunningServer
from tests.support.watched_worker import WAIT_SECONDS

from .http_server import client, server

__all__ = ["client", "server"]

TENANT = "/v1/tenants/acme"
JSONL = {"Content-Type": "application/jsonl"}
LINE_BYTES_MAX = 8_000_000


@pytest.fixture
def handle(server: RunningServer) -> Iterator[LedgerHandle]:
    """The server's ledger."""
    handle = open_ledger(load(database=server.database))
    try:
        yield handle
    finally:
        handle.close()


def key(handle: LedgerHandle, grant: Grant) -> str:
    """A key with this grant."""
    actor = Actor(id="test:admin")
    return handle.dispatcher.execute(
        CreateKey(actor=actor, key_name="bulk", grants=(grant,), reason="a test")
    ).unwrap().credential  # fmt: skip


def bulk(client: httpx.Client, *lines: object) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Send lines (text as it is, all else as JSON); the answers to them, and the summary."""
    content = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    answered = client.post(f"{TENANT}/jobs/bulk", content=content.encode(), headers=JSONL)
    assert answered.status_code == 200, answered.text
    assert answered.headers["Content-Type"] == "application/jsonl"
    *answers, last = [json.loads(line) for line in answered.text.splitlines()]
    return answers, last["summary"]


def test_good_lines_are_durable_and_bad_ones_are_named(client: httpx.Client) -> None:
    """Of 2,000 lines each is answered, in order; those that were accepted are there, the others say why not."""
    persona = uuid4().hex[:20]
    good = {"type": "number.double", "persona": persona, "payload": {"number": 1}}
    wrong: dict[int, tuple[object, str, str]] = {
        7: ("{", "invalid_input", "line"), 8: ("[]", "invalid_input", "line"),
        500: ('{"type": "number.double", "persona": "\\ud800"}', "invalid_input", "line"),
        501: ({**good, "payload": {"number": "x"}}, "invalid_input", "payload.number"),
        999: ({**good, "colour": 1}, "invalid_input", "colour"),
        1000: ({"type": "number.triple"}, "unknown_job_type", "type"),
        1999: ({"payload": {}}, "invalid_input", "type"),
    }  # fmt: skip
    lines = [wrong[number][0] if number in wrong else good for number in range(1, 2_001)]
    answers, summary = bulk(client, *lines)
    assert [answer["line"] for answer in answers] == list(range(1, 2_001))
    refused = {answer["line"]: answer["problem"] for answer in answers if "problem" in answer}
    told = {number: (problem["code"], problem["field"]) for number, problem in refused.items()}
    assert told == {number: (code, field) for number, (_, code, field) in wrong.items()}
    assert (summary["accepted"], summary["duplicates"], summary["refused"]) == (1_993, 0, 7)
    assert summary["problem"] is None
    listed = client.get(f"{TENANT}/personas/{persona}/jobs", params={"after": summary["position"], "limit": 500}).json()
    assert len(listed["jobs"]) == 500
    assert {row["job_id"] for row in listed["jobs"]} <= {answer.get("job_id") for answer in answers}


def test_what_is_wrong_with_an_option_is_an_answer(client: httpx.Client) -> None:
    """A retry policy that is none, times that exclude each other."""
    answers, _ = bulk(
        client, {"type": "number.double", "retry": {"first_seconds": "x"}},
        {"type": "number.double", "run_at": "2099-01-01T00:00:00Z", "delay_seconds": 1},
    )  # fmt: skip
    assert [answer["problem"]["code"] for answer in answers] == ["invalid_input", "invalid_input"]


def test_what_is_sent_again_gives_the_first_jobs_back(client: httpx.Client) -> None:
    """With keys: duplicates say so, and a key with another payload is refused."""
    keys = [uuid4().hex for _ in range(3)]
    lines = [{"type": "number.double", "idempotency_key": key, "payload": {"number": 1}} for key in keys]
    first, _ = bulk(client, *lines, lines[0])
    assert (first[3]["job_id"], first[3]["duplicate"]) == (first[0]["job_id"], True)
    again, summary = bulk(client, *lines, {**lines[0], "payload": {"number": 2}})
    assert [answer["job_id"] for answer in again[:3]] == [answer["job_id"] for answer in first[:3]]
    assert again[3]["problem"]["code"] == "idempotency_conflict"
    assert (summary["accepted"], summary["duplicates"], summary["refused"]) == (3, 3, 1)


def test_empty_lines_count_and_an_end_needs_no_newline(client: httpx.Client) -> None:
    """Lines are numbered as they stand in what was sent."""
    content = b'\n\r\n{"type": "number.double"}\r\n\n{"type": "number.double"}'
    answered = client.post(f"{TENANT}/jobs/bulk", content=content, headers=JSONL)
    assert [json.loads(line).get("line") for line in answered.text.splitlines()] == [3, 5, None]
    nothing = client.post(f"{TENANT}/jobs/bulk", content=b"", headers={"Content-Type": "application/x-ndjson"})
    assert json.loads(nothing.text)["summary"]["accepted"] == 0


def test_a_line_is_bounded_and_the_body_is_not(client: httpx.Client) -> None:
    """A line of more than a body's bytes is refused, those around it are carried out, however much that is together."""
    pad = " " * (LINE_BYTES_MAX // 2)
    good = '{"type": "number.double"}'
    answers, summary = bulk(client, good, f"{pad}{pad}{good}", f"{pad}{good}", f"{pad}{good}", good)
    assert answers[1]["problem"]["code"] == "payload_too_large"
    assert [answer["line"] for answer in answers if "job_id" in answer] == [1, 3, 4, 5]
    assert summary["refused"] == 1


def test_a_line_is_answered_before_the_next_is_sent(server: RunningServer) -> None:
    """Who waits for each answer gets it: nothing is held back to fill a batch, or to be packed."""
    with connected(server, "Transfer-Encoding: chunked") as connection, connection.makefile("rb") as answers:
        for number in (1, 2, 3):
            connection.sendall(_chunk(b'{"type": "number.double"}\n'))
            assert _line_with(answers, b'"line"')["line"] == number
        connection.sendall(_chunk(b""))
        assert _line_with(answers, b"summary")["summary"]["accepted"] == 3


def test_who_sends_all_before_he_reads_is_served(server: RunningServer) -> None:
    """More answers than the sockets between hold wait until they are read: neither side keeps the other waiting."""
    lines = 9_000
    body = (json.dumps({"type": "x" * 200}).encode() + b"\n") * lines
    with connected(server, f"Content-Length: {len(body)}", receive_bytes=4_096) as connection:
        connection.sendall(body)
        with connection.makefile("rb") as answers:
            assert _line_with(answers, b"summary")["summary"]["refused"] == lines


@contextmanager
def connected(server: RunningServer, length: str, receive_bytes: int = 65_536) -> Iterator[socket.socket]:
    """A connection on which the head of a bulk request was sent."""
    place = urlsplit(server.url)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(6 * WAIT_SECONDS)
        connection.connect((str(place.hostname), place.port or 0))
        connection.sendall(
            f"POST {TENANT}/jobs/bulk HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {server.key}\r\n"
            f"Content-Type: application/jsonl\r\nAccept-Encoding: identity\r\n{length}\r\n\r\n".encode()
        )
        yield connection


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _line_with(lines: Iterable[bytes], mark: bytes) -> dict[str, Any]:
    for line in lines:
        if mark in line:
            found: dict[str, Any] = json.loads(line)
            return found
    raise AssertionError("the answer has ended")


def test_what_is_wrong_with_the_request_is_told_at_once(client: httpx.Client, server: RunningServer) -> None:
    """Another media type, an unknown tenant, no key: nothing of the body is read."""
    for headers, status, code in (
        ({"Content-Type": "application/json"}, 415, "unsupported_media_type"), ({}, 415, "unsupported_media_type"),
    ):  # fmt: skip
        refused = client.post(f"{TENANT}/jobs/bulk", content=b"{}", headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
    unknown = client.post("/v1/tenants/nobody/jobs/bulk", content=b"{}", headers=JSONL)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_tenant")
    assert httpx.post(f"{server.url}{TENANT}/jobs/bulk", content=b"{}", headers=JSONL).status_code == 401


def test_an_identity_dispatches_where_it_may(client: httpx.Client, server: RunningServer, handle: LedgerHandle) -> None:
    """Another tenant is not there, without leave it is 403, and lines for other queues are refused one by one."""
    emitter = key(handle, Grant(role=Role.EMITTER, tenants=frozenset({"acme"}), queues=frozenset({"quiet"})))
    with server.client(emitter) as limited:
        body = b'{"type": "number.double", "queue": "quiet"}\n{"type": "number.double"}\n'
        answered = limited.post(f"{TENANT}/jobs/bulk", content=body, headers=JSONL)
        own, other, _ = [json.loads(line) for line in answered.text.splitlines()]
        assert (own["line"], other["problem"]["code"]) == (1, "not_permitted")
        foreign = limited.post("/v1/tenants/other/jobs/bulk", content=body, headers=JSONL)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_tenant")
    with server.client(key(handle, Grant(role=Role.AUDITOR))) as auditor:
        refused = auditor.post(f"{TENANT}/jobs/bulk", content=body, headers=JSONL)
        assert (refused.status_code, refused.json()["code"]) == (403, "not_permitted")
