"""The read models of jobs: filters, pages, and the queries that answer them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import JobKind, JobStatus

from .freshness import Freshness


class JobFilter(NamedTuple):
    """Filters of a job list; None is no filter. `failed` = the last attempt failed and it has not completed since.
    Times are aware and bound `created_at` (from inclusive, to exclusive)."""

    status: JobStatus | None = None
    failed: bool | None = None
    job_type: str | None = None
    kind: JobKind | None = None
    queue: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


class PageKey(NamedTuple):
    """Where a page begins: after this row, newest first."""

    created_at: datetime
    job_id: UUID


class JobListRow(NamedTuple):
    """One line of a job list (R0.1, R1.7)."""

    job_id: UUID
    tenant: str
    persona: str | None
    status: JobStatus
    failed: bool
    job_type: str
    kind: JobKind
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


class DlqRow(NamedTuple):
    """One line of the dead-letter queue."""

    job_id: UUID
    tenant: str
    persona: str | None
    job_type: str
    kind: JobKind
    queue: str
    reason: str
    error_type: str
    error_message: str
    fingerprint: str
    attempt: int
    created_at: datetime
    dead_at: datetime


class JobPage(NamedTuple):
    """A page of a job list. `next` is None on the last page."""

    rows: tuple[JobListRow, ...]
    next: PageKey | None
    freshness: Freshness


class DlqPage(NamedTuple):
    """A page of the DLQ, most recently dead first (`PageKey.created_at` is then `dead_at`)."""

    rows: tuple[DlqRow, ...]
    next: PageKey | None
    freshness: Freshness


class DlqGroup(NamedTuple):
    """Dead jobs of one type that died of the same thing."""

    job_type: str
    reason: str
    error_type: str
    jobs: int


class DlqSummary(NamedTuple):
    """How many dead jobs match a filter, when the first and the last of them died, and the largest groups of them
    (`group_count` says how many there are)."""

    jobs: int
    first_dead_at: datetime | None
    last_dead_at: datetime | None
    groups: tuple[DlqGroup, ...]
    group_count: int
    freshness: Freshness


class DlqError(NamedTuple):
    """Dead jobs that died of the same error: `fingerprint` is the same, the rest is that of one of them. `job_types`
    counts the types among them."""

    fingerprint: str
    error_type: str
    error_message: str
    job_type: str
    job_types: int
    jobs: int
    first_dead_at: datetime
    last_dead_at: datetime


class DlqErrors(NamedTuple):
    """The errors that most dead jobs died of, the most frequent first; how many errors and jobs there are in all."""

    errors: tuple[DlqError, ...]
    error_count: int
    jobs: int
    freshness: Freshness


class TracedJob(NamedTuple):
    """A job in the trace of a request: what caused it, the job that did (None: not a job), and its line in the list
    (None: the list does not show it yet; or this is the record of a refused dispatch)."""

    job_id: UUID
    correlation_id: str
    causation_id: str | None
    caused_by: UUID | None
    created_at: datetime
    listed: JobListRow | None


class TracePage(NamedTuple):
    """Jobs of a trace, and whether there are more."""

    jobs: tuple[TracedJob, ...]
    more: bool
    freshness: Freshness


class ViewName(StrEnum):
    """A read model that queries read: who waits for one is not kept waiting by the others."""

    TENANT_JOBS = "tenant_jobs"
    PERSONA_JOBS = "persona_jobs"
    DLQ_JOBS = "dlq_jobs"
    SHORT_IDS = "job_short_ids"
    TRACES = "job_traces"
    TENANT_STATISTICS = "tenant_statistics"
    QUEUE_STATISTICS = "queue_statistics"


EVERY_VIEW = frozenset(ViewName)


class JobViews(Protocol):
    """The read models. A tenant is a required argument of each query."""

    def tenant_jobs(self, tenant: str, where: JobFilter, *, after: PageKey | None, limit: int) -> JobPage:
        """The jobs of a tenant, newest first."""
        ...

    def persona_jobs(
        self, tenant: str, persona: str, where: JobFilter, *, after: PageKey | None, limit: int
    ) -> JobPage:
        """The jobs of one persona of a tenant, newest first."""
        ...

    def dlq(self, tenant: str, where: DlqFilter, *, after: PageKey | None, limit: int) -> DlqPage:
        """The jobs of a tenant in the dead-letter queue, most recently dead first."""
        ...

    def dlq_summary(self, tenant: str, where: DlqFilter, *, groups: int) -> DlqSummary:
        """How many dead jobs of a tenant match, with the `groups` largest groups. Visits each of them."""
        ...

    def dlq_errors(self, tenant: str, where: DlqFilter, *, limit: int) -> DlqErrors:
        """The errors that most dead jobs of a tenant died of, by fingerprint. Visits each job that matches."""
        ...

    def request_jobs(self, tenant: str, correlation_id: str, *, after: UUID | None, limit: int) -> TracePage:
        """What was dispatched in a request, in the order of ids, which is that of births; `after` that one. Under the
        tenant of the installation: the records of its dispatches that were refused."""
        ...

    def caused_jobs(self, tenant: str, causes: Sequence[UUID], *, limit: int) -> TracePage:
        """The jobs that these jobs caused: by cause, then in the order of births."""
        ...

    def find_by_short_id(self, tenant: str, short_id: str) -> list[UUID]:
        """Ids of the tenant's jobs that end in these (8 or more) characters: from the list, else from the queue."""
        ...

    def wait_for(self, position: int, timeout_seconds: float, views: frozenset[ViewName] = EVERY_VIEW) -> bool:
        """Wait until these have reached `position` (read your own writes); False when time ran out."""
        ...
