"""The read models in memory: the same projections as everywhere, folded when somebody looks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

from jobledger.application.ports import (
    EVERY_VIEW,
    DlqError,
    DlqErrors,
    DlqGroup,
    DlqPage,
    DlqRow,
    DlqSummary,
    Freshness,
    JobFilter,
    JobListRow,
    JobPage,
    PageKey,
    TracedJob,
    TracePage,
    ViewName,
)
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import JobStatus
from jobledger.projections.dlq import DLQ
from jobledger.projections.job_traces import JOB_TRACES
from jobledger.projections.projection import Cause, KnownFacts, Projection, Row, SeenEvent, Value
from jobledger.projections.tenant_jobs import TENANT_JOBS

from ..job_pages import dlq_filters
from .store import Store, Stored

_Rows = dict[tuple[Value, ...], Row]


class View:
    """A projection's rows, brought up to date before each look."""

    def __init__(self, store: Store, projection: Projection) -> None:
        self._store = store
        self._projection = projection
        self._rows: _Rows = {}
        self._position = 0

    def rows(self) -> list[dict[str, Any]]:
        """All rows, as of now."""
        with self._store.lock:
            for stored in self._store.events[self._position :]:
                if stored.topic in self._projection.topics:
                    self._fold(_seen(stored))
            self._position = len(self._store.events)
            return [dict(row) for row in self._rows.values()]

    def _fold(self, event: SeenEvent) -> None:
        key = self._projection.key(event)
        if key is None:
            return
        row = self._projection.fold(self._rows.get(key), event)
        if row is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = row


def _seen(stored: Stored) -> SeenEvent:
    event = stored.read(bodies=False)
    cause = Cause(event.metadata.correlation_id, event.metadata.causation_id)
    return SeenEvent(*stored[:6], b"", KnownFacts(event.facts, cause))


class MemoryJobViews:
    """The `JobViews`; always current."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs = View(store, TENANT_JOBS)
        self._dlq = View(store, DLQ)
        self._traces = View(store, JOB_TRACES)

    def tenant_jobs(self, tenant: str, where: JobFilter, *, after: PageKey | None, limit: int) -> JobPage:
        """The jobs of a tenant, newest first."""
        return self._jobs_page(lambda row: row["tenant_id"] == tenant, where, after, limit)

    def persona_jobs(
        self, tenant: str, persona: str, where: JobFilter, *, after: PageKey | None, limit: int
    ) -> JobPage:
        """The jobs of one persona of a tenant, newest first."""
        return self._jobs_page(
            lambda row: row["tenant_id"] == tenant and row["persona"] == persona, where, after, limit
        )

    def dlq(self, tenant: str, where: DlqFilter, *, after: PageKey | None, limit: int) -> DlqPage:
        """The dead jobs of a tenant, most recently dead first."""
        page, following = _page(self._dead(tenant, where), "dead_at", after, limit)
        return DlqPage(tuple(_dlq_row(row) for row in page), following, self._freshness())

    def dlq_summary(self, tenant: str, where: DlqFilter, *, groups: int) -> DlqSummary:
        """How many dead jobs match, with the largest groups."""
        rows = self._dead(tenant, where)
        deaths = [row["dead_at"] for row in rows]
        counted = Counter((row["job_type"], row["reason"], row["error_type"]) for row in rows)
        largest = sorted(counted.items(), key=lambda group: (-group[1], group[0]))[:groups]
        return DlqSummary(
            len(rows), min(deaths, default=None), max(deaths, default=None),
            tuple(DlqGroup(*names, jobs) for names, jobs in largest), len(counted), self._freshness(),
        )  # fmt: skip

    def dlq_errors(self, tenant: str, where: DlqFilter, *, limit: int) -> DlqErrors:
        """The errors that most dead jobs died of."""
        rows = self._dead(tenant, where)
        by_error: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            by_error.setdefault(row["fingerprint"], []).append(row)
        errors = sorted(
            (_dlq_error(fingerprint, dead) for fingerprint, dead in by_error.items()),
            key=lambda error: (-error.jobs, error.fingerprint),
        )
        return DlqErrors(tuple(errors[:limit]), len(errors), len(rows), self._freshness())

    def _dead(self, tenant: str, where: DlqFilter) -> list[dict[str, Any]]:
        return [row for row in self._dlq.rows() if row["tenant_id"] == tenant and _is_meant(row, where)]

    def request_jobs(self, tenant: str, correlation_id: str, *, after: UUID | None, limit: int) -> TracePage:
        """What was dispatched in a request, in the order of births."""
        rows = [
            row
            for row in self._traces.rows()
            if (row["tenant_id"], row["correlation_id"]) == (tenant, correlation_id)
            and (after is None or row["job_id"] > after)
        ]
        return self._trace_page(sorted(rows, key=itemgetter("job_id")), limit)

    def caused_jobs(self, tenant: str, causes: Sequence[UUID], *, limit: int) -> TracePage:
        """The jobs that these jobs caused: by cause, then in the order of births."""
        rows = [row for row in self._traces.rows() if row["tenant_id"] == tenant and row["caused_by"] in causes]
        return self._trace_page(sorted(rows, key=itemgetter("caused_by", "job_id")), limit)

    def _trace_page(self, rows: list[dict[str, Any]], limit: int) -> TracePage:
        listed = {row["job_id"]: _list_row(row) for row in self._jobs.rows()}
        jobs = tuple(
            TracedJob(
                row["job_id"], row["correlation_id"], row["causation_id"], row["caused_by"], row["created_at"],
                listed.get(row["job_id"]),
            )
            for row in rows[:limit]
        )  # fmt: skip
        return TracePage(jobs, len(rows) > limit, self._freshness())

    def find_by_short_id(self, tenant: str, short_id: str) -> list[UUID]:
        """Ids of the tenant's jobs that end in these characters."""
        rows = [row for row in self._jobs.rows() if row["tenant_id"] == tenant]
        return [row["job_id"] for row in rows if row["job_id"].hex.endswith(short_id)]

    def wait_for(self, position: int, timeout_seconds: float, views: frozenset[ViewName] = EVERY_VIEW) -> bool:
        """Whether the position was reached: what is looked at is always current."""
        del timeout_seconds, views
        with self._store.lock:
            return position <= len(self._store.events)

    def _jobs_page(
        self, belongs: Callable[[dict[str, Any]], bool], where: JobFilter, after: PageKey | None, limit: int
    ) -> JobPage:
        rows = [row for row in self._jobs.rows() if belongs(row) and _matches(row, where)]
        page, following = _page(rows, "created_at", after, limit)
        return JobPage(tuple(_list_row(row) for row in page), following, self._freshness())

    def _freshness(self) -> Freshness:
        events = self._store.events
        return Freshness(len(events), len(events), events[-1].recorded_at if events else None)


def _matches(row: dict[str, Any], where: JobFilter) -> bool:
    return (
        (where.status is None or row["status"] == where.status)
        and (where.failed is None or row["failed"] == where.failed)
        and (where.job_type is None or row["job_type"] == where.job_type)
        and (where.kind is None or row["kind"] == where.kind)
        and (where.queue is None or row["queue"] == where.queue)
        and (where.created_from is None or row["created_at"] >= where.created_from)
        and (where.created_to is None or row["created_at"] < where.created_to)
    )


def _is_meant(row: dict[str, Any], where: DlqFilter) -> bool:
    return (
        all(wanted is None or row[name] == wanted for name, wanted in dlq_filters(where).items())
        and (where.dead_from is None or row["dead_at"] >= where.dead_from)
        and (where.dead_to is None or row["dead_at"] < where.dead_to)
    )


def _page(
    rows: list[dict[str, Any]], time: str, after: PageKey | None, limit: int
) -> tuple[list[dict[str, Any]], PageKey | None]:
    def place(row: dict[str, Any]) -> tuple[datetime, UUID]:
        return (row[time], row["job_id"])

    rest = sorted((row for row in rows if after is None or place(row) < after), key=place, reverse=True)
    page = rest[:limit]
    return page, PageKey(*place(page[-1])) if len(rest) > limit else None


def _list_row(row: dict[str, Any]) -> JobListRow:
    values = {name: row[name] for name in JobListRow._fields if name in row}
    return JobListRow(**{**values, "tenant": row["tenant_id"], "status": JobStatus(row["status"])})


def _dlq_error(fingerprint: str, rows: list[dict[str, Any]]) -> DlqError:
    error_type, error_message, job_type = (
        min(row[name] for row in rows) for name in ("error_type", "error_message", "job_type")
    )
    deaths = [row["dead_at"] for row in rows]
    types = len({row["job_type"] for row in rows})
    return DlqError(fingerprint, error_type, error_message, job_type, types, len(rows), min(deaths), max(deaths))


def _dlq_row(row: dict[str, Any]) -> DlqRow:
    return DlqRow(**{**{name: row[name] for name in DlqRow._fields if name in row}, "tenant": row["tenant_id"]})
