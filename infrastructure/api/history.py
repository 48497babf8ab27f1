"""What happened to a job, what changed, why it waits, what caused it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict, Field

from .jobs import Answer, JobId
from .lists import FRESHNESS_EXAMPLE, Freshness, TracedJob

_JOB = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"
_AT = "2026-03-01T09:30:05.250000Z"


class HistoryEvent(Answer):
    """One event of a job: what happened (`topic`, `facts`), why, by whom, how long after the one before it (`seconds`).
    `body` is there where bodies were asked for: payload, result, traceback, log lines or a step's output."""

    event_id: str
    version: int
    position: str
    topic: str
    recorded_at: datetime
    seconds: float | None
    attempt_seconds: float | None
    actor: str
    authenticated: bool
    on_behalf_of: str | None
    address: str | None
    request_id: str | None
    correlation_id: str
    causation_id: str | None
    trace_id: str
    why: str
    facts: dict[str, Any]
    body: Any = Field(default=None, repr=False)
    payload_diff: list[dict[str, Any]] | None = Field(default=None, repr=False)


class History(Answer):
    """A page of a job's history, oldest first. `next_version` is the next page's `after_version`; null: the last."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job_id": _JOB, "next_version": None,
                    "events": [
                        {
                            "event_id": f"{_JOB}.2", "version": 2, "position": "5f0c.12288", "topic": "job.cancelled",
                            "recorded_at": _AT, "seconds": 3.5, "attempt_seconds": None, "actor": "key:ops1",
                            "authenticated": True, "on_behalf_of": None, "address": "10.0.0.7",
                            "request_id": "0b5f2c8e9d7a4f31", "correlation_id": "order-42",
                            "causation_id": f"{_JOB}.1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
                            "why": "the customer called",
                            "facts": {"job_type": "invoice.send", "queue": "billing", "persona": None,
                                      "reason": "the customer called"},
                        }
                    ],
                }
            ]
        }
    )  # fmt: skip

    job_id: JobId
    events: list[HistoryEvent]
    next_version: int | None


class Revision(Answer):
    """A version of a job."""

    version: int
    recorded_at: datetime


class FieldChange(Answer):
    """A field that differs."""

    name: str
    before: Any
    after: Any


class PayloadChange(Answer):
    """How the payload differs: `places` without values (null: a body is not there any more), and with them where bodies
    were asked for."""

    places: list[dict[str, Any]] | None
    differences: list[dict[str, Any]] | None = Field(repr=False)


class Diff(Answer):
    """What changed from one version of a job to another; `payload` is null where it is the same."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme", "job_id": _JOB, "from": {"version": 1, "recorded_at": _AT},
                    "to": {"version": 2, "recorded_at": _AT}, "payload": None, "topics": ["job.cancelled"],
                    "fields": [{"name": "status", "before": "pending", "after": "cancelled"}],
                }
            ]
        },
    )  # fmt: skip

    tenant: str
    job_id: JobId
    from_: Revision = Field(alias="from")
    to: Revision
    fields: list[FieldChange]
    payload: PayloadChange | None
    topics: list[str]


class Cause(Answer):
    """What directly caused a job; all but the id are null for a message that no job of the tenant recorded."""

    causation_id: str
    job_id: JobId | None
    version: int | None
    topic: str | None


class Causes(Answer):
    """What caused a job, and the first jobs that it caused; `more`: there are others."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme", "job_id": _JOB, "correlation_id": "order-42", "cause": None, "caused": [],
                    "more": False, "freshness": FRESHNESS_EXAMPLE,
                }
            ]
        }
    )  # fmt: skip

    tenant: str
    job_id: JobId
    correlation_id: str
    cause: Cause | None
    caused: list[TracedJob]
    more: bool
    freshness: Freshness


class Target(Answer):
    """What is limited or paused; `tenant` is null for a queue."""

    scope: str
    tenant: str | None
    name: str


class WaitReason(Answer):
    """One thing that keeps a job waiting."""

    kind: str
    text: str
    target: Target | None
    used: int | None
    allowed: int | None
    job_id: JobId | None


class Explanation(Answer):
    """Where a job stands and why: what happened last (`account`, since when), and what a waiting one waits for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme", "job_id": _JOB, "status": "pending", "account": "was dispatched", "since": _AT,
                    "waits_for": [
                        {
                            "kind": "no_worker", "text": "no worker that runs takes jobs of queue billing for acme",
                            "target": None, "used": None, "allowed": None, "job_id": None,
                        }
                    ],
                }
            ]
        }
    )  # fmt: skip

    tenant: str
    job_id: JobId
    status: str
    account: str
    since: datetime
    waits_for: list[WaitReason]


class JobError(Answer):
    """What a job failed of last."""

    type: str
    message: str | None
    fingerprint: str | None


class JobResult(Answer):
    """What became of a job. `result_shown` is false where it has none, where it was removed, or where the caller may
    not see it; `error` is there where its last attempt failed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "job_id": _JOB, "status": "completed", "version": 3, "result": {"sent": True},
                    "result_shown": True, "error": None,
                }
            ]
        }
    )  # fmt: skip

    job_id: JobId
    status: str
    version: int
    result: Any = Field(repr=False)
    result_shown: bool
    error: JobError | None


class Unfinished(Answer):
    """A job that is not finished yet: ask again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job_id": _JOB, "status": "in_progress", "version": 2}]})

    job_id: JobId
    status: str
    version: int
