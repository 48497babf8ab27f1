"""Jobs as they are asked for and answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, Strict, model_validator
from pydantic.config import JsonDict

from .moments import Time

JobId = UUID
Whole = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
"""Numbers that are sent as such: `true` and `"7"` are none."""
Reason = Annotated[str, Field(max_length=1_000, examples=["the customer called"])]

_EXAMPLE_JOB = "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f"


MEMBERS_MAX = 100
"""No object that is sent has more that are known; each one that is not would be a mistake of its own."""


def few_members(given: object) -> object:
    """What is given, where it is no object with too many members."""
    if isinstance(given, dict) and len(given) > MEMBERS_MAX:
        raise ValueError(f"at most {MEMBERS_MAX} members")
    return given


class Request(BaseModel):
    """A body that a caller sends: a member that nobody knows is refused."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_members(cls, given: object) -> object:
        return few_members(given)


class Answer(BaseModel):
    """A body that a server sends: a client ignores members that it does not know."""

    model_config = ConfigDict(extra="ignore")


class DispatchRequest(BaseModel):  # without what `Request` looks at: it is read thousands of times a second
    """A job to dispatch. Options that are left out are those of the job type, the queue, the installation."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "type": "invoice.send", "payload": {"invoice_id": "42", "email": "a@b.example"},
                    "persona": "billing-bot", "priority": 10,
                }
            ]
        },
    )  # fmt: skip

    type: Annotated[str, Field(min_length=1, max_length=200)]
    payload: dict[str, Any] = Field(default={}, repr=False)
    persona: str | None = None
    queue: str | None = None
    priority: Whole | None = None
    run_at: Time | None = None
    delay_seconds: Number | None = None
    idempotency_key: str | None = Field(
        default=None, description="The same key again gives the first job back. May stand in the header, too."
    )
    request_key: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = Field(
        default=None,
        description="New for each request, the same where it is sent again: counts where there is no other key, "
        "neither here nor by the job type.",
    )
    lock_key: str | None = None
    limit_key: str | None = None
    timeout_seconds: Number | None = None
    soft_timeout_seconds: Number | None = None
    max_stalled: Whole | None = None
    retry: dict[str, Any] | None = Field(default=None, description="A retry policy, as job types declare it.")
    correlation_id: str | None = None
    causation_id: str | None = None


class Dispatched(Answer):
    """A dispatch that is durable. `duplicate`: the key was used before, and this is the first job. `position` is null
    then: this request wrote nothing, and finding out where the first job was written would cost each a look. What
    `GET` says of that one job is always current."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"job_id": _EXAMPLE_JOB, "duplicate": False, "position": "5f0c.8192"}]}
    )

    job_id: JobId
    duplicate: bool
    position: str | None


JOB_EXAMPLE: JsonDict = {
    "job_id": _EXAMPLE_JOB, "tenant": "acme", "version": 2, "type": "invoice.send", "kind": "work",
    "status": "in_progress", "failed": False, "persona": "billing-bot", "queue": "billing", "priority": 10,
    "attempt": 1, "attempts_counted": 1, "attempts_allowed": 5, "stalls": 0,
    "retry": {
        "kind": "exponential", "max_attempts": 5, "base_seconds": 10.0, "cap_seconds": 3600.0, "jitter": "full",
    },
    "timeout_seconds": 60.0, "soft_timeout_seconds": None, "worker": "host-1:4711:a1b2", "lock_key": None,
    "limit_key": None, "cancel_reason": None, "due_at": "2026-03-01T09:30:05.250000Z",
    "created_at": "2026-03-01T09:30:05.250000Z", "updated_at": "2026-03-01T09:30:06.500000Z",
    "started_at": "2026-03-01T09:30:06.500000Z", "completed_at": None, "error_type": None, "error_message": None,
    "error_fingerprint": None, "progress": 0.4, "estimated_cost": 0.0, "idempotency_key": "invoice-42",
    "actor": "key:4k2m9xq7ta", "authenticated": True, "correlation_id": "order-42",
    "trace_parent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "payload": None, "result": None,
    "past": None,
}  # fmt: skip


class Job(Answer):
    """A job as it is, or (with `past`) as it was. Bodies are null where they were not asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [JOB_EXAMPLE]})

    job_id: JobId
    tenant: str
    version: int
    type: str
    kind: str
    status: str
    failed: bool
    persona: str | None
    queue: str
    priority: int
    attempt: int
    attempts_counted: int
    attempts_allowed: int
    stalls: int
    retry: dict[str, Any]
    timeout_seconds: float
    soft_timeout_seconds: float | None
    worker: str | None
    lock_key: str | None
    limit_key: str | None
    cancel_reason: str | None
    due_at: datetime
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    error_type: str | None
    error_message: str | None
    error_fingerprint: str | None
    progress: float | None
    estimated_cost: float
    idempotency_key: str | None
    actor: str
    authenticated: bool
    correlation_id: str
    trace_parent: str
    payload: Any = Field(repr=False)
    result: Any = Field(repr=False)
    past: dict[str, Any] | None


class ReasonRequest(Request):
    """Why somebody does it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the customer called"}]})

    reason: Reason


class JobChanged(Answer):
    """A job after a command; `version` is the ETag of the job from now on."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"job_id": _EXAMPLE_JOB, "status": "cancelled", "version": 2, "position": "5f0c.12288"}]
        }
    )

    job_id: JobId
    status: str
    version: int
    position: str | None


class RescheduleRequest(Request):
    """When a job that waits is to run, or how urgent it is: one of them at least."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "the month is closing", "priority": 50}]}
    )

    reason: Reason
    priority: Annotated[Whole | None, Field(ge=-100, le=100, description="Higher first.")] = None
    run_at: Annotated[Time | None, Field(description="Not before.")] = None
