"""Connections to PostgreSQL: roles, limits, errors, and servers that come back."""

from __future__ import annotations

from contextlib import ExitStack, closing, nullcontext

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from jobledger.domain.errors import LedgerBusy, LedgerError, LedgerNotFound, LedgerUnavailable
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.connections import Connections, Role
from jobledger.infrastructure.postgres.migrations import migrate
from jobledger.infrastructure.postgres.session import Session
from tests.contract.support import job_id
from tests.support.postgres import DurableCluster


def _value(connections: Connections, role: Role, query: str) -> object:
    with connections.connection(role) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


@pytest.mark.parametrize("role", list(Role))
def test_a_connection_acts_in_its_role(postgres_dsn: str, role: Role) -> None:
    """Also where the login is a superuser, and with the limits that keep it from holding others up."""
    with closing(Connections(postgres_dsn)) as connections:
        assert _value(connections, role, "SELECT current_user") == role.value
        assert _value(connections, role, "SHOW lock_timeout") == "100ms"
        assert _value(connections, role, "SHOW idle_in_transaction_session_timeout") == "1min"
        assert _value(connections, role, "SHOW search_path") == "jobledger,pg_temp"


def test_a_tenants_transaction_sees_that_tenant(postgres_dsn: str) -> None:
    """The tenant is set for one transaction and gone after it."""
    with closing(Connections(postgres_dsn, max_size=4)) as connections:
        with connections.tenant_transaction("acme") as connection:
            row = connection.execute("SELECT current_setting('jobledger.tenant')").fetchone()
        assert row == ("acme",)
        assert _value(connections, Role.API, "SELECT current_setting('jobledger.tenant', true)") in (None, "")


def test_closed_connections_are_replaced(postgres_dsn: str) -> None:
    """What the server closed while it lay idle is not handed out: the next query just works."""
    with closing(Connections(postgres_dsn)) as connections:
        before = _value(connections, Role.API, "SELECT pg_backend_pid()")
        with psycopg.connect(postgres_dsn) as operator:
            operator.execute("SELECT pg_terminate_backend(%s, 10000)", (before,))
        assert _value(connections, Role.API, "SELECT pg_backend_pid()") != before


@pytest.mark.parametrize("in_transaction", [False, True])
def test_ctrl_c_in_the_middle_of_a_statement_is_no_outage(postgres_dsn: str, in_transaction: bool) -> None:
    """What lets go of the connection fails then: it is the interrupt that is raised, and the next one gets another
    connection."""
    with closing(Connections(postgres_dsn)) as connections, closing(_session(connections)) as session:
        with pytest.raises(KeyboardInterrupt):
            _interrupt(session, in_transaction=in_transaction)
        with session.use() as another:
            assert another.execute("SELECT 1").fetchone() == (1,)


def _session(connections: Connections) -> Session:
    return Session(lambda: connections.connect(Role.PROJECTOR), {})


def _interrupt(session: Session, *, in_transaction: bool) -> None:
    with session.use() as connection, connection.transaction() if in_transaction else nullcontext():
        connection.pgconn.send_query(b"SELECT pg_sleep(600)")
        raise KeyboardInterrupt


def test_a_ledger_outlives_a_restart_of_its_server(durable_postgres: DurableCluster) -> None:
    """While the server is away callers are told so; once it is back the same ledger works."""
    dsn = durable_postgres.server.dsn()
    migrate(dsn)
    with closing(open_ledger(dsn, connect_timeout_seconds=2)) as ledger:
        assert ledger.reader.stream("acme", job_id()) == []
        durable_postgres.kill()
        with pytest.raises(LedgerUnavailable):
            _read_until_it_fails(ledger)
        durable_postgres.recover()
        assert ledger.reader.stream("acme", job_id()) == []
        assert ledger.catalogue.tenants() == []


def _read_until_it_fails(ledger: PostgresLedger) -> None:
    """A process of the server may answer once more before it notices that the server is gone."""
    while True:
        ledger.reader.stream("acme", job_id())


def test_a_pool_without_a_free_connection_says_so(postgres_dsn: str) -> None:
    """All in use is not the same as a server that is away."""
    with (
        closing(Connections(postgres_dsn, max_size=4, connect_timeout_seconds=0.3)) as connections,
        ExitStack() as held,
    ):
        held.enter_context(connections.connection(Role.API))
        with pytest.raises(LedgerBusy, match="in use"), connections.connection(Role.API):
            pass


def test_errors_of_the_driver_are_ours(postgres_dsn: str) -> None:
    """Whatever the server refuses comes as a LedgerError with the driver's error as its cause."""
    with closing(Connections(postgres_dsn)) as connections:
        with pytest.raises(LedgerError, match="division by zero") as raised, connections.connection(Role.API) as one:
            one.execute("SELECT 1 / 0")
        assert isinstance(raised.value.__cause__, psycopg.Error)
        with pytest.raises(LedgerUnavailable, match="refuses"), connections.connection(Role.API) as other:
            other.execute("DELETE FROM ledger")


def test_a_login_that_may_not_act_for_us_is_told_what_it_lacks(postgres_dsn: str) -> None:
    """A login that is no member of our roles, or a database that is not there: what to do about it."""
    with psycopg.connect(postgres_dsn, autocommit=True) as superuser:
        superuser.execute("DROP ROLE IF EXISTS nobody_of_ours")
        superuser.execute("CREATE ROLE nobody_of_ours LOGIN")
    dsn = make_conninfo(postgres_dsn, user="nobody_of_ours")
    with pytest.raises(LedgerUnavailable, match="member of jobledger's roles"):
        open_ledger(dsn)
    missing = make_conninfo(postgres_dsn, dbname="no_such_database")
    with pytest.raises(LedgerNotFound, match="no_such_database"):
        open_ledger(missing)


def test_a_closed_ledger_says_that_it_is_closed(postgres_dsn: str) -> None:
    """Using it afterwards is an error with a reason."""
    ledger = open_ledger(postgres_dsn)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.reader.stream("acme", job_id())
