"""Every list query finds its page through an index, on both engines, and visits no rows to leave them out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest

from jobledger.application.ports import JobFilter, PageKey
from jobledger.domain.dlq import DlqFilter
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.lanes import Reading, reading_jobs, reading_the_dead
from jobledger.infrastructure.postgres import job_views as on_postgres
from jobledger.infrastructure.postgres.connections import Connections, PgConnection, Role
from jobledger.infrastructure.sqlite import job_views as on_sqlite
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.migrations import migrate

ORDERED = {"Limit", "Result", "Index Scan", "Index Only Scan"}
"""A page in the order of one index; Result is the test of row-level security, once a query."""
PAGE, FEW = 50, 5
JOBS_OF_A_TENANT = 10_000
AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FROM, TO = datetime(2026, 3, 2, 2, tzinfo=UTC), datetime(2026, 3, 2, 3, tzinfo=UTC)

FILTERS = {
    "by_time": [
        JobFilter(), JobFilter(created_from=FROM), JobFilter(created_to=TO),
        JobFilter(created_from=FROM, created_to=TO),
    ],
    "by_lane": [
        JobFilter(status=JobStatus.IN_PROGRESS), JobFilter(status=JobStatus.DLQ, queue="queue-2"),
        JobFilter(status=JobStatus.IN_PROGRESS, created_from=FROM, created_to=TO), JobFilter(failed=True),
        JobFilter(failed=False), JobFilter(kind="system"), JobFilter(queue="queue-2", kind="work"),
        JobFilter(queue="queue-3", created_from=FROM),
    ],
    "by_type": [
        JobFilter(job_type="type-3"), JobFilter(job_type="type-3", kind="system", queue="queue-2", created_to=TO),
        JobFilter(failed=True, job_type="type-3", created_to=TO), JobFilter(job_type="type-rare"),
        JobFilter(status=JobStatus.COMPLETED, job_type="type-3"),
    ],
}  # fmt: skip
CASES = [(index, where) for index, filters in FILTERS.items() for where in filters]
IDS = [f"{index} {' '.join(f for f, v in where._asdict().items() if v is not None)}".strip() for index, where in CASES]

NONE = [
    JobFilter(job_type="type-nobody-has"), JobFilter(kind="ai"), JobFilter(queue="queue-nobody-has"),
    JobFilter(status=JobStatus.CANCELLED), JobFilter(status=JobStatus.DLQ, failed=False),
    JobFilter(job_type="type-3", kind="ai"), JobFilter(job_type="type-3", status=JobStatus.BLOCKED),
    JobFilter(status=JobStatus.COMPLETED, queue="queue-nobody-has"), JobFilter(failed=False, kind="ai"),
]  # fmt: skip
RARE = [
    JobFilter(job_type="type-rare"), JobFilter(job_type="type-rare", kind="work"), JobFilter(queue="queue-rare"),
    JobFilter(queue="queue-rare", kind="work", failed=False),
]  # fmt: skip
"""Three jobs of a tenant."""

DLQ_FILTERS = {
    "by_time": [DlqFilter(), DlqFilter(dead_from=FROM, dead_to=TO)],
    "by_lane": [DlqFilter(queue="queue-2"), DlqFilter(kind="system", reason="stalled"), DlqFilter(reason="stalled")],
    "by_type": [DlqFilter(job_type="type-3"), DlqFilter(job_type="type-rare", dead_to=TO)],
    "by_type_lane": [DlqFilter(job_type="type-3", queue="queue-2"), DlqFilter(job_type="type-3", reason="stalled")],
    "by_persona": [DlqFilter(persona="persona-rare"), DlqFilter(persona="persona-rare", queue="queue-2")],
    "by_error": [DlqFilter(error_type="E-3"), DlqFilter(error_type="E-3", queue="queue-2", dead_to=TO)],
    "by_fingerprint": [DlqFilter(fingerprint="f-3"), DlqFilter(fingerprint="f-3", persona="persona-rare")],
}  # fmt: skip
DLQ_CASES = [(index, where) for index, filters in DLQ_FILTERS.items() for where in filters]
DLQ_IDS = [f"{index} {' '.join(name for name, value in where if value is not None)}" for index, where in DLQ_CASES]
DLQ_NONE = [
    DlqFilter(queue="queue-nobody-has"), DlqFilter(kind="ai"), DlqFilter(reason="integrity_violation"),
    DlqFilter(job_type="type-nobody-has"), DlqFilter(job_type="type-3", kind="ai"), DlqFilter(persona="nobody"),
    DlqFilter(error_type="none"), DlqFilter(error_type="E-3", persona="nobody"), DlqFilter(fingerprint="none"),
    DlqFilter(persona="persona-2", kind="ai"), DlqFilter(error_type="E-3", job_type="type-nobody-has"),
]  # fmt: skip

# Thirty thousand jobs of three tenants and four personas over a day; one in a hundred failed, few are not completed.
POSTGRES_ROWS = """
INSERT INTO {table} (job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt,
  attempts_counted, attempts_allowed, created_at, updated_at)
SELECT gen_random_uuid(), 'tenant-' || n % 3, 'persona-' || n % 4,
  CASE WHEN n % 100 = 0 THEN 'dlq' WHEN n % 100 < 3 THEN 'in_progress' ELSE 'completed' END, n % 100 = 0,
  CASE WHEN n % 5000 < 3 THEN 'type-rare' ELSE 'type-' || n % 7 END,
  CASE WHEN n % 5000 >= 3 AND n % 9 = 0 THEN 'system' ELSE 'work' END,
  CASE WHEN n % 5000 < 3 THEN 'queue-rare' ELSE 'queue-' || n % 5 END, 0, 1, 1, 5,
  timestamptz '2026-03-02' + n * interval '2 seconds', now()
FROM generate_series(1, 30000) AS n
"""


@pytest.fixture(scope="module")
def postgres(postgres_cluster: Any) -> Iterator[Connections]:  # noqa: ANN401
    """A database with filled and analysed lists."""
    with postgres_cluster.database(migrated=True) as dsn:
        with psycopg.connect(dsn) as connection:
            connection.execute("SET search_path = jobledger; SET ROLE jobledger_projector")
            connection.execute(POSTGRES_ROWS.format(table="tenant_jobs"))
            connection.execute(POSTGRES_ROWS.format(table="persona_jobs"))
            connection.execute(
                "INSERT INTO job_short_ids SELECT tenant_id, right(job_id::text, 8), job_id FROM tenant_jobs"
            )
            connection.execute(
                "INSERT INTO dlq_jobs SELECT job_id, tenant_id,"
                " CASE WHEN number % 1000 = 1 THEN 'persona-rare' ELSE persona END, job_type, kind, queue, 'stalled',"
                " 'E-' || number % 31, 'm', 'f-' || number % 37, 1, created_at, created_at"
                " FROM (SELECT *, row_number() OVER () AS number FROM persona_jobs) AS jobs"
            )
            connection.execute(
                "INSERT INTO job_traces SELECT tenant_id, 'request-' || number % 977, job_id, NULL,"
                " CASE WHEN number % 3 = 0 THEN job_id END, created_at"
                " FROM (SELECT *, row_number() OVER () AS number FROM tenant_jobs) AS jobs"
            )
            connection.execute("RESET ROLE; ANALYZE tenant_jobs, persona_jobs, dlq_jobs, job_short_ids, job_traces")
        connections = Connections(dsn)
        yield connections
        connections.close()


class Plan(NamedTuple):
    """What a query does."""

    nodes: set[str]
    indexes: set[str]
    visited: int
    """Rows that its scans found, those left out included (only where it ran)."""


def explain_postgres(connections: Connections, statement: str, values: Any, *, run: bool = False) -> Plan:  # noqa: ANN401
    """The plan for a session of tenant-1 as `jobledger_api`."""
    options = "ANALYZE, TIMING OFF, FORMAT JSON" if run else "FORMAT JSON"
    with connections.tenant_transaction("tenant-1") as connection:
        connection.execute(on_postgres.SQL["in_index_order"])
        row = connection.execute(f"EXPLAIN ({options}) {statement}", values, prepare=False).fetchone()
    assert row is not None
    nodes, indexes, visited, left = set[str](), set[str](), 0, [row[0][0]["Plan"]]
    while left:
        node = left.pop()
        nodes.add(node["Node Type"])
        indexes |= {node["Index Name"]} if "Index Name" in node else set()
        if run and "Index Name" in node:
            found = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            visited += round(found * node["Actual Loops"])
        left += node.get("Plans", [])
    return Plan(nodes, indexes, visited)


JOBS_READ = {"tenant_jobs": on_postgres.TENANT_JOBS_READ, "persona_jobs": on_postgres.PERSONA_JOBS_READ}


def explain_jobs(connections: Connections, table: str, where: JobFilter, after: PageKey | None = None) -> Plan:
    """The plan for a page of a list, which is read."""
    wanted = {**on_postgres.wanted("tenant-1", where, after, PAGE), "persona": "persona-2"}
    return explain_postgres(connections, JOBS_READ[table][reading_jobs(where)], wanted, run=True)


def explain_the_dead(connections: Connections, where: DlqFilter) -> Plan:
    """The same of the dead-letter queue."""
    wanted = on_postgres.wanted_dead("tenant-1", where, None, PAGE)
    return explain_postgres(connections, on_postgres.DLQ_READ[reading_the_dead(where)], wanted, run=True)


@pytest.mark.parametrize("after", [None, PageKey(AT, UUID(int=1))], ids=["first page", "later page"])
@pytest.mark.parametrize(("index", "where"), CASES, ids=IDS)
@pytest.mark.parametrize("table", ["tenant_jobs", "persona_jobs"])
def test_a_list_reads_an_index_on_postgres(
    postgres: Connections, table: str, index: str, where: JobFilter, after: PageKey | None
) -> None:
    """Under row-level security too: the filter's own index, no table read whole; rows are fetched by key."""
    plan = explain_jobs(postgres, table, where, after)
    if index == "by_time":
        assert plan.nodes <= ORDERED and plan.indexes == {f"{table}_by_time"}
        assert plan.visited <= PAGE + 1
    else:
        assert not plan.nodes & {"Seq Scan", "Bitmap Heap Scan", "Hash Join", "Merge Join"}
        assert plan.indexes == {f"{table}_{index}", f"{table}_pkey"}


@pytest.mark.parametrize("table", ["tenant_jobs", "persona_jobs"])
def test_what_there_is_not_or_hardly_is_found_out_at_once_on_postgres(postgres: Connections, table: str) -> None:
    """No row is visited where none matches, and few where few do: the tenant's other ten thousand do not count."""
    for where in NONE:
        assert explain_jobs(postgres, table, where).visited == 0, where
    for where in RARE:
        assert 0 < explain_jobs(postgres, "tenant_jobs", where).visited <= FEW * 18, where


def test_statements_prepared_over_empty_tables_go_by_an_index_on_postgres(postgres_cluster: Any) -> None:  # noqa: ANN401
    """Plans made for any values, before there was a row, visit none that does not match when there are many."""
    with (
        postgres_cluster.database(migrated=True) as dsn,
        closing(Connections(dsn)) as connections,
        connections.tenant_transaction("tenant-1") as connection,
    ):
        connection.execute(on_postgres.SQL["in_index_order"])
        connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        assert _found_by_prepared(connection) == set()
        _fill_as_projector(dsn, "tenant_jobs")
        assert _found_by_prepared(connection) == {*RARE, JobFilter()}
        row = connection.execute(
            "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'tenant_jobs'"
        ).fetchone()
        assert row is not None and row[0] == 0 and 0 < row[1] <= FEW * 18 * len(RARE) + PAGE + 1


def _found_by_prepared(connection: PgConnection) -> set[JobFilter]:
    """The filters that match anything, asked as the lists ask."""
    found = set[JobFilter]()
    for where in (*NONE, *RARE, JobFilter()):
        values = on_postgres.wanted("tenant-1", where, None, PAGE)
        statement = JOBS_READ["tenant_jobs"][reading_jobs(where)]
        if connection.execute(statement, values, prepare=True).fetchall():
            found.add(where)
    return found


def _fill_as_projector(dsn: str, table: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET search_path = jobledger; SET ROLE jobledger_projector")
        connection.execute(POSTGRES_ROWS.format(table=table))


def test_plans_over_empty_tables_are_those_of_full_ones_on_postgres(postgres_cluster: Any) -> None:  # noqa: ANN401
    """Statements of job lists, which are kept, go by the index of their lanes where every index seems as good."""
    with postgres_cluster.database(migrated=True) as dsn, closing(Connections(dsn)) as connections:
        for table, (index, filters) in product(JOBS_READ, FILTERS.items()):
            for where in filters:
                assert explain_jobs(connections, table, where).indexes <= {f"{table}_{index}", f"{table}_pkey"}, where


@pytest.mark.parametrize(("index", "where"), DLQ_CASES, ids=DLQ_IDS)
def test_the_dlq_reads_an_index_on_postgres(postgres: Connections, index: str, where: DlqFilter) -> None:
    """Ordered by death, whatever is filtered; the filter's own index, where it has one."""
    plan = explain_the_dead(postgres, where)
    if reading_the_dead(where) is Reading.IN_ORDER:
        assert plan.nodes <= ORDERED and plan.indexes == {f"dlq_jobs_{index}"}
        assert plan.visited <= PAGE + 1
    else:
        assert not plan.nodes & {"Seq Scan", "Bitmap Heap Scan", "Hash Join", "Merge Join"}
        assert plan.indexes == {f"dlq_jobs_{index}", "dlq_jobs_pkey"}


def test_the_error_of_a_fingerprint_is_tested_row_by_row_on_postgres(postgres: Connections) -> None:
    """Both are too long for one index, and dead jobs of one fingerprint died of one error: few are left out."""
    plan = explain_the_dead(postgres, DlqFilter(fingerprint="f-3", error_type="E-3"))
    assert plan.nodes <= ORDERED and plan.indexes <= {"dlq_jobs_by_fingerprint", "dlq_jobs_by_error"}
    assert plan.visited <= JOBS_OF_A_TENANT / 31 + 1


def test_the_dead_that_there_are_not_are_not_looked_for_row_by_row_on_postgres(postgres: Connections) -> None:
    """No row is visited where none matches."""
    for where in DLQ_NONE:
        assert explain_the_dead(postgres, where).visited == 0, where


@pytest.mark.parametrize("where", [DlqFilter(fingerprint="f-3"), DlqFilter(error_type="E-3", dead_from=FROM)])
def test_counting_the_dead_visits_only_those_that_match_on_postgres(postgres: Connections, where: DlqFilter) -> None:
    """The whole table is not read to count the dead of one kind of error."""
    plan = explain_postgres(
        postgres, on_postgres.SQL["dlq_summary"], on_postgres.wanted_dead("tenant-1", where, None, 10)
    )
    assert "Seq Scan" not in plan.nodes and plan.indexes == {
        f"dlq_jobs_by_{'fingerprint' if where.fingerprint else 'error'}"
    }


def test_a_trace_is_looked_up_on_postgres(postgres: Connections) -> None:
    """The jobs of a request by key, those of causes by their own index, each line by its id; no table is read whole."""
    wanted = {"tenant": "tenant-1", "correlation_id": "request-7", "after": UUID(int=1), "limit": 50}
    plan = explain_postgres(postgres, on_postgres.SQL["request_jobs"], wanted)
    assert "Seq Scan" not in plan.nodes and plan.indexes == {"job_traces_pkey", "tenant_jobs_pkey"}
    wanted = {"tenant": "tenant-1", "causes": [UUID(int=1), UUID(int=2)], "limit": 50}
    plan = explain_postgres(postgres, on_postgres.SQL["caused_jobs"], wanted)
    assert "Seq Scan" not in plan.nodes and plan.indexes == {"job_traces_by_cause", "tenant_jobs_pkey"}


def test_a_short_id_is_looked_up_on_postgres(postgres: Connections) -> None:
    """By an index of its own."""
    plan = explain_postgres(postgres, on_postgres.SQL["jobs_by_short_id"], ("tenant-1", "deadbeef"))
    assert "Seq Scan" not in plan.nodes and plan.indexes == {"job_short_ids_pkey"}


def test_a_projector_never_reads_a_whole_table(postgres: Connections) -> None:
    """Rows are loaded by key and the ledger is read by position, also with plans made while everything was empty."""
    from jobledger.infrastructure.postgres.event_source import SQL, PostgresEventSource
    from jobledger.infrastructure.postgres.views import PostgresViewStore

    source, store = PostgresEventSource(postgres), PostgresViewStore(postgres)
    plans = {
        source.tail: (SQL["read_events"], (0, 10**9, ["job.logged"], 5_000)),
        store.session: ("SELECT * FROM tenant_jobs WHERE job_id = ANY (%b::uuid[])", ([UUID(int=1)],)),
    }
    for session, (statement, values) in plans.items():
        with session.use() as connection:
            rows = connection.execute(f"EXPLAIN {statement}", values).fetchall()
        plan = "\n".join(line for (line,) in rows)
        assert "Seq Scan" not in plan and "Sort  (" not in plan, plan
    source.close()
    store.close()


def test_a_tenant_sees_nothing_of_another_without_the_where(postgres: Connections) -> None:
    """Row-level security alone: the views with no condition at all show one tenant, and without a tenant nothing."""
    for table in ("tenant_jobs", "persona_jobs", "dlq_jobs"):
        statement = f"SELECT DISTINCT tenant_id FROM {table}"
        with postgres.tenant_transaction("tenant-1") as connection:
            assert connection.execute(statement).fetchall() == [("tenant-1",)]
        with postgres.connection(Role.API) as connection:
            assert connection.execute(statement).fetchall() == []
        with postgres.connection(Role.AUDITOR) as connection:
            assert len(connection.execute(statement).fetchall()) == 3


def test_only_projectors_write_views(postgres: Connections) -> None:
    """The API's role can neither change a view nor move a checkpoint."""
    for statement in ("DELETE FROM tenant_jobs", "UPDATE checkpoints SET position = 0"):
        with postgres.tenant_transaction("tenant-1") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement).fetchall()


# --- SQLite ----------------------------------------------------------------------------------------------------------

SQLITE_ROWS = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 3000)
INSERT INTO {table} (job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt,
  attempts_counted, attempts_allowed, created_at, updated_at)
SELECT randomblob(16), 'tenant-' || n % 3, 'persona-' || n % 4, CASE WHEN n % 9 = 0 THEN 'dlq' ELSE 'completed' END,
  n % 9 = 0, 'type-' || n % 7, 'work', 'queue-' || n % 5, 0, 1, 1, 5, n, n FROM numbers
"""


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "analysed"])
def sqlite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A file with filled lists, with and without statistics."""
    path: Path = tmp_path_factory.mktemp("views") / "ledger.db"
    migrate(path)
    database = Database(path)
    with database.write() as connection:
        connection.execute(SQLITE_ROWS.format(table="tenant_jobs"))
        connection.execute(SQLITE_ROWS.format(table="persona_jobs"))
        connection.execute(
            "INSERT INTO job_short_ids SELECT tenant_id, substr(lower(hex(job_id)), 25), job_id FROM tenant_jobs"
        )
    if request.param:
        with database.write() as connection:
            connection.execute("ANALYZE")
    yield database
    database.close()


def explain_sqlite(database: Database, statement: str, values: Any) -> str:  # noqa: ANN401
    with database.read() as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    return "; ".join(row[3] for row in rows)


SQLITE_STATEMENTS = {"tenant_jobs": on_sqlite.tenant_statement, "persona_jobs": on_sqlite.persona_statement}


def require_plan_on_sqlite(plan: str, table: str, index: str, *, in_order: bool) -> None:
    """Searches in this index only, and rows by their key; what is sorted is what lanes gave."""
    index = f"USING INDEX {table}_{index} (tenant_id=?"
    if in_order:
        assert plan.startswith(f"SEARCH {table} {index}") and "TEMP" not in plan and ";" not in plan, plan
        return
    looks = [step for step in plan.split("; ") if step.startswith(f"SEARCH {table} ")]
    assert len(looks) == 4 and all(index.replace("INDEX", "COVERING INDEX") in look for look in looks), plan
    assert "SEARCH job USING PRIMARY KEY (job_id=?)" in plan
    assert f"SCAN {table}" not in plan and "SCAN job" not in plan.replace("SCAN job_", ""), plan


@pytest.mark.parametrize(("index", "where"), CASES, ids=IDS)
@pytest.mark.parametrize("table", ["tenant_jobs", "persona_jobs"])
def test_a_list_reads_an_index_on_sqlite(sqlite: Database, table: str, index: str, where: JobFilter) -> None:
    """The filter's own index, no table read whole."""
    values = {**on_sqlite.wanted("tenant-1", where, None, PAGE), "persona": "persona-2"}
    plan = explain_sqlite(sqlite, SQLITE_STATEMENTS[table](where), values)
    require_plan_on_sqlite(plan, table, index, in_order=index == "by_time")


@pytest.mark.parametrize(("index", "where"), DLQ_CASES, ids=DLQ_IDS)
def test_the_dlq_reads_an_index_on_sqlite(sqlite: Database, index: str, where: DlqFilter) -> None:
    """As the lists do."""
    values = on_sqlite.wanted_dead("tenant-1", where, None, PAGE)
    plan = explain_sqlite(sqlite, on_sqlite.dlq_statement(where), values)
    require_plan_on_sqlite(plan, "dlq_jobs", index, in_order=reading_the_dead(where) is Reading.IN_ORDER)
    counted = explain_sqlite(sqlite, on_sqlite.SQL["dlq_summary"], values)
    assert counted.startswith("CO-ROUTINE") and "SEARCH dlq_jobs USING INDEX dlq_jobs_by_time (tenant_id=?" in counted


def test_traces_read_an_index_on_sqlite(sqlite: Database) -> None:
    """The jobs of a request by key, those of a cause by their own index, each line by its id; nothing is sorted."""
    plan = explain_sqlite(sqlite, on_sqlite.SQL["request_jobs"], ("tenant-1", "r", b"1" * 16, 50))
    assert plan.startswith("SEARCH t USING PRIMARY KEY (tenant_id=? AND correlation_id=? AND job_id>?)")
    assert "SEARCH j USING PRIMARY KEY (job_id=?)" in plan and "TEMP" not in plan
    plan = explain_sqlite(sqlite, on_sqlite.SQL["caused_jobs"], ("tenant-1", b"1" * 16, 50))
    assert plan.startswith("SEARCH t USING INDEX job_traces_by_cause (tenant_id=? AND caused_by=?)")
    assert "SEARCH j USING PRIMARY KEY (job_id=?)" in plan and "TEMP" not in plan


def test_short_ids_read_an_index_on_sqlite(sqlite: Database) -> None:
    """By an index of its own."""
    plan = explain_sqlite(sqlite, on_sqlite.SQL["jobs_by_short_id"], ("tenant-1", "deadbeef"))
    assert plan == "SEARCH job_short_ids USING PRIMARY KEY (tenant_id=? AND short_id=?)"


def test_a_projector_looks_rows_up_by_key_on_sqlite(sqlite: Database) -> None:
    """A batch of keys is searched, not scanned for; the ledger is read by position."""
    from jobledger.infrastructure.sqlite.event_source import SQL
    from jobledger.infrastructure.sqlite.view_rows import statements
    from jobledger.projections.tenant_jobs import TENANT_JOBS

    load = statements(TENANT_JOBS).load.replace("{keys}", "(?), (?)")
    assert "SEARCH tenant_jobs USING PRIMARY KEY (job_id=?)" in explain_sqlite(sqlite, load, (b"1" * 16, b"2" * 16))
    plan = explain_sqlite(sqlite, SQL["read_events"], (0, 9, json.dumps([]), 9))
    assert "SEARCH ledger USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan and "TEMP" not in plan
