"""The dead-letter queue."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from .jobs import JOB_EXAMPLE, Answer, Job, Reason, Request, Whole
from .lists import FRESHNESS_EXAMPLE, Freshness
from .moments import Time

Kind = Literal["system", "orchestration", "reactive", "ai", "work"]
Cause = Literal["attempts_exhausted", "unrecoverable", "integrity_violation", "stalled"]
NO_NUL = r"^[^\x00]*$"
Wanted = Annotated[str, Field(min_length=1, max_length=500, pattern=NO_NUL)]
Ticket = Annotated[str | None, Field(min_length=1, max_length=120, description="Of whatever tracks such things.")]
Attempts = Annotated[Whole | None, Field(ge=1, le=1_000, description="To grant; null: as many as its policy has.")]

_JOB = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"
_FILTER: JsonDict = {
    "error_type": "TimeoutError",
    "since": "2026-03-01T00:00:00Z",
    "until": "2026-03-01T09:30:05.250001Z",
}
_ROW: JsonDict = {
    "job_id": _JOB, "tenant": "acme", "persona": "billing-bot", "type": "invoice.send", "kind": "work",
    "queue": "billing", "attempt": 5, "reason": "attempts_exhausted",
    "error_type": "TimeoutError", "error_message": "no answer", "fingerprint": "0f1e2d3c4b5a6978",
    "created_at": "2026-03-01T09:00:05.250000Z", "dead_at": "2026-03-01T09:30:05.250000Z",
}  # fmt: skip

_NO_FILTER: JsonDict = dict.fromkeys(
    ("type", "kind", "queue", "persona", "cause", "error_type", "fingerprint", "since", "until")
)
_GROUP: JsonDict = {
    "jobs": 500, "type": "invoice.send", "cause": "attempts_exhausted", "error_type": "TimeoutError",
}  # fmt: skip

_ACT: JsonDict = {
    "event_id": "ff3c0d1e-2b4a-8c6d-9e8f-0a1b2c3d4e5f.7", "act": "requeue", "begun_at": "2026-03-01T09:35:05.250000Z",
    "actor": "key:4k2m9xq7ta", "reason": "gateway fixed", "ticket": "OPS-12", "attempts_granted": None,
    "filter": {**_NO_FILTER, "error_type": "TimeoutError"}, "confirmed": 500, "changed": 499, "skipped": 1,
    "refused": 0, "ended_at": "2026-03-01T09:35:15.250000Z", "last_seen_at": "2026-03-01T09:35:15.250000Z",
    "finished": True,
}  # fmt: skip


class RequeueRequest(Request):
    """Out of the dead-letter queue, with new attempts; with another payload, or another value in places of it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"reason": "the address was wrong", "ticket": "OPS-12", "put": {"/email": "ana@example.com"}}]
        },
    )

    reason: Reason = ""
    ticket: Ticket = None
    attempts: Attempts = None
    payload: dict[str, Any] | None = Field(default=None, repr=False, description="Runs instead of its own.")
    put: dict[str, Any] = Field(default={}, repr=False, description="New values by JSON pointer (`/customer/email`).")
    without: list[str] = Field(default=[], description="JSON pointers to what is taken out.")

    @property
    def edits(self) -> bool:
        """Whether the payload is changed."""
        return self.payload is not None or bool(self.put or self.without)


class DiscardRequest(Request):
    """Given up for good."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "the customer is gone", "ticket": "OPS-12"}]}
    )

    reason: Reason = ""
    ticket: Ticket = None


class Filter(Request):
    """Which dead jobs are meant; what is null or left out does not filter. `since` (inclusive) and `until` (exclusive)
    bound the moment of death."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_FILTER]})

    type: Wanted | None = None
    kind: Kind | None = None
    queue: Wanted | None = None
    persona: Wanted | None = None
    cause: Cause | None = None
    error_type: Wanted | None = None
    fingerprint: Wanted | None = None
    since: Time | None = None
    until: Time | None = None


class BulkDiscardRequest(Request):
    """All dead jobs that a filter matches. With `dry_run` they are only counted. Else `expected_count` says how many
    there may be at most: take it, and the filter's `until`, from a count; then no job is touched that died since."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"filter": {"error_type": "TimeoutError"}, "dry_run": True},
                {"filter": _FILTER, "reason": "gateway fixed", "ticket": "OPS-12", "expected_count": 500},
            ]
        },
    )

    filter: Filter
    reason: Reason = ""
    ticket: Ticket = None
    expected_count: Annotated[Whole | None, Field(ge=1, description="As many as were counted.")] = None
    dry_run: bool = False


class BulkRequeueRequest(BulkDiscardRequest):
    """The same, with the attempts that each gets."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"filter": {"error_type": "TimeoutError"}, "dry_run": True},
                {"filter": _FILTER, "reason": "gateway fixed", "expected_count": 500, "attempts": 3},
            ]
        },
    )

    attempts: Attempts = None


class DeadRow(Answer):
    """A line of the list: a dead job. `reason` says why it is dead."""

    job_id: UUID
    tenant: str
    persona: str | None
    type: str
    kind: str
    queue: str
    attempt: int
    reason: str
    error_type: str
    error_message: str
    fingerprint: str
    created_at: datetime
    dead_at: datetime


class DeadJobs(Answer):
    """A page of dead jobs, most recently dead first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant": "acme", "jobs": [_ROW], "next_cursor": None, "freshness": FRESHNESS_EXAMPLE}]
        }
    )

    tenant: str
    jobs: list[DeadRow]
    next_cursor: str | None
    freshness: Freshness


class DeadGroup(Answer):
    """So many jobs of a type died of the same."""

    jobs: int
    type: str
    cause: str
    error_type: str


class FilterSaid(Answer):
    """The filter that was counted."""

    type: str | None
    kind: str | None
    queue: str | None
    persona: str | None
    cause: str | None
    error_type: str | None
    fingerprint: str | None
    since: datetime | None
    until: datetime | None


class Count(Answer):
    """What a filter matches: how many, of what, the last of them. An act on these names `count` as `expected_count`,
    and `until` in its filter (null: nothing matches)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme", "count": 500, "group_count": 1, "sample": [_ROW],
                    "filter": {**_NO_FILTER, "error_type": "TimeoutError"},
                    "groups": [_GROUP],
                    "first_dead_at": "2026-03-01T09:00:05.250000Z", "last_dead_at": "2026-03-01T09:30:05.250000Z",
                    "until": "2026-03-01T09:30:05.250001Z", "freshness": FRESHNESS_EXAMPLE,
                }
            ]
        }
    )  # fmt: skip

    tenant: str
    count: int
    filter: FilterSaid
    groups: list[DeadGroup]
    group_count: int
    first_dead_at: datetime | None
    last_dead_at: datetime | None
    until: datetime | None
    sample: list[DeadRow]
    freshness: Freshness


class DeadAttempt(Answer):
    """One attempt, and how it ended."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    ending: str | None
    error: str


class DeadJob(Job):
    """Why a job is dead: what sent it here, its last attempts, how often people took it out before. Bodies are null
    where they were not asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **JOB_EXAMPLE, "status": "dlq", "failed": True, "worker": None, "error_type": "TimeoutError",
                    "error_message": "no answer", "error_fingerprint": "0f1e2d3c4b5a6978", "progress": None,
                    "dead_at": "2026-03-01T09:30:36.500000Z", "cause": "unrecoverable", "times_requeued": 0,
                    "attempts": [
                        {
                            "number": 1, "worker": "host-1:4711:a1b2", "started_at": "2026-03-01T09:30:06.500000Z",
                            "ended_at": "2026-03-01T09:30:36.500000Z", "ending": "failed",
                            "error": "TimeoutError: no answer",
                        }
                    ],
                    "traceback": None,
                }
            ]
        }
    )  # fmt: skip

    dead_at: datetime
    cause: str
    times_requeued: int
    attempts: list[DeadAttempt]
    traceback: Any = Field(repr=False)


class DlqAct(Answer):
    """What was done to many dead jobs at once. Without an end it goes on, or its process died: see its operation."""

    event_id: str
    act: str
    begun_at: datetime
    actor: str
    reason: str
    ticket: str | None
    attempts_granted: int | None
    filter: FilterSaid
    confirmed: int
    ended_at: datetime | None
    last_seen_at: datetime
    changed: int | None
    skipped: int | None
    refused: int | None
    finished: bool | None


class DlqActs(Answer):
    """The last acts on many dead jobs, the latest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"acts": [_ACT]}]})

    acts: list[DlqAct]
