"""Every combination of filters that a list offers reads its page by an index, and visits few rows for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.ports import JobFilter, PageKey
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.lanes import Reading, reading_jobs, reading_the_dead
from jobledger.infrastructure.postgres.connections import Connections
from jobledger.infrastructure.sqlite import job_views as on_sqlite
from jobledger.infrastructure.sqlite.database import Database

from .test_view_indexes import (  # noqa: F401 - fixtures
    ORDERED,
    PAGE,
    SQLITE_STATEMENTS,
    explain_jobs,
    explain_sqlite,
    explain_the_dead,
    postgres,
    require_plan_on_sqlite,
    sqlite,
)

FROM, TO = datetime(2026, 3, 2, 2, tzinfo=UTC), datetime(2026, 3, 2, 3, tzinfo=UTC)
PAGES = [None, PageKey(datetime(2026, 3, 2, 2, 30, tzinfo=UTC), UUID(int=1))]
JOB_CHOICES: dict[str, list[Any]] = {
    "status": [None, JobStatus.COMPLETED, JobStatus.DLQ], "failed": [None, True, False], "job_type": [None, "type-3"],
    "kind": [None, "system"], "queue": [None, "queue-2"], "created_from": [None, FROM], "created_to": [None, TO],
}  # fmt: skip
DLQ_CHOICES: dict[str, list[Any]] = {
    "job_type": [None, "type-3"], "kind": [None, "system"], "queue": [None, "queue-2"], "persona": [None, "persona-2"],
    "reason": [None, "stalled"], "error_type": [None, "E-3"], "fingerprint": [None, "f-3"], "dead_from": [None, FROM],
    "dead_to": [None, TO],
}  # fmt: skip
LISTS = ["tenant_jobs", "persona_jobs"]


def job_filters() -> Iterator[JobFilter]:
    """All combinations of a job list's filters."""
    return (JobFilter(*chosen) for chosen in product(*JOB_CHOICES.values()))


def dlq_filters() -> Iterator[DlqFilter]:
    """All combinations of the filters of the dead-letter queue."""
    return (DlqFilter(**dict(zip(DLQ_CHOICES, chosen, strict=True))) for chosen in product(*DLQ_CHOICES.values()))


def test_every_filter_of_the_api_is_among_them() -> None:
    """A new filter has to be added here."""
    assert tuple(JOB_CHOICES) == JobFilter._fields
    assert tuple(DLQ_CHOICES) == tuple(DlqFilter.model_fields)


WHOLE = {"Seq Scan", "Bitmap Heap Scan", "Hash Join", "Merge Join"}
LANES = 30
"""Of a tenant: three statuses, two kinds, five queues. Lanes of a type have only that type's jobs."""
MOST_VISITED = LANES * (PAGE + 2) + PAGE + 1
"""A row a lane to find it, the newest of each, and the page."""


@pytest.mark.parametrize("table", LISTS)
def test_no_combination_reads_or_sorts_a_whole_tenant_on_postgres(
    postgres: Connections,  # noqa: F811
    table: str,
) -> None:
    """As `jobledger_api`, under row-level security, on the first page and on a later one: one index and the key, some
    rows of each lane."""
    for where, after in product(job_filters(), PAGES):
        plan = explain_jobs(postgres, table, where, after)
        assert not plan.nodes & WHOLE, where
        assert len(plan.indexes - {f"{table}_pkey"}) == 1 and plan.visited <= MOST_VISITED, where


def test_no_combination_reads_or_sorts_all_the_dead_on_postgres(postgres: Connections) -> None:  # noqa: F811
    """The same of the dead-letter queue."""
    for where in dlq_filters():
        plan = explain_the_dead(postgres, where)
        assert not plan.nodes & WHOLE, where
        assert len(plan.indexes - {"dlq_jobs_pkey"}) == 1 and plan.visited <= MOST_VISITED, where
        if reading_the_dead(where) is Reading.IN_ORDER:
            assert plan.nodes <= ORDERED, where


@pytest.mark.parametrize("table", LISTS)
def test_no_combination_reads_or_sorts_a_whole_tenant_on_sqlite(
    sqlite: Database,  # noqa: F811
    table: str,
) -> None:
    """With and without statistics: searches in one index, rows by their key."""
    for where, after in product(job_filters(), PAGES):
        values = {**on_sqlite.wanted("tenant-1", where, after, PAGE), "persona": "persona-2"}
        plan = explain_sqlite(sqlite, SQLITE_STATEMENTS[table](where), values)
        index = {Reading.IN_ORDER: "by_time", Reading.IN_LANES: "by_lane", Reading.OF_TYPE: "by_type"}
        reading = reading_jobs(where)
        require_plan_on_sqlite(plan, table, index[reading], in_order=reading is Reading.IN_ORDER)


def test_no_combination_reads_or_sorts_all_the_dead_on_sqlite(sqlite: Database) -> None:  # noqa: F811
    """The same of the dead-letter queue."""
    for where in dlq_filters():
        values = on_sqlite.wanted_dead("tenant-1", where, None, PAGE)
        plan = explain_sqlite(sqlite, on_sqlite.dlq_statement(where), values)
        index = {Reading.IN_ORDER: "by_", Reading.IN_LANES: "by_lane", Reading.OF_TYPE: "by_type_lane"}
        reading = reading_the_dead(where)
        if reading is Reading.IN_ORDER:
            assert plan.startswith("SEARCH dlq_jobs USING INDEX dlq_jobs_by_"), (where, plan)
            assert "TEMP" not in plan and "SCAN" not in plan and ";" not in plan, (where, plan)
        else:
            require_plan_on_sqlite(plan, "dlq_jobs", index[reading], in_order=False)
