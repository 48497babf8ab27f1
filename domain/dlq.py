"""What was done to many dead jobs at once: with which filter, by whom, why, and what came of it.

The dead-letter queue of a tenant has a stream of its own. An act is recorded before its first job is touched, so that
whatever ends it early, the ledger says who began it; each job's own event names it as its cause.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from .event import Facts
from .identifiers import stream_id
from .job import DlqReason, JobKind, require_reason

BulkAct = Literal["requeue", "discard"]


class DlqFilter(BaseModel):
    """Which dead jobs are meant; None does not filter. Everything given must be equal; `dead_from` (inclusive) and
    `dead_to` (exclusive) bound the moment of death, by the database's clock."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_type: str | None = None
    kind: JobKind | None = None
    queue: str | None = None
    persona: str | None = None
    reason: DlqReason | None = None
    error_type: str | None = None
    fingerprint: str | None = None
    dead_from: AwareDatetime | None = None
    dead_to: AwareDatetime | None = None


class DlqBulkBegun(Facts):
    """Somebody began to requeue or discard the dead jobs that a filter matches, having been shown how many."""

    topic: ClassVar[str] = "dlq.bulk_begun"

    act: BulkAct
    filter: DlqFilter
    confirmed: int
    """How many were shown, and so may be touched at most."""
    reason: str
    ticket: str | None = None
    attempts_granted: int | None = None
    """For a requeue; None: as many as the policy of each job has."""


class DlqBulkProgressed(Facts):
    """It goes on, and has come so far: recorded every few seconds of an act that takes longer. After one that falls
    silent without an end, its process died."""

    topic: ClassVar[str] = "dlq.bulk_progressed"

    act: BulkAct
    begun_version: Annotated[int, Field(ge=1)]
    """The version of the beginning in the same stream."""
    changed: int
    skipped: int
    refused: int


class DlqBulkEnded(Facts):
    """What came of it. `skipped` had left the dead-letter queue, or died anew, after they were shown; `refused` stay
    in it. Not `finished`: it broke off, the rest was not looked at."""

    topic: ClassVar[str] = "dlq.bulk_ended"

    act: BulkAct
    begun_version: Annotated[int, Field(ge=1)]
    """The version of the beginning in the same stream."""
    changed: int
    skipped: int
    refused: int
    finished: bool


def begin(
    act: BulkAct, where: DlqFilter, *, confirmed: int, reason: str, ticket: str | None, attempts_granted: int | None
) -> DlqBulkBegun:
    """A human begins; a reason is required (R4.13)."""
    require_reason(reason, f"{act}ing")
    return DlqBulkBegun(
        act=act, filter=where, confirmed=confirmed, reason=reason, ticket=ticket, attempts_granted=attempts_granted
    )


def dlq_stream(tenant: str) -> UUID:
    """The stream of a tenant's dead-letter queue."""
    return stream_id(tenant, "dlq", tenant)
