"""Statistics are read by a tenant and a time, or by a time, on both engines: never the whole table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path

import psycopg
import pytest

from jobledger.application.ports import GroupBy
from jobledger.infrastructure.postgres import statistics as on_postgres
from jobledger.infrastructure.postgres.connections import Connections, PgConnection, Role
from jobledger.infrastructure.sqlite import statistics as on_sqlite
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.migrations import migrate
from jobledger.projections.job_statistics import COUNTED_COLUMNS
from tests.support.postgres import TestCluster

GROUPINGS = [frozenset(by) for size in range(5) for by in combinations(GroupBy, size)]
SINCE = datetime(2026, 3, 2, 12, tzinfo=UTC)
UNTIL = SINCE + timedelta(hours=6)
LIMIT = 100

_NAMES = ", ".join(column.name for column in COUNTED_COLUMNS)
_ONES = ", ".join("1" for _ in COUNTED_COLUMNS)

# A hundred days of three tenants, four personas and five types; of ten queues, a day of minutes.
POSTGRES_TENANTS = f"""
INSERT INTO tenant_statistics (tenant_id, bucket_at, persona, job_type, queue, {_NAMES})
SELECT 'tenant-' || tenant, timestamptz '2026-01-01' + hour * interval '1 hour', 'persona-' || persona, 'type-' || type,
  'default', {_ONES}
FROM generate_series(1, 3) AS tenant, generate_series(1, 2400) AS hour, generate_series(1, 4) AS persona,
  generate_series(1, 2) AS type
"""
POSTGRES_QUEUES = f"""
INSERT INTO queue_statistics (bucket_at, queue, {_NAMES})
SELECT timestamptz '2026-03-02' + minute * interval '1 minute', 'queue-' || queue, {_ONES}
FROM generate_series(1, 2880) AS minute, generate_series(1, 10) AS queue
"""


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "analysed"])
def postgres(request: pytest.FixtureRequest, postgres_cluster: TestCluster) -> Iterator[Connections]:
    """A database with filled statistics, with and without what ANALYZE knows."""
    with postgres_cluster.database(migrated=True) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("SET search_path = jobledger; SET ROLE jobledger_projector")
            connection.execute(POSTGRES_TENANTS)
            connection.execute(POSTGRES_QUEUES)
            if request.param:
                connection.execute("RESET ROLE; ANALYZE tenant_statistics, queue_statistics")
        connections = Connections(dsn)
        yield connections
        connections.close()


def plan_of(connection: PgConnection, statement: str, values: Mapping[str, object]) -> str:
    """What PostgreSQL is about to do."""
    rows = connection.execute(f"EXPLAIN {statement}", values, prepare=False).fetchall()
    return "\n".join(line for (line,) in rows)


@pytest.mark.parametrize("by", GROUPINGS, ids=lambda by: " ".join(sorted(by)) or "total")
def test_a_tenants_statistics_read_its_rows_on_postgres(postgres: Connections, by: frozenset[GroupBy]) -> None:
    """Under row-level security too: only the tenant's rows of the time, whatever is grouped by."""
    values = {**on_postgres.wanted(by, SINCE, UNTIL, LIMIT), "tenant": "tenant-1"}
    with postgres.tenant_transaction("tenant-1") as connection:
        plan = plan_of(connection, on_postgres.SQL["tenant_statistics"], values)
    assert "tenant_statistics_pkey" in plan and "Seq Scan" not in plan
    (condition,) = [line for line in plan.splitlines() if "Index Cond" in line]
    assert "tenant_id = 'tenant-1'" in condition and "bucket_at >=" in condition and "bucket_at <" in condition


@pytest.mark.parametrize("by", [frozenset[GroupBy](), frozenset({GroupBy.BUCKET, GroupBy.QUEUE})], ids=len)
def test_the_queues_statistics_read_their_time_on_postgres(postgres: Connections, by: frozenset[GroupBy]) -> None:
    """Only rows of the time."""
    with postgres.transaction(Role.AUDITOR) as connection:
        plan = plan_of(connection, on_postgres.SQL["queue_statistics"], on_postgres.wanted(by, SINCE, UNTIL, LIMIT))
    assert "queue_statistics_pkey" in plan and "Seq Scan" not in plan
    (condition,) = [line for line in plan.splitlines() if "Index Cond" in line]
    assert "bucket_at >=" in condition and "bucket_at <" in condition


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A file with the tables."""
    path: Path = tmp_path_factory.mktemp("statistics") / "ledger.db"
    migrate(path)
    database = Database(path)
    yield database
    database.close()


def explained(database: Database, statement: str, values: on_sqlite.Wanted) -> str:
    """What SQLite is about to do."""
    with database.read() as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    return "; ".join(row[3] for row in rows)


@pytest.mark.parametrize("by", GROUPINGS, ids=lambda by: " ".join(sorted(by)) or "total")
def test_statistics_read_a_key_on_sqlite(sqlite: Database, by: frozenset[GroupBy]) -> None:
    """A tenant and a time, or a time, are looked up."""
    values = {**on_sqlite.wanted(by, SINCE, UNTIL, LIMIT), "tenant": "tenant-1"}
    plan = explained(sqlite, on_sqlite.SQL["tenant_statistics"], values)
    assert "SEARCH tenant_statistics USING PRIMARY KEY (tenant_id=? AND bucket_at>? AND bucket_at<?)" in plan
    plan = explained(sqlite, on_sqlite.SQL["queue_statistics"], values)
    assert "SEARCH queue_statistics USING PRIMARY KEY (bucket_at>? AND bucket_at<?)" in plan
