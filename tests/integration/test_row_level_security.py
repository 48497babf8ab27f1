"""PostgreSQL itself keeps tenants apart: also with a query that forgets to."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest
from psycopg import sql

from jobledger.application.writes import AppendEvents, LimitRow, TenantRow
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.limit import FlowState, Limits, TenantLimited, tenant_target
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import open_ledger
from jobledger.projections.catalogue import PROJECTIONS
from tests.contract.support import metadata, new_job
from tests.support.ledger_order import connect

VIEWS = [name for name, view in PROJECTIONS.items() if any(column.name == "tenant_id" for column in view.columns)]
"""Those whose rows are a tenant's."""

_TABLES_WITH_A_TENANT = """
SELECT DISTINCT c.oid::regclass::text FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname LIKE '%tenant%' AND NOT a.attisdropped
WHERE c.relnamespace = 'jobledger'::regnamespace AND c.relkind IN ('r', 'p')
ORDER BY 1"""


@pytest.fixture
def two_tenants(postgres_dsn: str) -> str:
    """A ledger in which `acme` and `beta` have a row in every table that has a tenant."""
    with closing(open_ledger(postgres_dsn)) as ledger:
        for name in ("acme", "beta"):
            event = Event(stream_id(name, "tenant", name), 1, name, metadata(), TenantCreated(name=name))
            ledger.writer.write([AppendEvents((event,), TenantRow(name, TenantStatus.ACTIVE))])
            ledger.writer.write([new_job(tenant=name, key="k", persona="bot")])
            ledger.writer.write([_limit(name)])
    with psycopg.connect(postgres_dsn) as owner:
        for name in (*VIEWS, "parked_events"):
            _fill(owner, name)
    return postgres_dsn


def _limit(tenant: str) -> AppendEvents:
    target, limits = tenant_target(tenant), Limits(concurrency=1)
    facts = TenantLimited(subject=tenant, reason="small", limits=limits)
    return AppendEvents((Event(target.stream, 1, tenant, metadata(), facts),), LimitRow(target, FlowState(limits)))


def _fill(owner: psycopg.Connection, table: str) -> None:
    """A row for each tenant: each column that must not be null gets some value of its type."""
    columns = owner.execute(
        """SELECT attname, format_type(atttypid, NULL) FROM pg_attribute
           WHERE attrelid = %s::regclass AND attnum > 0 AND attnotnull AND attname <> 'tenant_id'""",
        (f"jobledger.{table}",),
    ).fetchall()
    some = {
        "uuid": "gen_random_uuid()", "text": "'x'", "boolean": "false", "integer": "0", "bigint": "0",
        "timestamp with time zone": "now()", "double precision": "0",
    }  # fmt: skip
    for tenant in ("acme", "beta"):
        owner.execute(
            sql.SQL("INSERT INTO {} (tenant_id, {}) VALUES ({}, {})").format(
                sql.Identifier("jobledger", table),
                sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
                tenant,
                sql.SQL(", ").join(sql.SQL(some[kind]) for _, kind in columns),
            )
        )


def tables_with_a_tenant(dsn: str) -> list[str]:
    """The tables and partitions that have a column which names one, whatever it is called."""
    with connect(dsn, "none") as superuser:
        return [row[0] for row in superuser.execute(_TABLES_WITH_A_TENANT)]


def _tenants_seen(dsn: str, role: str, table: str, tenant: str | None) -> set[str]:
    """The tenants whose rows a session sees that asks for all of them."""
    with connect(dsn, role) as session:
        if tenant is not None:
            session.execute("SELECT set_config('jobledger.tenant', %s, true)", (tenant,))
        return {row[0] for row in session.execute(f"SELECT DISTINCT tenant_id FROM {table}")}


def _may_select(dsn: str, role: str, table: str) -> bool:
    with connect(dsn, "none") as superuser:
        row = superuser.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", (role, table)).fetchone()
        return row is not None and bool(row[0])


def test_a_session_sees_its_tenants_rows_only(two_tenants: str) -> None:
    """With the WHERE removed, on every table that has a tenant: own rows, and none of another tenant."""
    readable = [
        table for table in tables_with_a_tenant(two_tenants) if _may_select(two_tenants, "jobledger_api", table)
    ]
    assert {"ledger", "open_jobs", "idempotency_keys", "tenants", *VIEWS} <= set(readable)
    for table in readable:
        assert _tenants_seen(two_tenants, "jobledger_api", table, "acme") == {"acme"}, table


def test_a_view_without_a_tenant_is_nothing_for_the_api(two_tenants: str) -> None:
    """What is of all tenants together is read by auditors and written by projectors."""
    of_all = PROJECTIONS.keys() - set(VIEWS)
    assert "queue_statistics" in of_all
    for name in of_all:
        assert not _may_select(two_tenants, "jobledger_api", name), name
        assert not _may_select(two_tenants, "jobledger_worker", name), name
        assert _may_select(two_tenants, "jobledger_auditor", name), name


@pytest.mark.parametrize("tenant", [None, "", "nobody"])
def test_a_session_without_a_tenant_sees_nothing(two_tenants: str, tenant: str | None) -> None:
    """No tenant, an empty one and an unknown one are no key to anything."""
    for table in tables_with_a_tenant(two_tenants):
        if _may_select(two_tenants, "jobledger_api", table):
            assert _tenants_seen(two_tenants, "jobledger_api", table, tenant) == set(), table


def test_the_tenant_ends_with_its_transaction(two_tenants: str) -> None:
    """The next transaction of a pooled connection does not inherit the tenant of the one before."""
    with connect(two_tenants, "jobledger_api") as session:
        session.execute("SELECT set_config('jobledger.tenant', 'acme', true)")
        session.commit()
        assert session.execute("SELECT tenant_id FROM open_jobs").fetchall() == []


def test_every_table_with_a_tenant_forces_row_level_security(two_tenants: str) -> None:
    """Also for its owner, and on each partition: a new table cannot be forgotten."""
    with connect(two_tenants, "none") as superuser:
        for table in tables_with_a_tenant(two_tenants):
            row = superuser.execute(
                "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass", (table,)
            ).fetchone()
            assert row == (True, True), table


OF_NO_TENANT = {
    "api_key_uses", "api_keys", "checkpoints", "ended_sessions", "installation", "job_types", "queue_statistics",
    "rebuild_slices", "schema_migrations", "tracking", "workers",
}  # fmt: skip
"""What belongs to the installation as a whole. A new table without a tenant is a decision, made here."""


def test_only_what_is_nobodys_has_no_tenant(postgres_dsn: str) -> None:
    """A new table names its tenant (and then has forced row-level security, see above), or stands in the list."""
    with connect(postgres_dsn, "none") as superuser:
        tables = superuser.execute(
            """SELECT relname::text FROM pg_class
               WHERE relnamespace = 'jobledger'::regnamespace AND relkind NOT IN ('i', 'I', 'S', 't', 'c')"""
        ).fetchall()
    assert {name for (name,) in tables} - set(tables_with_a_tenant(postgres_dsn)) == OF_NO_TENANT


@pytest.mark.parametrize("role", ["jobledger_worker", "jobledger_api", "jobledger_projector", "jobledger_auditor"])
def test_an_idle_transaction_of_every_role_is_ended(postgres_dsn: str, role: str) -> None:
    """It would hold all readers back, also where a login is that role and no program of ours."""
    with connect(postgres_dsn, "none") as superuser:
        row = superuser.execute(
            """SELECT 'idle_in_transaction_session_timeout=60s' = ANY (setconfig) FROM pg_db_role_setting
               WHERE setrole = %s::regrole AND setdatabase = 0""",
            (role,),
        ).fetchone()
    assert row == (True,)


def test_a_partition_cannot_be_read_past_its_ledger(two_tenants: str) -> None:
    """Roles that read the ledger have no access to a partition itself, whose policies are not the ledger's."""
    partitions = [table for table in tables_with_a_tenant(two_tenants) if table.startswith("ledger_")]
    assert partitions
    for role in ("jobledger_api", "jobledger_worker", "jobledger_projector", "jobledger_auditor"):
        assert not [table for table in partitions if _may_select(two_tenants, role, table)], role


@pytest.mark.parametrize("role", ["jobledger_worker", "jobledger_api", "jobledger_projector", "jobledger_auditor"])
def test_nobody_writes_events_but_through_the_functions(two_tenants: str, role: str) -> None:
    """No role that programs act in may insert, change or delete rows of the ledger, the queue, or the catalogue."""
    with connect(two_tenants, "none") as superuser:
        for table in ("ledger", "open_jobs", "idempotency_keys", "tenants", "job_types"):
            for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
                row = superuser.execute(
                    "SELECT has_table_privilege(%s, %s, %s)", (role, f"jobledger.{table}", privilege)
                ).fetchone()
                assert row == (False,), (table, privilege)


def test_the_owner_is_bound_by_the_policies_too(two_tenants: str) -> None:
    """FORCE: who owns the tables reads no row of any tenant by accident."""
    assert _tenants_seen(two_tenants, "jobledger_owner", "ledger", None) == set()


_MAY_CALL = """
SELECT proname::text FROM pg_proc
WHERE pronamespace = 'jobledger'::regnamespace AND has_function_privilege(%s, oid, 'EXECUTE')
"""
_BOTH_CALL = {
    "change_jobs", "complete_jobs", "dispatch_jobs", "ledger_append", "ledger_horizon", "ledger_horizon_hold",
    "save_api_key", "save_job_type", "save_limit", "save_tenant",
}  # fmt: skip
_WORKERS_CALL = {"apply_limits", "claim_jobs", "ensure_partitions", "promote_due_jobs", "waiting_of_inactive_tenants"}


@pytest.mark.parametrize(
    ("role", "functions"),
    [
        ("jobledger_api", _BOTH_CALL),
        ("jobledger_worker", _BOTH_CALL | _WORKERS_CALL),
        ("jobledger_auditor", {"ledger_horizon", "ledger_horizon_hold"}),
    ],
)
def test_a_role_calls_only_the_functions_that_are_made_for_it(
    postgres_dsn: str, role: str, functions: set[str]
) -> None:
    """What these are made of, such as the counting of limits, is called by nobody else."""
    with psycopg.connect(postgres_dsn) as connection:
        assert {name for (name,) in connection.execute(_MAY_CALL, (role,))} == functions
