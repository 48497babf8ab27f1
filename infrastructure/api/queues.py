"""Queues, and what is limited or paused."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from .jobs import Answer, Number, Reason, Request, Whole

Scope = Literal["queue", "tenant", "persona", "key"]
"""What a limit is for. `key` is a limit key: the `limit_key` of jobs of one tenant."""

_STATE: dict[str, Any] = {"concurrency": 5, "rate": {"count": 100, "seconds": 60.0}, "weight": 1, "paused": False}
_TARGET: dict[str, Any] = {"scope": "queue", "tenant": None, "name": "billing"}
_EVENT: dict[str, Any] = {
    "event_id": "ff3c0d1e-2b4a-8c6d-9e8f-0a1b2c3d4e5f.1", "version": 1, "position": "5f0c.8192",
    "topic": "queue.limited", "recorded_at": "2026-03-01T09:30:05.250000Z", "actor": "key:4k2m9xq7ta",
    "authenticated": True, "on_behalf_of": None, "address": "10.0.0.7", "request_id": "0b5f2c8e9d7a4f31",
    "correlation_id": "6f2a", "causation_id": None, "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "why": "5 at a time: the gateway asks for it",
    "seconds": None, "attempt_seconds": None, "facts": {"subject": "billing", "reason": "the gateway asks for it"},
}  # fmt: skip


class RateRequest(Request):
    """At most `count` starts in any window of `seconds` seconds."""

    count: Annotated[Whole, Field(ge=1, le=1_000_000)]
    seconds: Annotated[Number, Field(ge=0.1, le=31 * 86_400.0)]


class LimitsRequest(Request):
    """Limits of a target. What is left out (or null) stays as it is."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"concurrency": 5, "rate": {"count": 100, "seconds": 60}, "reason": "the gateway asks for it"}]
        },
    )

    concurrency: Annotated[
        Whole | None, Field(ge=1, le=100_000, description="Jobs that run at the same time, at most.")
    ] = None
    rate: RateRequest | None = None
    weight: Annotated[Whole | None, Field(ge=1, le=100, description="A tenant's share of the turns.")] = None
    reason: Reason = ""


class Rate(Answer):
    """At most `count` starts in any window of `seconds` seconds."""

    count: int
    seconds: float


class _State(Answer):
    """Limits (null: none) and whether it is paused."""

    concurrency: int | None
    rate: Rate | None
    weight: int
    paused: bool


class Limit(_State):
    """What is limited or paused. `tenant` is null for a queue, which is everybody's."""

    scope: str
    tenant: str | None
    name: str


class Limits(Answer):
    """Everything that is limited or paused."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limits": [{**_TARGET, **_STATE}]}]})

    limits: list[Limit]


class TargetChanged(Limit):
    """A target after a command. `changed` is false where it was so already: then nothing is recorded. `remark` says
    what looks like a slip."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**_TARGET, **_STATE, "changed": True, "remark": None, "position": "5f0c.8192"}]
        }
    )

    changed: bool
    remark: str | None
    position: str | None


class LimitEvent(Answer):
    """One thing that was done to a target."""

    event_id: str
    version: int
    position: str
    topic: str
    recorded_at: datetime
    actor: str
    authenticated: bool
    on_behalf_of: str | None
    address: str | None
    request_id: str | None
    correlation_id: str
    causation_id: str | None
    trace_id: str
    seconds: float | None
    attempt_seconds: float | None
    why: str
    facts: dict[str, Any]


class LimitHistory(Limit):
    """A target as it is, and what was done to it, oldest first. `next_version` goes on behind this page."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_TARGET, **_STATE, "events": [_EVENT], "next_version": None}]}
    )

    events: list[LimitEvent]
    next_version: int | None


class OpenJobs(Answer):
    """Jobs by status."""

    pending: int
    delayed: int
    blocked: int
    in_progress: int
    dlq: int


class Queue(_State):
    """A queue and its open jobs, of all tenants together. `job_types` are those whose own queue it is."""

    queue: str
    jobs: OpenJobs
    job_types: list[str]


class Queues(Answer):
    """Every queue that a job type names, that has open jobs, or that is limited or paused; by name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "queues": [
                        {
                            "queue": "billing", **_STATE, "job_types": ["invoice.send"],
                            "jobs": {"pending": 3, "delayed": 0, "blocked": 0, "in_progress": 1, "dlq": 0},
                        }
                    ]
                }
            ]
        }
    )  # fmt: skip

    queues: list[Queue]
