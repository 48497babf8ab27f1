"""A replay is what the ledger handed out, or it is told that it is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from jobledger.client import Client, NotPermitted, Unreachable, Unreadable

from .scripted import JOB, Script, client_of, problem

EVENT: dict[str, Any] = {
    "position": "p.1", "id": f"{JOB}.1", "recorded_at": "2026-03-01T09:30:05Z", "tenant": "acme",
    "topic": "job.dispatched", "schema_version": 1, "stream_id": JOB, "version": 1, "actor": "key:a",
    "authenticated": True, "on_behalf_of": None, "address": None, "request_id": None, "time": "2026-03-01T09:30:05Z",
    "correlation_id": "c", "causation_id": None, "trace_parent": "t", "facts": {}, "body_sha256": None,
    "body_length": None,
}  # fmt: skip
LINES = b"".join(json.dumps({**EVENT, "version": version}).encode() + b"\n" for version in (1, 2, 3))


class Pieces(httpx.SyncByteStream):
    """Bytes that come one after the other; a connection that breaks after them, where there is an `end`."""

    def __init__(self, content: bytes, end: Exception | None = None) -> None:
        self._content = content
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        for begin in range(0, len(self._content), 100):
            yield self._content[begin : begin + 100]
        if self._end is not None:
            raise self._end


def client_for(content: bytes, recorded: bytes | None, end: Exception | None = None) -> Client:
    """A client of a server that hands out some bytes, and has recorded others (None: no end)."""
    ended = None if recorded is None else {
        "events": 3, "first_position": "p.1", "last_position": "p.3", "sha256": hashlib.sha256(recorded).hexdigest(),
    }  # fmt: skip
    record = {
        "export_id": JOB, "tenant": "acme", "actor": "key:a", "begun_at": "2026-03-01T09:30:05Z", "format": "jsonl",
        "bodies": False, "reason": "", "query": {"topics": [], "actor": None}, "ended": ended,
    }  # fmt: skip

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(f"/exports/{JOB}"):
            return httpx.Response(200, json=record)
        return httpx.Response(200, headers={"Jobledger-Export-Id": JOB}, stream=Pieces(content, end))

    return Client("http://jobs.test", "k", tenant="acme", http=httpx.Client(transport=httpx.MockTransport(answer)))


def test_events_come_as_they_are_read() -> None:
    """However the bytes are cut; the same as bytes, for a file."""
    assert [event.version for event in client_for(LINES, LINES).audit.events()] == [1, 2, 3]
    assert b"".join(client_for(LINES, LINES).audit.export(format="jsonl")) == LINES


@pytest.mark.parametrize("recorded", [LINES + b"\n", None], ids=["another hash", "no end"])
def test_what_is_not_all_is_told(recorded: bytes | None) -> None:
    """After the last event that came."""
    events = client_for(LINES, recorded).audit.events()
    seen = [next(events).version for _ in range(3)]
    with pytest.raises(Unreadable, match="not what the ledger handed out"):
        next(events)
    assert seen == [1, 2, 3]


def test_a_replay_that_breaks_off_is_not_gone_on_with() -> None:
    """What came until then has come."""
    events = client_for(LINES, LINES, httpx.ReadError("lost")).audit.events()
    seen = [next(events).version for _ in range(3)]
    with pytest.raises(Unreachable, match="lost"):
        next(events)
    assert seen == [1, 2, 3]


def test_who_may_not_is_told_so() -> None:
    """Before anything comes, with the permission."""
    client = client_of(Script(problem(403, "not_permitted")))
    with pytest.raises(NotPermitted, match=r"not_permitted: it went wrong \[payload.number: a rule\]; a hint"):
        next(client.audit.events())
