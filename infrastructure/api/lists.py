"""Lists of jobs."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict
from pydantic.config import JsonDict

from .jobs import Answer, JobId

_FRESHNESS: JsonDict = {
    "position": "5f0c.8192", "head": "5f0c.8192", "lag_positions": 0,
    "recorded_at": "2026-03-01T09:30:05.250000Z", "parked": 0, "hold": None,
}  # fmt: skip
_ROW: JsonDict = {
    "job_id": "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f", "tenant": "acme", "persona": "billing-bot", "status": "pending",
    "failed": False, "type": "invoice.send", "kind": "work", "queue": "billing", "priority": 0, "attempt": 0,
    "attempts_counted": 0, "attempts_allowed": 5, "created_at": "2026-03-01T09:30:05.250000Z",
    "updated_at": "2026-03-01T09:30:05.250000Z", "due_at": "2026-03-01T09:30:05.250000Z", "started_at": None,
    "completed_at": None, "error_type": None, "error_message": None, "progress": None,
}  # fmt: skip


class OpenTransaction(Answer):
    """An open transaction that wrote to the ledger: nothing newer can be read before it ends. What the server's login
    may not see of it is null."""

    since: datetime
    seconds: float
    pid: int | None
    application: str | None
    login: str | None
    state: str | None
    waiting_since: datetime | None


class Freshness(Answer):
    """How current a list is: `lag_positions` 0 says that it holds all that can be read. `parked` events are not in it.
    `hold`: what keeps newer ones from being read; null mostly."""

    position: str
    head: str
    lag_positions: int
    recorded_at: datetime | None
    parked: int
    hold: OpenTransaction | None


class JobRow(Answer):
    """A line of a list of jobs."""

    job_id: JobId
    tenant: str
    persona: str | None
    status: str
    failed: bool
    type: str
    kind: str
    queue: str
    priority: int
    attempt: int
    attempts_counted: int
    attempts_allowed: int
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    error_type: str | None
    error_message: str | None
    progress: float | None


class PastList(Answer):
    """That jobs are shown as they were, of how many was found out for this page (they are folded from their histories:
    a page may be short, or empty, and still have a next one)."""

    as_of: datetime
    scanned: int


class Jobs(Answer):
    """A page of jobs, newest first. `next_cursor` opens the next one; null: this is the last."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"tenant": "acme", "jobs": [_ROW], "next_cursor": None, "freshness": _FRESHNESS, "past": None}]
        }
    )

    tenant: str
    jobs: list[JobRow]
    next_cursor: str | None
    freshness: Freshness
    past: PastList | None


class TracedJob(Answer):
    """A job of a trace. `caused_by` is the job that dispatched it, `job` its line in the list, null where the list does
    not show it yet."""

    job_id: JobId
    correlation_id: str
    causation_id: str | None
    caused_by: JobId | None
    created_at: datetime
    job: JobRow | None


class RefusedDispatch(Answer):
    """A dispatch of a request that was refused."""

    event_id: str
    recorded_at: datetime
    actor: str
    caused_by: JobId | None
    tenant_claimed: str
    type_claimed: str
    code: str
    message: str
    field: str | None
    rule: str | None
    line: int | None


class Trace(Answer):
    """A page of what one request caused; `caused_by` makes the tree. `more`: there are jobs or refusals of other
    requests that are not shown."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "acme", "correlation_id": "order-42", "refused": [], "next_cursor": None, "more": False,
                    "freshness": _FRESHNESS,
                    "jobs": [
                        {
                            "job_id": _ROW["job_id"], "correlation_id": "order-42", "causation_id": None,
                            "caused_by": None, "created_at": _ROW["created_at"], "job": _ROW,
                        }
                    ],
                }
            ]
        }
    )  # fmt: skip

    tenant: str
    correlation_id: str
    jobs: list[TracedJob]
    refused: list[RefusedDispatch]
    next_cursor: str | None
    more: bool
    freshness: Freshness


FRESHNESS_EXAMPLE = _FRESHNESS
"""For the examples of other lists."""
