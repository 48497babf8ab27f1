"""What auditors ask: a tenant's history as it was recorded, and who intervened when and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import Field

from jobledger.domain.audit import AuditExportBegun, AuditExported, AuditQuery, ExportFormat
from jobledger.domain.event import RecordedEvent
from jobledger.domain.manual_act import ManualAct
from jobledger.domain.moment import Moment
from jobledger.domain.tenant import TenantName

from .commands import Reason
from .message import NO_NUL, Command, Query
from .queries import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX

ActorId = Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=200)]
EventType = Annotated[str, Field(pattern=r"^[a-z_]+\.([a-z_]+|\*)$")]
"""A topic (`job.failed`), or all that begin alike (`job.*`)."""


class Export(NamedTuple):
    """An export that has begun, and is recorded. `events` can be gone through once, in order of position: it reads page
    by page, so memory does not depend on how many there are.

    `horizon` is the position up to which the ledger could be read when it began. `horizon_reached`: events that match
    may still be recorded; False: the period is over, and whoever exports it again gets the same events.
    """

    export_id: UUID
    tenant: str
    query: AuditQuery
    format: ExportFormat
    bodies: bool
    begun_at: datetime
    events: Iterator[RecordedEvent]
    horizon: str
    horizon_reached: bool


class BeginExport(Command[Export]):
    """Begin to hand out a tenant's events (those of the installation: tenant `system`). Recorded before the first.

    Times bound `recorded_at` (from inclusive, to exclusive); `by` is an actor; no types: all. Changes nothing but that
    record, and the one of `EndExport`.
    """

    tenant: TenantName
    recorded_from: Moment | None = None
    recorded_to: Moment | None = None
    types: tuple[EventType, ...] = ()
    by: ActorId | None = None
    format: ExportFormat = "jsonl"
    bodies: bool = False
    reason: Reason = ""


class EndExport(Command[str]):
    """Record what was handed out: how many events, from where to where, and the SHA-256 of the bytes. Answers with the
    id of the record."""

    tenant: TenantName
    export_id: UUID
    events: Annotated[int, Field(ge=0)]
    first_position: int | None = None
    last_position: int | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ExportRecord(NamedTuple):
    """What the ledger says of an export; `ended` is None where it broke off."""

    begun_at: datetime
    actor: str
    begun: AuditExportBegun
    ended: AuditExported | None


class GetExport(Query[ExportRecord]):
    """What the ledger says of an export."""

    tenant: TenantName
    export_id: UUID


class RecordedAct(NamedTuple):
    """A manual act in the ledger: who, when, what, on what, why. `job_id` is None where it was about something else;
    `cause` is the id of the event that it was part of (an act on many jobs), if any."""

    event_id: str
    position: str
    recorded_at: datetime
    tenant: str
    actor: str
    authenticated: bool
    topic: str
    act: ManualAct
    job_id: UUID | None
    cause: str | None


class ManualActs(NamedTuple):
    """A page of manual acts in order of position; `cursor` opens the next page, None: this is the last."""

    acts: tuple[RecordedAct, ...]
    cursor: str | None


class ListManualActs(Query[ManualActs]):
    """The manual acts of a tenant (None: of all, and of the installation itself), oldest first. Always current, below
    the horizon."""

    tenant: TenantName | None = None
    recorded_from: Moment | None = None
    recorded_to: Moment | None = None
    by: ActorId | None = None
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT
