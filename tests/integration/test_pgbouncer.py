"""Behind PgBouncer in transaction mode: two server connections serve a process of many threads, and keep nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from threading import get_ident
from uuid import UUID

import psycopg
import pytest

from jobledger.application.ports import JobFilter
from jobledger.application.writes import WriteStatus
from jobledger.domain.errors import InvalidSettings, LedgerBusy, LedgerError, LoginRefused
from jobledger.domain.job import cancel
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.connections import Role
from jobledger.infrastructure.postgres.event_source import PostgresEventSource
from jobledger.infrastructure.postgres.job_views import PostgresJobViews
from jobledger.infrastructure.postgres.pooled import PooledConnections
from jobledger.infrastructure.postgres.views import PostgresViewStore
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.runner import Runner
from tests.contract.support import change_of, new_job
from tests.faults.test_lost_commit import created
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.postgres import TestCluster

from .test_row_level_security import tables_with_a_tenant, two_tenants

__all__ = ["two_tenants"]

TENANTS = ("acme", "beta")
THREADS, ROUNDS = 8, 25
LOGIN = "application_behind_pgbouncer"

_LEFT = """SELECT current_user::text, current_setting('jobledger.tenant', true), current_setting('lock_timeout'),
  current_setting('enable_seqscan'), current_setting('search_path'), pg_backend_pid(),
  (SELECT count(*) FROM pg_prepared_statements),
  (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')"""


@pytest.fixture(scope="module")
def pooler(postgres_cluster: TestCluster) -> Iterator[PgBouncer]:
    """PgBouncer in front of the session's cluster, with two server connections for a login and database."""
    with pgbouncer(postgres_cluster.server.dsn(), logins=(LOGIN,)) as running:
        yield running


@pytest.fixture(scope="module")
def narrow_pooler(postgres_cluster: TestCluster) -> Iterator[PgBouncer]:
    """The same with one: whoever comes next gets the session of whoever was before."""
    with pgbouncer(postgres_cluster.server.dsn(), pool_size=1) as running:
        yield running


def pooled(dsn: str) -> PostgresLedger:
    """The ledger through a pooler."""
    return open_ledger(dsn, pooler="transaction")


def project(dsn: str) -> None:
    """Bring the lists up to date, as a process that connects directly."""
    with (
        closing(open_ledger(dsn)) as ledger,
        closing(PostgresViewStore(ledger.connections)) as store,
        closing(PostgresEventSource(ledger.connections)) as source,
    ):
        Runner(store, source, ALL_PROJECTIONS).run_until_current()


# --- many threads, two server connections ----------------------------------------------------------------------------


def test_threads_of_two_tenants_share_two_server_connections(pooler: PgBouncer, postgres_dsn: str) -> None:
    """Each dispatches, reads, cancels and looks at other tenants' jobs; nobody ever gets what is another's."""
    with closing(pooled(pooler.dsn(postgres_dsn))) as ledger:
        for tenant in TENANTS:
            ledger.writer.write([created(tenant)])
        known: dict[str, list[UUID]] = {tenant: [] for tenant in TENANTS}
        with ThreadPoolExecutor(THREADS) as threads:
            done = list(threads.map(lambda number: _work(ledger, TENANTS[number % 2], known), range(THREADS)))
        assert done == [ROUNDS] * THREADS
        assert _server_connections(postgres_dsn) == 2
        project(postgres_dsn)
        views = PostgresJobViews(ledger.connections, ledger.horizon)
        for tenant in TENANTS:
            page = views.tenant_jobs(tenant, JobFilter(), after=None, limit=1_000)
            assert {row.job_id for row in page.rows} == set(known[tenant])


def _work(ledger: PostgresLedger, tenant: str, known: dict[str, list[UUID]]) -> int:
    for number in range(ROUNDS):
        new = new_job(tenant=tenant, key=f"{get_ident()}-{number}")
        (outcome,) = ledger.writer.write([new])
        job = outcome.job_id or new.event.originator_id
        if outcome.status is WriteStatus.WRITTEN:
            known[tenant].append(job)
        others = [job for name in TENANTS if name != tenant for job in list(known[name])]
        assert {event.tenant for event in ledger.reader.stream(tenant, job)} == {tenant}
        assert set(ledger.queue.open_jobs(tenant, [job, *others])) == {job}
        assert ledger.reader.streams(tenant, others) == {}
        assert {event.tenant for event in ledger.reader.read_tenant(tenant, 0, limit=500).events} == {tenant}
        if number % 5 == 0:
            row = ledger.queue.open_jobs(tenant, [job])[job]
            (cancelled,) = ledger.writer.write([change_of(row, cancel(row.state, reason="not needed"))])
            assert (cancelled.status, cancelled.version) == (WriteStatus.WRITTEN, 2)
    return ROUNDS


def _server_connections(dsn: str) -> int:
    """Server processes that other programs than this question have."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
        ).fetchone()
    assert row is not None
    return int(row[0])


# --- tenants ---------------------------------------------------------------------------------------------------------


def test_a_forgotten_where_shows_no_other_tenant(pooler: PgBouncer, two_tenants: str) -> None:
    """On every table that has a tenant: own rows in a tenant's transaction, and none where there is no tenant."""
    with closing(pooled(pooler.dsn(two_tenants))) as ledger:
        readable = [table for table in tables_with_a_tenant(two_tenants) if _may_read(ledger, table)]
        assert {"ledger", "open_jobs", "tenants", "tenant_jobs", "dlq_jobs"} <= set(readable)
        for table in readable:
            for tenant in TENANTS:
                with ledger.connections.tenant_transaction(tenant) as connection:
                    seen = connection.execute(f"SELECT DISTINCT tenant_id FROM {table}").fetchall()
                assert seen == [(tenant,)], table
            with ledger.connections.connection(Role.API) as connection:
                assert connection.execute(f"SELECT tenant_id FROM {table}").fetchall() == [], table


def _may_read(ledger: PostgresLedger, table: str) -> bool:
    with ledger.connections.connection(Role.API) as connection:
        row = connection.execute("SELECT has_table_privilege(%s, 'SELECT')", (table,)).fetchone()
    return row is not None and bool(row[0])


def test_nothing_is_left_on_a_server_connection(narrow_pooler: PgBouncer, postgres_dsn: str) -> None:
    """Neither role, tenant nor settings, prepared statements or locks: whether a transaction commits, fails, or loses
    its client, the next program on that session finds it as it was."""
    through = narrow_pooler.dsn(postgres_dsn)
    with closing(pooled(through)) as ledger, _application(through) as application:
        before = application.execute(_LEFT).fetchone()
        ledger.writer.write([created()])
        job = new_job()
        ledger.writer.write([job, new_job(key="k")])
        for _ in range(10):  # often enough to be prepared
            assert ledger.reader.stream("acme", job.event.originator_id)
        assert application.execute(_LEFT).fetchone() == before
        with pytest.raises(LedgerError, match="division by zero"):
            _fail_in_a_transaction(ledger)
        assert application.execute(_LEFT).fetchone() == before


def _fail_in_a_transaction(ledger: PostgresLedger) -> None:
    with ledger.connections.tenant_transaction("acme") as connection:
        connection.execute("SELECT count(*) / 0 FROM open_jobs")


def test_a_server_connection_is_free_after_each_transaction(narrow_pooler: PgBouncer, postgres_dsn: str) -> None:
    """A client that is done keeps no session: with only one, others get theirs at once, hundreds of times."""
    through = narrow_pooler.dsn(postgres_dsn)
    with closing(pooled(through)) as ledger, _application(through) as application:
        ledger.writer.write([created()])
        for _ in range(150):
            job = new_job()
            ledger.writer.write([job])
            assert application.execute("SELECT 1").fetchone() == (1,)
            assert ledger.queue.open_jobs("acme", [job.event.originator_id])
            assert application.execute("SELECT 1").fetchone() == (1,)


def test_a_transaction_that_loses_its_client_leaves_nothing(narrow_pooler: PgBouncer, postgres_dsn: str) -> None:
    """Its server connection goes with it."""
    through = narrow_pooler.dsn(postgres_dsn)
    with closing(PooledConnections(through)) as connections, _application(through) as application:
        client = connections.client("leaving")
        connections.begin(client, Role.API, 4711)
        client.pgconn.finish()
        row = application.execute(_LEFT).fetchone()
        assert row is not None
        assert (row[0], row[1], row[7]) == ("postgres", None, 0)


def test_what_others_left_on_a_server_connection_does_not_matter(
    narrow_pooler: PgBouncer,
    two_tenants: str,
) -> None:
    """A tenant, a role, a time zone, a search path of a session that another program used before."""
    through = narrow_pooler.dsn(two_tenants)
    with closing(pooled(through)) as ledger, _application(through) as careless:
        before = ledger.reader.read_tenant("acme", 0, limit=10).events
        careless.execute("SELECT set_config('jobledger.tenant', 'beta', false)")
        careless.execute("SET search_path = public")
        careless.execute("SET TimeZone = 'Asia/Tokyo'")
        careless.execute("SET ROLE jobledger_auditor")
        with ledger.connections.connection(Role.API) as connection:
            assert connection.execute("SELECT tenant_id FROM open_jobs").fetchall() == []
            row = connection.execute("SELECT current_user::text, session_user::text, now()").fetchone()
        assert row is not None
        assert row[:2] == ("jobledger_api", "postgres")
        assert row[2].tzinfo is UTC
        assert ledger.reader.read_tenant("acme", 0, limit=10).events == before


def _application(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    """Another program that uses the same pooler."""
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


# --- what works through it beside the ports --------------------------------------------------------------------------


def test_a_login_of_the_api_needs_no_other_role(pooler: PgBouncer, postgres_dsn: str) -> None:
    """It writes, reads and waits for lists; what is of all tenants is refused by PostgreSQL."""
    with psycopg.connect(postgres_dsn, autocommit=True) as superuser:
        if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", (LOGIN,)).fetchone() is None:
            superuser.execute(f"CREATE ROLE {LOGIN} LOGIN")
        superuser.execute(f"GRANT jobledger_api TO {LOGIN}")
    with closing(pooled(pooler.dsn(postgres_dsn, login=LOGIN))) as ledger:
        ledger.writer.write([created()])
        (outcome,) = ledger.writer.write([new_job(due_at=datetime(2026, 1, 1, tzinfo=UTC))])
        project(postgres_dsn)
        views = PostgresJobViews(ledger.connections, ledger.horizon)
        assert outcome.position is not None
        assert views.wait_for(outcome.position, 30.0)
        assert len(views.tenant_jobs("acme", JobFilter(), after=None, limit=9).rows) == 1
        with pytest.raises(LoginRefused, match="jobledger_projector"):
            ledger.reader.read_after(0, limit=9)


def test_a_caller_dispatches_in_a_transaction_of_its_own(pooler: PgBouncer, postgres_dsn: str) -> None:
    """With a connection that the caller opened through the pooler: job and rows commit together."""
    through = pooler.dsn(postgres_dsn)
    with closing(pooled(through)) as ledger, psycopg.connect(through, prepare_threshold=None) as caller:
        ledger.writer.write([created()])
        kept, dropped = new_job(), new_job()
        with caller.transaction():
            ledger.transaction_writer.dispatch(caller, [kept])
        with caller.transaction(force_rollback=True):
            ledger.transaction_writer.dispatch(caller, [dropped])
        ids = [kept.event.originator_id, dropped.event.originator_id]
        assert list(ledger.queue.open_jobs("acme", ids)) == ids[:1]


def test_a_dispatch_wakes_workers_that_connect_directly(pooler: PgBouncer, postgres_dsn: str) -> None:
    """A hint is sent through the pooler, though nobody can listen through it."""
    with closing(pooled(pooler.dsn(postgres_dsn))) as ledger, closing(open_ledger(postgres_dsn)) as direct:
        direct.wake_up.wait(0)
        assert direct.wake_up.wait(30.0)  # it listens
        ledger.wake_up.notify(frozenset({"default"}))
        assert direct.wake_up.wait(30.0)
        assert not ledger.wake_up.wait(0) or not ledger.wake_up.wait(0)


def test_more_threads_than_connections_are_told_that_all_are_in_use(pooler: PgBouncer, postgres_dsn: str) -> None:
    """The pool of a process is bounded behind a pooler, too."""
    with (
        closing(PooledConnections(pooler.dsn(postgres_dsn), max_size=1, connect_timeout_seconds=0.3)) as connections,
        connections.connection(Role.API),
        pytest.raises(LedgerBusy, match="in use"),
        connections.connection(Role.API),
    ):
        pass


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_process_that_does_not_know_of_the_pooler_is_told(pooler: PgBouncer, postgres_dsn: str) -> None:
    """PgBouncer refuses what a session of ours asks for; the message names the setting."""
    with pytest.raises(InvalidSettings) as refused:
        open_ledger(pooler.dsn(postgres_dsn))
    assert refused.value.field == "JOBLEDGER_POSTGRES_POOLER"


def test_a_pooler_that_leaves_out_the_role_is_noticed(postgres_dsn: str) -> None:
    """Where `options` are ignored a session would act as the login itself, past row-level security: nothing runs."""
    with pgbouncer(postgres_dsn, ignored="options") as careless, pytest.raises(InvalidSettings) as refused:
        open_ledger(careless.dsn(postgres_dsn))
    assert refused.value.field == "JOBLEDGER_POSTGRES_POOLER"
