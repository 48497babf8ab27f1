"""What one can ask about read models (views): what people do to them is recorded in the ledger, with actor and reason.

The acts themselves are done by whoever holds the views (the command line, a worker): these messages record them, and
answer what was decided before.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jobledger.domain.projection import Count
from jobledger.domain.tenant import TenantName

from .commands import Reason
from .message import NO_NUL, Command, Query

SKIPS_AT_ONCE_MAX = 1_000
"""Events that one act leaves out, at most."""

ProjectionName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
"""A read model's name, which is its table's."""
Version = Annotated[int, Field(ge=1)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ProjectionRecorded(NamedTuple):
    """What was recorded: the version of (the last of) it in the projection's stream. Not `recorded`: it was recorded
    before, by an act that was interrupted then, and stands there once."""

    projection: str
    version: int
    recorded: bool = True


class BeginRebuild(Command[ProjectionRecorded]):
    """Record that a view, or one tenant's or one job's rows of it, is about to be rebuilt."""

    projection: ProjectionName
    of_tenant: TenantName | None = None
    of_job: UUID | None = None
    fold_version: Version
    dry_run: bool = False
    reason: Reason = ""


class EndRebuild(Command[ProjectionRecorded]):
    """Record what came of a rebuild; see `ProjectionRebuilt`. Recorded once, however often it is asked."""

    projection: ProjectionName
    begun_version: Version
    swapped: bool
    events: Count
    rows_before: Count
    rows_after: Count
    differing: Count
    digest_before: Digest
    digest_after: Digest
    position: Count
    parked: Count = 0
    seconds: Annotated[float, Field(ge=0)]


class CancelRebuild(Command[ProjectionRecorded]):
    """Record that a rebuild was given up. `IllegalTransition` where it ended otherwise; recorded once."""

    projection: ProjectionName
    begun_version: Version
    reason: Reason = ""


class DropPrevious(Command[ProjectionRecorded]):
    """Record that the version of a view that a rebuild had replaced is removed, with so many rows."""

    projection: ProjectionName
    rows: Count
    reason: Reason = ""


class EventName(BaseModel):
    """An event by its stream and its version there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    originator_id: UUID
    originator_version: Version


class FailedEvent(EventName):
    """An event that a view's fold could not take, and why."""

    error: Annotated[str, Field(pattern=NO_NUL, max_length=2_000)]


class SkipParked(Command[ProjectionRecorded]):
    """Record that a view goes on without events that its fold cannot take; rebuilds leave them out, too. Those that
    were skipped before are not recorded again."""

    projection: ProjectionName
    events: Annotated[tuple[FailedEvent, ...], Field(min_length=1, max_length=SKIPS_AT_ONCE_MAX)]
    reason: Reason = ""


class RecordParkedRetried(Command[ProjectionRecorded]):
    """Record that a view was asked to take parked events again, and what came of it."""

    projection: ProjectionName
    taken: Count
    still_parked: Count
    reason: Reason = ""


class WithdrawSkip(Command[ProjectionRecorded]):
    """Record that a view is to take events after all which it was to go without. `NotFound` for one that is not
    skipped."""

    projection: ProjectionName
    events: Annotated[tuple[EventName, ...], Field(min_length=1, max_length=SKIPS_AT_ONCE_MAX)]
    reason: Reason = ""


class Skip(NamedTuple):
    """An event that a view goes without: why its fold could not take it, who decided that when, and why."""

    originator_id: UUID
    originator_version: int
    error: str
    actor: str
    reason: str
    skipped_at: datetime


class ListSkips(Query[tuple[Skip, ...]]):
    """What people decided that a view goes without, in the order of their decisions. Always current."""

    projection: ProjectionName


class SkippedEvent(NamedTuple):
    """An event that a view goes without."""

    originator_id: UUID
    originator_version: int


class SkippedEvents(Query[frozenset[SkippedEvent]]):
    """The events that people decided a view goes without: a rebuild leaves them out. Always current."""

    projection: ProjectionName
