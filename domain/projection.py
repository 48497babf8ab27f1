"""What people did to a read model: rebuilt it, kept or dropped its previous version, left an event out of it.

A read model (projection) has a stream of its own, of the installation's tenant. What a program did by itself to a view
(a checkpoint moved, an event parked) is not here: views and all that belongs to them can be thrown away.
"""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from .event import Facts
from .identifiers import SYSTEM_TENANT, stream_id

Count = Annotated[int, Field(ge=0)]


class ProjectionFacts(Facts):
    """Base of what happens to a read model."""

    projection: str


class ProjectionRebuildBegun(ProjectionFacts):
    """Somebody began to rebuild a view, or only one tenant's or one job's rows of it."""

    topic: ClassVar[str] = "projection.rebuild_begun"

    reason: str
    of_tenant: str | None = None
    of_job: UUID | None = None
    fold_version: Annotated[int, Field(ge=1)]
    dry_run: bool = False


class ProjectionRebuilt(ProjectionFacts):
    """The rebuild ended. Rows and digests (SHA-256 over all rows in the order of their key) are those of the view as it
    was and of what replaced it, at one position; `differing` rows were not what they should have been. Not `swapped`:
    it was a dry run, the view is as it was."""

    topic: ClassVar[str] = "projection.rebuilt"

    begun_version: Annotated[int, Field(ge=1)]
    """The version of the beginning in the same stream."""
    swapped: bool
    events: Count
    rows_before: Count
    rows_after: Count
    differing: Count
    digest_before: str
    digest_after: str
    position: Count
    """The position at which both were compared."""
    parked: Count = 0
    """Events that the fold could not take and that wait for a human."""
    seconds: Annotated[float, Field(ge=0)]


class ProjectionRebuildCancelled(ProjectionFacts):
    """A rebuild was given up; the view is as it was."""

    topic: ClassVar[str] = "projection.rebuild_cancelled"

    begun_version: Annotated[int, Field(ge=1)]
    reason: str


class ProjectionPreviousDropped(ProjectionFacts):
    """The version of a view that a rebuild had replaced was removed."""

    topic: ClassVar[str] = "projection.previous_dropped"

    reason: str
    rows: Count


class ProjectionEventSkipped(ProjectionFacts):
    """Somebody decided that a view goes on without an event that its fold cannot take. Rebuilds leave it out, too."""

    topic: ClassVar[str] = "projection.event_skipped"

    reason: str
    originator_id: UUID
    originator_version: Annotated[int, Field(ge=1)]
    error: str
    """Why the fold could not take it."""


class ProjectionSkipWithdrawn(ProjectionFacts):
    """Somebody decided that a view is to take an event after all that it was to go without. It does with its next
    rebuild."""

    topic: ClassVar[str] = "projection.skip_withdrawn"

    reason: str
    originator_id: UUID
    originator_version: Annotated[int, Field(ge=1)]


class ProjectionParkedRetried(ProjectionFacts):
    """Somebody had a view try again to take events that were parked."""

    topic: ClassVar[str] = "projection.parked_retried"

    reason: str = ""
    taken: Count
    still_parked: Count


PROJECTION_FACTS: tuple[type[ProjectionFacts], ...] = (
    ProjectionRebuildBegun, ProjectionRebuilt, ProjectionRebuildCancelled, ProjectionPreviousDropped,
    ProjectionEventSkipped, ProjectionSkipWithdrawn, ProjectionParkedRetried,
)  # fmt: skip


def projection_stream(name: str) -> UUID:
    """The stream of a read model."""
    return stream_id(SYSTEM_TENANT, "projection", name)
