"""Every combination of filters that a list offers reads its page from an index, in the order of the page."""

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
from jobledger.infrastructure.postgres import job_views as on_postgres
from jobledger.infrastructure.postgres.connections import Connections
from jobledger.infrastructure.sqlite import job_views as on_sqlite
from jobledger.infrastructure.sqlite.database import Database

from .test_view_indexes import (  # noqa: F401 - fixtures
    ORDERED,
    explain_postgres,
    explain_sqlite,
    postgres,
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


@pytest.mark.parametrize("table", LISTS)
def test_no_combination_reads_or_sorts_a_whole_tenant_on_postgres(
    postgres: Connections,  # noqa: F811
    table: str,
) -> None:
    """As `jobledger_api`, under row-level security, on the first page and on a later one: one index, nothing sorted."""
    for where, after in product(job_filters(), PAGES):
        wanted = {**on_postgres.wanted("tenant-1", where, after, 50), "persona": "persona-2"}
        nodes, indexes = explain_postgres(postgres, on_postgres.SQL[table], wanted)
        assert nodes <= ORDERED, where
        assert len(indexes) == 1 and indexes.pop().startswith(f"{table}_"), where


def test_no_combination_reads_or_sorts_all_the_dead_on_postgres(postgres: Connections) -> None:  # noqa: F811
    """The same of the dead-letter queue."""
    for where in dlq_filters():
        wanted = on_postgres.wanted_dead("tenant-1", where, None, 50)
        nodes, indexes = explain_postgres(postgres, on_postgres.SQL["dlq_jobs"], wanted)
        assert nodes <= ORDERED and len(indexes) == 1, where


@pytest.mark.parametrize("table", LISTS)
def test_no_combination_reads_or_sorts_a_whole_tenant_on_sqlite(
    sqlite: Database,  # noqa: F811
    table: str,
) -> None:
    """With and without statistics: a search in one index, no temporary tree."""
    choose = {"tenant_jobs": on_sqlite.tenant_statement, "persona_jobs": on_sqlite.persona_statement}[table]
    for where, after in product(job_filters(), PAGES):
        values = {**on_sqlite.wanted("tenant-1", where, after, 50), "persona": "persona-2"}
        plan = explain_sqlite(sqlite, choose(where), values)
        assert plan.startswith(f"SEARCH {table} USING INDEX {table}_"), (where, plan)
        assert "TEMP" not in plan and "SCAN" not in plan and ";" not in plan, (where, plan)


def test_no_combination_reads_or_sorts_all_the_dead_on_sqlite(sqlite: Database) -> None:  # noqa: F811
    """The same of the dead-letter queue."""
    for where in dlq_filters():
        plan = explain_sqlite(
            sqlite, on_sqlite.dlq_statement(where), on_sqlite.wanted_dead("tenant-1", where, None, 50)
        )
        assert plan.startswith("SEARCH dlq_jobs USING INDEX dlq_jobs_by_"), (where, plan)
        assert "TEMP" not in plan and "SCAN" not in plan and ";" not in plan, (where, plan)
