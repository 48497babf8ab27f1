"""What one can ask of the dead-letter queue beyond its list: why a job is dead, and acts on many dead jobs at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import Field, SkipValidation

from jobledger.domain.dlq import BulkAct, DlqBulkBegun, DlqBulkEnded, DlqFilter
from jobledger.domain.job import JobSentToDlq
from jobledger.domain.tenant import TenantName

from .attempts import Attempt
from .commands import Attempts, Reason, Ticket
from .dlq_filtered import DlqFiltered
from .message import NO_NUL, Command, JobReference, Query
from .ports import DlqErrors, DlqRow, DlqSummary
from .queries import PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, JobDetails

# --- queries ---------------------------------------------------------------------------------------------------------


class DlqCount(NamedTuple):
    """What a filter matches now: how many and of what, and the first few rows.

    `until` is a time of death, exclusive, just after the last of them: an act that names it touches none that died
    later. None where nothing matches.
    """

    tenant: str
    where: DlqFilter
    summary: DlqSummary
    sample: tuple[DlqRow, ...]
    until: datetime | None


class CountDlq(DlqFiltered, Query[DlqCount]):
    """How many dead jobs a filter matches, before something is done to all of them.

    It waits until the list holds all that was recorded when it was asked (or what is recorded up to `after`);
    `NotYetVisible` where that takes longer than `timeout_seconds`.
    """

    sample: Annotated[int, Field(ge=0, le=50)] = 5


class ListDlqErrors(DlqFiltered, Query[DlqErrors]):
    """Of which errors the dead jobs died that a filter matches: by fingerprint, the most frequent first."""

    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT


class DeadJob(NamedTuple):
    """Why a job is dead: the event that sent it to the dead-letter queue, its last attempts, and how often people
    took it out before. `traceback` and the payload are None unless asked for (or where removed)."""

    job: JobDetails
    died_at: datetime
    death: JobSentToDlq
    attempts: tuple[Attempt, ...]
    times_requeued: int
    traceback: bytes | None


class GetDeadJob(Query[DeadJob]):
    """A job of the dead-letter queue, from its stream; with `bodies` also its payload and the last traceback."""

    tenant: TenantName
    job: JobReference
    bodies: bool = False


SILENT_SECONDS = 15.0
"""An act without an end that says nothing for so long has died."""


class DlqProgress(NamedTuple):
    """How far an act on many dead jobs has come: jobs seen of those confirmed, and what became of them."""

    seen: int
    changed: int
    skipped: int
    refused: int


class BulkActOfDlq(NamedTuple):
    """What was done to many dead jobs at once: by whom, when and why, and what came of it (None: it goes on, or its
    process died)."""

    event_id: str
    begun_at: datetime
    actor: str
    begun: DlqBulkBegun
    ended_at: datetime | None
    ended: DlqBulkEnded | None
    last_seen_at: datetime | None = None
    """When it said last that it goes on (or that it began, or ended)."""
    progress: DlqProgress | None = None
    """How far it had come then."""

    def has_died(self, now: datetime) -> bool:
        """Whether its process did: it has no end, and would have said that it goes on."""
        silent_since = self.last_seen_at or self.begun_at
        return self.ended is None and (now - silent_since).total_seconds() >= SILENT_SECONDS


class GetDlqAct(Query[BulkActOfDlq]):
    """One act on many dead jobs, by the id of its own record (`dlq.bulk_begun`). Always current. Whoever may see one
    queue only names it: acts whose filter names another one are not found."""

    tenant: TenantName
    act: Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=100)]
    queue: Annotated[str, Field(pattern=NO_NUL, max_length=500)] | None = None


class ListDlqActs(Query[tuple[BulkActOfDlq, ...]]):
    """The last acts on many dead jobs of a tenant at once, the latest first. Always current."""

    tenant: TenantName
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT


# --- commands --------------------------------------------------------------------------------------------------------


class DlqTrouble(NamedTuple):
    """Why a job stays in the dead-letter queue."""

    job_id: UUID
    code: str
    message: str


class DlqBulkDone(NamedTuple):
    """What became of dead jobs that a filter matched. `skipped` had left the dead-letter queue, or died anew, since
    they were counted; `refused` stay in it, the first of them with the reason. `event_id` is that of the act's own
    record, which each changed job's event names as its cause."""

    act: BulkAct
    event_id: str | None
    confirmed: int
    changed: int
    skipped: int
    refused: int
    troubles: tuple[DlqTrouble, ...]
    position: str | None


class _DlqCommand(DlqFiltered, Command[DlqBulkDone]):
    """What is done to all dead jobs that a filter matches, if they are at most `confirmed`. Take `dead_to` from the
    count (`DlqCount.until`): then none is touched that died afterwards."""

    confirmed: Annotated[int, Field(ge=1)]
    reason: Reason = ""
    ticket: Ticket | None = None
    begun: SkipValidation[Callable[[str], None] | None] = Field(default=None, repr=False)
    """Called with the act's id (`DlqBulkDone.event_id`) once its beginning is on record."""
    progress: SkipValidation[Callable[[DlqProgress], None] | None] = Field(default=None, repr=False)
    """Called after each batch. What it raises breaks the act off, which is recorded."""


class RequeueDlq(_DlqCommand):
    """Take all dead jobs that a filter matches out of the DLQ, with new attempts."""

    attempts: Attempts | None = None


class DiscardDlq(_DlqCommand):
    """Give all dead jobs that a filter matches up for good."""
