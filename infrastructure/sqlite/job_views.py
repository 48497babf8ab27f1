"""The read models on SQLite. The tenant stands in every query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from sqlite3 import Connection
from typing import Any
from uuid import UUID

from jobledger.application.ports import (
    EVERY_VIEW,
    DlqError,
    DlqErrors,
    DlqPage,
    DlqRow,
    DlqSummary,
    JobFilter,
    JobListRow,
    JobPage,
    PageKey,
    TracedJob,
    TracePage,
    ViewName,
)
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import JobKind, JobStatus
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
from .database import Database
from .freshness import read_freshness
from .types import microseconds, moment, optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/job_views.sql", "sql/job_lanes.sql", "sql/reading.sql")

_SHORT = -8

Wanted = Mapping[str, str | int | bytes | None]


class SqliteJobViews:
    """The `JobViews` port on SQLite."""

    def __init__(self, database: Database, progress: Progress | None = None) -> None:
        self._database = database
        self._progress = progress

    def tenant_jobs(self, tenant: str, where: JobFilter, *, after: PageKey | None, limit: int) -> JobPage:
        """The jobs of a tenant, newest first."""
        values = wanted(tenant, where, after, limit)
        return self._job_page(TENANT_JOBS.name, tenant_statement(where), values, limit)

    def persona_jobs(
        self, tenant: str, persona: str, where: JobFilter, *, after: PageKey | None, limit: int
    ) -> JobPage:
        """The jobs of one persona of a tenant, newest first."""
        values = {**wanted(tenant, where, after, limit), "persona": persona}
        return self._job_page(PERSONA_JOBS.name, persona_statement(where), values, limit)

    def dlq(self, tenant: str, where: DlqFilter, *, after: PageKey | None, limit: int) -> DlqPage:
        """The jobs of a tenant in the dead-letter queue, most recently dead first."""
        with self._database.read() as connection:
            values = wanted_dead(tenant, where, after, limit)
            found = connection.execute(dlq_statement(where), values).fetchall()
            freshness = read_freshness(connection, DLQ.name, tenant)
        rows = tuple(_dead_job(*row) for row in found[:limit])
        return DlqPage(rows, PageKey(rows[-1].dead_at, rows[-1].job_id) if len(found) > limit else None, freshness)

    def dlq_summary(self, tenant: str, where: DlqFilter, *, groups: int) -> DlqSummary:
        """How many dead jobs of a tenant match, with the largest groups."""
        with self._database.read() as connection:
            freshness = read_freshness(connection, DLQ.name, tenant)
            values = wanted_dead(tenant, where, None, groups - 1)
            found = connection.execute(SQL["dlq_summary"], values).fetchall()
        return dlq_summary([_dlq_group(*row) for row in found], freshness)

    def dlq_errors(self, tenant: str, where: DlqFilter, *, limit: int) -> DlqErrors:
        """The errors that most dead jobs of a tenant died of."""
        with self._database.read() as connection:
            freshness = read_freshness(connection, DLQ.name, tenant)
            found = connection.execute(SQL["dlq_errors"], wanted_dead(tenant, where, None, limit - 1)).fetchall()
        return dlq_errors([_dlq_error(*row) for row in found], freshness)

    def request_jobs(self, tenant: str, correlation_id: str, *, after: UUID | None, limit: int) -> TracePage:
        """What was dispatched in a request, in the order of births."""
        with self._database.read() as connection:
            values = (tenant, correlation_id, (after or FIRST_ID).bytes, limit + 1)
            found = connection.execute(SQL["request_jobs"], values).fetchall()
            freshness = read_freshness(connection, JOB_TRACES.name, tenant)
        return TracePage(tuple(_traced(row) for row in found[:limit]), len(found) > limit, freshness)

    def caused_jobs(self, tenant: str, causes: Sequence[UUID], *, limit: int) -> TracePage:
        """The jobs that these jobs caused: by cause, then in the order of births."""
        found: list[tuple[Any, ...]] = []
        with self._database.read() as connection:
            for cause in sorted(causes):
                values = (tenant, cause.bytes, limit + 1 - len(found))
                found += connection.execute(SQL["caused_jobs"], values).fetchall()
                if len(found) > limit:
                    break
            freshness = read_freshness(connection, JOB_TRACES.name, tenant)
        return TracePage(tuple(_traced(row) for row in found[:limit]), len(found) > limit, freshness)

    def find_by_short_id(self, tenant: str, short_id: str) -> list[UUID]:
        """Ids of the tenant's jobs that end in these (8 or more) characters: from the list, else from the queue."""
        digits = short_id_digits(short_id)
        if digits is None:
            return []
        with self._database.read() as connection:
            listed = _ids(connection, SQL["jobs_by_short_id"], tenant, digits[_SHORT:])
            if found := ending_in(digits, listed):
                return found
            unlisted = first_unlisted_id(read_freshness(connection, JOB_SHORT_IDS.name, tenant).recorded_at)
            return ending_in(digits, _ids(connection, SQL["open_jobs_born_since"], tenant, unlisted.bytes))

    def wait_for(self, position: int, timeout_seconds: float, views: frozenset[ViewName] = EVERY_VIEW) -> bool:
        """Wait until these have reached `position`; False when time ran out."""
        return wait_for(position, timeout_seconds, self._lowest_position, self._progress, views=views)

    def _lowest_position(self, names: list[str]) -> int:
        with self._database.read() as connection:
            lowest: int = connection.execute(SQL["lowest_position"], (json.dumps(names),)).fetchone()[0]
        return lowest

    def _job_page(self, name: str, statement: str, values: Wanted, limit: int) -> JobPage:
        with self._database.read() as connection:
            found = connection.execute(statement, values).fetchall()
            freshness = read_freshness(connection, name, str(values["tenant"]))
        rows = tuple(_job(*row) for row in found[:limit])
        key = PageKey(rows[-1].created_at, rows[-1].job_id) if len(found) > limit else None
        return JobPage(rows, key, freshness)


_TENANT_JOBS_READ = {
    Reading.IN_ORDER: SQL["tenant_jobs_by_time"], Reading.IN_LANES: SQL["tenant_jobs_in_lanes"],
    Reading.OF_TYPE: SQL["tenant_jobs_of_type"],
}  # fmt: skip
_PERSONA_JOBS_READ = {
    Reading.IN_ORDER: SQL["persona_jobs_by_time"], Reading.IN_LANES: SQL["persona_jobs_in_lanes"],
    Reading.OF_TYPE: SQL["persona_jobs_of_type"],
}  # fmt: skip
_THE_DEAD_READ = {
    Reading.IN_ORDER: SQL["dlq_jobs_by_time"], Reading.IN_LANES: SQL["dlq_jobs_in_lanes"],
    Reading.OF_TYPE: SQL["dlq_jobs_of_type"],
}  # fmt: skip


def tenant_statement(where: JobFilter) -> str:
    """The block for this filter."""
    return _TENANT_JOBS_READ[reading_jobs(where)]


def persona_statement(where: JobFilter) -> str:
    """The block for this filter."""
    return _PERSONA_JOBS_READ[reading_jobs(where)]


def dlq_statement(where: DlqFilter) -> str:
    """The block for this filter. SQLite does not look at values when it chooses an index: of those filters that have
    one in the order of the pages, the first that is given leads, because it says most."""
    if where.fingerprint is not None:
        return SQL["dlq_jobs_by_fingerprint"]
    if where.error_type is not None:
        return SQL["dlq_jobs_by_error"]
    if where.persona is not None:
        return SQL["dlq_jobs_by_persona"]
    reading = reading_the_dead(where)
    if reading is Reading.IN_ORDER and where.job_type is not None:
        return SQL["dlq_jobs_by_type"]
    return _THE_DEAD_READ[reading]


def wanted(tenant: str, where: JobFilter, after: PageKey | None, limit: int) -> Wanted:
    """The values of a list query; one row more than the page tells whether there is another."""
    page, lanes = bounds(where, after), job_lanes(where)
    return {
        "tenant": tenant, "job_type": where.job_type, "statuses": json.dumps(lanes.statuses),
        "failures": json.dumps([int(failed) for failed in lanes.failed]), "kinds": json.dumps(lanes.kinds),
        "first_queue": lanes.queues.first, "last_queue": lanes.queues.last, "limit": limit + 1,
        "created_from": microseconds(page.since), "before_at": microseconds(page.before.created_at),
        "before_id": page.before.job_id.bytes,
    }  # fmt: skip


def wanted_dead(tenant: str, where: DlqFilter, after: PageKey | None, limit: int) -> Wanted:
    """The same of a query of the dead-letter queue."""
    page, lanes = dlq_bounds(where, after), dead_lanes(where)
    return {
        **dlq_filters(where), "tenant": tenant, "reasons": json.dumps(lanes.reasons), "kinds": json.dumps(lanes.kinds),
        "first_queue": lanes.queues.first, "last_queue": lanes.queues.last, "limit": limit + 1,
        "dead_from": microseconds(page.since), "before_at": microseconds(page.before.created_at),
        "before_id": page.before.job_id.bytes,
    }  # fmt: skip


def _job(  # noqa: PLR0917 - the columns of every listing statement, in their order
    job_id: bytes, tenant: str, persona: str | None, status: str, failed: int, job_type: str, kind: JobKind, queue: str,
    priority: int, attempt: int, attempts_counted: int, attempts_allowed: int, created_at: int, updated_at: int,
    due_at: int | None, started_at: int | None, completed_at: int | None, error_type: str | None,
    error_message: str | None, progress: float | None,
) -> JobListRow:  # fmt: skip
    return JobListRow(
        UUID(bytes=job_id), tenant, persona, JobStatus(status), bool(failed), job_type, kind, queue, priority, attempt,
        attempts_counted, attempts_allowed, moment(created_at), moment(updated_at), optional_moment(due_at),
        optional_moment(started_at), optional_moment(completed_at), error_type, error_message, progress,
    )  # fmt: skip


def _traced(row: tuple[Any, ...]) -> TracedJob:
    """A traced job, with its line in the list where there is one."""
    job_id, correlation_id, causation_id, caused_by, created_at, *listed = row
    return TracedJob(
        UUID(bytes=job_id), correlation_id, causation_id, None if caused_by is None else UUID(bytes=caused_by),
        moment(created_at), None if listed[0] is None else _job(*listed),
    )  # fmt: skip


def _dead_job(  # noqa: PLR0917 - as above
    job_id: bytes, tenant: str, persona: str | None, job_type: str, kind: JobKind, queue: str, reason: str,
    error_type: str, error_message: str, fingerprint: str, attempt: int, created_at: int, dead_at: int,
) -> DlqRow:  # fmt: skip
    return DlqRow(
        UUID(bytes=job_id), tenant, persona, job_type, kind, queue, reason, error_type, error_message, fingerprint,
        attempt, moment(created_at), moment(dead_at),
    )  # fmt: skip


def _dlq_group(  # noqa: PLR0917 - as above
    job_type: str, reason: str, error_type: str, jobs: int, all_jobs: int, all_groups: int, first: int, last: int
) -> DlqSummaryRow:
    return DlqSummaryRow(job_type, reason, error_type, jobs, all_jobs, all_groups, moment(first), moment(last))


def _dlq_error(  # noqa: PLR0917 - as above
    fingerprint: str, error_type: str, error_message: str, job_type: str, job_types: int, jobs: int, first: int,
    last: int, all_errors: int, all_jobs: int,
) -> DlqErrorRow:  # fmt: skip
    error = DlqError(fingerprint, error_type, error_message, job_type, job_types, jobs, moment(first), moment(last))
    return DlqErrorRow(error, all_errors, all_jobs)


def _ids(connection: Connection, statement: str, *values: str | bytes) -> list[UUID]:
    return [UUID(bytes=row[0]) for row in connection.execute(statement, values).fetchall()]
