"""What the application asks the ledger to write. Each write is atomic; a group of them becomes one durable commit.

The work queue (`open_jobs`) is an inline projection: what it needs to know travels with the events, and changes in
the same transaction.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.event import Event
from jobledger.domain.job import TERMINAL, JobState, JobStatus, Lease
from jobledger.domain.job_type import JobTypeDefinition
from jobledger.domain.limit import FlowState, Target
from jobledger.domain.tenant import TenantStatus


class IdempotencyKey(NamedTuple):
    """A key within tenant and job type. It outlives the job; the hash tells whether the payload is the same."""

    job_type: str
    key: str
    payload_sha256: str


class NewJob(NamedTuple):
    """A dispatch: version 1 of a job's stream, its row in the queue and, where it has one, its idempotency key.

    `event.body` is the payload (JSON). `state` is `evolve(None, event.facts)`.
    """

    event: Event
    state: JobState
    idempotency: IdempotencyKey | None = None


class QueueChange(NamedTuple):
    """What a change of a job does to its row in the queue. None keeps a column. A terminal status removes the row;
    any status but in_progress clears the lease."""

    status: JobStatus
    attempts_counted: int
    attempts_allowed: int
    stalls: int
    cancel_reason: str | None
    priority: int | None = None
    due_at: datetime | None = None
    payload: bytes | None = None

    @property
    def removes_row(self) -> bool:
        """Whether the job is finished."""
        return self.status in TERMINAL


class ChangeJob(NamedTuple):
    """Further events of an open job, with the guard under which they were decided.

    Exactly one of `expected_version` (the stream is where it was read) and `lease` (this worker still holds this
    attempt) is given; the writer takes the next versions from the locked row, so `originator_version` of the events
    is ignored. With `lease`, `cancel_expected` says what the decision assumed about a request to cancel; None: any.
    """

    job_id: UUID
    tenant: str
    events: tuple[Event, ...]
    change: QueueChange | None
    """None: only the version moves (progress, logs, steps)."""
    expected_version: int | None = None
    lease: Lease | None = None
    cancel_expected: bool | None = None


class TenantRow(NamedTuple):
    """The row of a tenant in the catalogue."""

    name: str
    status: TenantStatus
    display_name: str = ""


class JobTypeRow(NamedTuple):
    """The row of a job type in the catalogue."""

    definition: JobTypeDefinition
    fingerprint: str
    code_version: str
    app: str


class LimitRow(NamedTuple):
    """The row of a target in the catalogue; a target that is neither limited nor paused has none."""

    target: Target
    state: FlowState


class ApiKeyRow(NamedTuple):
    """That a key is in the catalogue, with nothing but its id: what it is, its stream says."""

    key_id: str


class AppendEvents(NamedTuple):
    """Events of any other stream, from `events[0].originator_version` on, and the catalogue row that follows."""

    events: tuple[Event, ...]
    catalogue: CatalogueRow | None = None


CatalogueRow = TenantRow | JobTypeRow | LimitRow | ApiKeyRow
Write = NewJob | ChangeJob | AppendEvents


class WriteStatus(StrEnum):
    """What became of one write."""

    WRITTEN = "written"
    DUPLICATE = "duplicate"
    """A dispatch whose idempotency key was used before: `job_id` is the first job."""
    CONFLICT = "conflict"
    """The stream's version, or the lease, is not as expected. Nothing of this write was stored."""
    MISSING = "missing"
    """No open job of that id in that tenant: it ended, or never was."""
    BUSY = "busy"
    """Another transaction held the job or the key for too long; only where other writes of the same call were stored
    (else the call raises `LedgerBusy`). Nothing of this write was stored, trying again is safe."""


class Outcome(NamedTuple):
    """What became of one write. `position` is that of its last event (None unless written)."""

    status: WriteStatus
    position: int | None = None
    version: int | None = None
    job_id: UUID | None = None
    payload_sha256: str | None = None


def queue_change(before: JobState, after: JobState, *, payload: bytes | None = None) -> QueueChange:
    """The change of the row between two states; what did not change is kept, so that concurrent changes survive."""
    return QueueChange(
        status=after.status,
        attempts_counted=after.attempts_counted,
        attempts_allowed=after.attempts_allowed,
        stalls=after.stalls,
        cancel_reason=after.cancel_reason,
        priority=None if after.priority == before.priority else after.priority,
        due_at=None if after.due_at == before.due_at else after.due_at,
        payload=payload,
    )
