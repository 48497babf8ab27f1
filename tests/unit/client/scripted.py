"""A client whose server is a script: what it answers, one request after the other, and a clock that stands still."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

import httpx

from jobledger.client import Client
from jobledger.infrastructure.client.driving import Driver

JOB = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"
Outcome = httpx.Response | Exception


class Script:
    """Answers with its outcomes, in their order; the last one again and again."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = list(outcomes)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []
        self.now = 1_000.0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request."""
        self.requests.append(request)
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return httpx.Response(outcome.status_code, headers=outcome.headers, content=outcome.content)

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        self.pauses.append(seconds)
        self.now += seconds

    def bodies(self) -> list[dict[str, object]]:
        """What was sent."""
        return [json.loads(request.content) for request in self.requests]


def client_of(script: Script, *, deadline_seconds: float = 60.0, key: str | None = "jl_a.b") -> Client:
    """A client for the tenant `acme`; jitter takes nothing away."""
    http = httpx.Client(transport=httpx.MockTransport(script))
    client = Client("http://jobs.test", key, tenant="acme", deadline_seconds=deadline_seconds, http=http)
    core = replace(client._core, monotonic=lambda: script.now, draw=lambda: 0.0)
    client._connect(core, Driver(client._http, script.pause), http.close)
    return client


def problem(status: int, code: str = "some_code", **headers: str) -> httpx.Response:
    """A problem document."""
    document = {
        "type": f"https://jobledger.dev/problems/{code}", "title": code, "status": status, "detail": "it went wrong",
        "code": code, "field": "payload.number", "rule": "a rule", "hint": "a hint", "request_id": "r1",
    }  # fmt: skip
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=document, headers={"Content-Type": "application/problem+json", **given})


def dispatched(duplicate: bool = False) -> httpx.Response:
    """The answer to a dispatch."""
    return httpx.Response(201, json={"job_id": JOB, "duplicate": duplicate, "position": "5f0c.1"})


def changed() -> httpx.Response:
    """The answer to a command about a job."""
    return httpx.Response(200, json={"job_id": JOB, "status": "cancelled", "version": 2, "position": "5f0c.2"})


def lines(*written: object) -> httpx.Response:
    """JSON Lines."""
    return httpx.Response(200, content="".join(f"{json.dumps(line)}\n" for line in written).encode())


def event(position: str, **fields: object) -> dict[str, object]:
    """A live event."""
    return {
        "event_id": f"{JOB}.1", "position": position, "topic": "job.dispatched", "tenant": "acme", "job_id": JOB,
        "recorded_at": "2026-03-01T09:30:05Z", "version": 1, "type": "a", "queue": "default", "persona": None,
        "actor": "key:a", "on_behalf_of": None, "correlation_id": "c", "causation_id": None, "trace_id": "t",
        "why": "dispatched", "facts": {}, **fields,
    }  # fmt: skip


def stream(*parts: str) -> httpx.Response:
    """An event stream, as it stands."""
    return httpx.Response(200, content="".join(parts).encode(), headers={"Content-Type": "text/event-stream"})


def told(position: str, **fields: object) -> str:
    """An event on the stream."""
    return f"id: {position}\ndata: {json.dumps(event(position, **fields), ensure_ascii=False)}\n\n"


def positions(events: Iterable[object]) -> list[str]:
    """Those of events."""
    return [str(getattr(each, "position")) for each in events]  # noqa: B009
