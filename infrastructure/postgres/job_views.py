"""The read models on PostgreSQL, as `jobledger_api`: one tenant a transaction, under row-level security."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from jobledger.application.ports import (
    EVERY_VIEW,
    DlqError,
    DlqErrors,
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
from jobledger.projections.job_short_ids import JOB_SHORT_IDS
from jobledger.projections.job_traces import JOB_TRACES
from jobledger.projections.persona_jobs import PERSONA_JOBS
from jobledger.projections.progress import Progress
from jobledger.projections.tenant_jobs import TENANT_JOBS

from ..job_pages import (
    FIRST_ID,
    DlqErrorRow,
    DlqSummaryRow,
    bounds,
    dlq_bounds,
    dlq_errors,
    dlq_filters,
    dlq_summary,
    ending_in,
    first_unlisted_id,
    short_id_digits,
    wait_for,
)
from ..lanes import Reading, dead_lanes, job_lanes, reading_jobs, reading_the_dead
from ..sql_blocks import load
from .connections import Connections, PgConnection, Role
from .freshness import PostgresFreshness
from .reader import Horizon

SQL = load("jobledger.infrastructure.postgres", "sql/job_views.sql", "sql/job_lanes.sql")

TENANT_JOBS_READ = {
    Reading.IN_ORDER: SQL["tenant_jobs_by_time"], Reading.IN_LANES: SQL["tenant_jobs_in_lanes"],
    Reading.OF_TYPE: SQL["tenant_jobs_of_type"],
}  # fmt: skip
PERSONA_JOBS_READ = {
    Reading.IN_ORDER: SQL["persona_jobs_by_time"], Reading.IN_LANES: SQL["persona_jobs_in_lanes"],
    Reading.OF_TYPE: SQL["persona_jobs_of_type"],
}  # fmt: skip
DLQ_READ = {
    Reading.IN_ORDER: SQL["dlq_jobs"], Reading.IN_LANES: SQL["dlq_jobs_in_lanes"],
    Reading.OF_TYPE: SQL["dlq_jobs_of_type"],
}  # fmt: skip

_SHORT = -8
_TRACED = 5
"""Columns of a traced job, in front of those of its line in the list."""


class PostgresJobViews:
    """The `JobViews` port on PostgreSQL."""

    def __init__(
        self,
        connections: Connections,
        horizon: Horizon | None = None,
        progress: Progress | None = None,
        announce: Callable[[], None] | None = None,
    ) -> None:
        """`announce` tells the processes that keep the lists that somebody waits for them."""
        self._connections = connections
        self._progress = progress
        self._announce = announce
        self._freshness = PostgresFreshness(connections, horizon or Horizon(connections))

    def tenant_jobs(self, tenant: str, where: JobFilter, *, after: PageKey | None, limit: int) -> JobPage:
        """The jobs of a tenant, newest first."""
        values = wanted(tenant, where, after, limit)
        return self._job_page(TENANT_JOBS.name, TENANT_JOBS_READ[reading_jobs(where)], values, limit)

    def persona_jobs(
        self, tenant: str, persona: str, where: JobFilter, *, after: PageKey | None, limit: int
    ) -> JobPage:
        """The jobs of one persona of a tenant, newest first."""
        values = {**wanted(tenant, where, after, limit), "persona": persona}
        return self._job_page(PERSONA_JOBS.name, PERSONA_JOBS_READ[reading_jobs(where)], values, limit)

    def dlq(self, tenant: str, where: DlqFilter, *, after: PageKey | None, limit: int) -> DlqPage:
        """The jobs of a tenant in the dead-letter queue, most recently dead first."""
        values = wanted_dead(tenant, where, after, limit)
        found, freshness = self._list(DLQ.name, DLQ_READ[reading_the_dead(where)], values)
        rows = tuple(DlqRow(*row) for row in found[:limit])
        return DlqPage(rows, PageKey(rows[-1].dead_at, rows[-1].job_id) if len(found) > limit else None, freshness)

    def dlq_summary(self, tenant: str, where: DlqFilter, *, groups: int) -> DlqSummary:
        """How many dead jobs of a tenant match, with the largest groups."""
        values = wanted_dead(tenant, where, None, groups - 1)
        found, freshness = self._list(DLQ.name, SQL["dlq_summary"], values, in_index_order=False)
        return dlq_summary([DlqSummaryRow(*row) for row in found], freshness)

    def dlq_errors(self, tenant: str, where: DlqFilter, *, limit: int) -> DlqErrors:
        """The errors that most dead jobs of a tenant died of."""
        values = wanted_dead(tenant, where, None, limit - 1)
        found, freshness = self._list(DLQ.name, SQL["dlq_errors"], values, in_index_order=False)
        return dlq_errors([DlqErrorRow(DlqError(*row[:-2]), *row[-2:]) for row in found], freshness)

    def request_jobs(self, tenant: str, correlation_id: str, *, after: UUID | None, limit: int) -> TracePage:
        """What was dispatched in a request, in the order of births."""
        values = {"tenant": tenant, "correlation_id": correlation_id, "after": after or FIRST_ID, "limit": limit + 1}
        return self._trace_page(SQL["request_jobs"], values, limit)

    def caused_jobs(self, tenant: str, causes: Sequence[UUID], *, limit: int) -> TracePage:
        """The jobs that these jobs caused: by cause, then in the order of births."""
        values = {"tenant": tenant, "causes": sorted(causes), "limit": limit + 1}
        return self._trace_page(SQL["caused_jobs"], values, limit)

    def _trace_page(self, statement: str, values: dict[str, object], limit: int) -> TracePage:
        found, freshness = self._list(JOB_TRACES.name, statement, values)
        jobs = tuple(TracedJob(*(*row[:_TRACED], _list_row(row[_TRACED:]))) for row in found[:limit])
        return TracePage(jobs, len(found) > limit, freshness)

    def find_by_short_id(self, tenant: str, short_id: str) -> list[UUID]:
        """Ids of the tenant's jobs that end in these (8 or more) characters: from the list, else from the queue."""
        digits = short_id_digits(short_id)
        if digits is None:
            return []
        with self._connections.tenant_transaction(tenant) as connection:
            listed = _ids(connection, SQL["jobs_by_short_id"], tenant, digits[_SHORT:])
            if found := ending_in(digits, listed):
                return found
            checkpoint = connection.execute(SQL["checkpoint"], (JOB_SHORT_IDS.name,)).fetchone()
            unlisted = first_unlisted_id(None if checkpoint is None else checkpoint[1])
            return ending_in(digits, _ids(connection, SQL["open_jobs_born_since"], tenant, unlisted))

    def wait_for(self, position: int, timeout_seconds: float, views: frozenset[ViewName] = EVERY_VIEW) -> bool:
        """Wait until these have reached `position`; False when time ran out."""
        return wait_for(
            position, timeout_seconds, self._lowest_position, self._progress, views=views, announce=self._announce
        )

    def _lowest_position(self, names: list[str]) -> int:
        with self._connections.connection(Role.API) as connection:
            row = connection.execute(SQL["lowest_position"], (names,)).fetchone()
        return 0 if row is None else int(row[0])

    def _job_page(self, name: str, statement: str, values: dict[str, object], limit: int) -> JobPage:
        found, freshness = self._list(name, statement, values, prepare=True)
        rows = tuple(row for found_row in found[:limit] if (row := _list_row(found_row)) is not None)
        key = PageKey(rows[-1].created_at, rows[-1].job_id) if len(found) > limit else None
        return JobPage(rows, key, freshness)

    def _list(
        self,
        name: str,
        statement: str,
        values: dict[str, object],
        *,
        in_index_order: bool = True,
        prepare: bool = False,
    ) -> tuple[Sequence[tuple[Any, ...]], Freshness]:
        tenant = str(values["tenant"])
        with self._connections.tenant_transaction(tenant) as connection:
            asked = self._freshness.ask(connection, name)
            if in_index_order:
                connection.execute(SQL["in_index_order"], prepare=True)
            found = connection.execute(statement, values, prepare=prepare, binary=True)
            at, rows = asked.fetchone(), found.fetchall()
        return rows, self._freshness.told(name, at)


def _list_row(row: Sequence[Any]) -> JobListRow | None:
    """A line of a list; None for the columns of one that is not there."""
    return None if row[0] is None else JobListRow(*row)._replace(status=JobStatus(row[3]))


def wanted(tenant: str, where: JobFilter, after: PageKey | None, limit: int) -> dict[str, object]:
    """The values of a list query; one row more than the page tells whether there is another."""
    page, lanes = bounds(where, after), job_lanes(where)
    return {
        "tenant": tenant, "job_type": where.job_type, "statuses": list(lanes.statuses), "failures": list(lanes.failed),
        "kinds": list(lanes.kinds), "first_queue": lanes.queues.first, "last_queue": lanes.queues.last,
        "created_from": page.since, "before_at": page.before.created_at, "before_id": page.before.job_id,
        "limit": limit + 1,
    }  # fmt: skip


def wanted_dead(tenant: str, where: DlqFilter, after: PageKey | None, limit: int) -> dict[str, object]:
    """The same of a query of the dead-letter queue."""
    page, lanes = dlq_bounds(where, after), dead_lanes(where)
    return {
        **dlq_filters(where), "tenant": tenant, "reasons": list(lanes.reasons), "kinds": list(lanes.kinds),
        "first_queue": lanes.queues.first, "last_queue": lanes.queues.last, "dead_from": page.since,
        "before_at": page.before.created_at, "before_id": page.before.job_id, "limit": limit + 1,
    }  # fmt: skip


def _ids(connection: PgConnection, statement: str, *values: object) -> list[UUID]:
    return [row[0] for row in connection.execute(statement, values, binary=True).fetchall()]
