"""Dispatching inside a caller's own PostgreSQL transaction, by a login that may do nothing else with the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from jobledger.application.writes import AppendEvents, TenantRow, WriteStatus
from jobledger.domain.errors import InvalidInput, LedgerError
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.transaction_writer import PostgresTransactionWriter
from tests.contract.support import metadata, new_job

LOGIN = "an_application"


@pytest.fixture
def ledger(postgres_dsn: str) -> Iterator[PostgresLedger]:
    """An open ledger with a tenant."""
    with closing(open_ledger(postgres_dsn)) as ledger:
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        yield ledger


@pytest.fixture
def application_dsn(postgres_dsn: str) -> str:
    """A login of an application: it has a table of its own and is a member of jobledger_api, no more."""
    with psycopg.connect(postgres_dsn, autocommit=True) as superuser:
        if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", (LOGIN,)).fetchone() is None:
            superuser.execute(f"CREATE ROLE {LOGIN} LOGIN")
        superuser.execute(f"GRANT jobledger_api TO {LOGIN}")
        superuser.execute("CREATE TABLE invoices (n integer)")
        superuser.execute(f"GRANT ALL ON invoices TO {LOGIN}")
    return make_conninfo(postgres_dsn, user=LOGIN)


def test_a_job_commits_with_the_applications_rows(ledger: PostgresLedger, application_dsn: str) -> None:
    """The application's own login and connection, with its own row factory and search path."""
    new = new_job()
    with psycopg.connect(application_dsn, row_factory=dict_row) as connection:
        connection.execute("INSERT INTO invoices VALUES (42)")
        (outcome,) = ledger.transaction_writer.dispatch(connection, [new])
    assert outcome.status is WriteStatus.WRITTEN
    (event,) = ledger.reader.stream("acme", new.event.originator_id)
    assert event.position == outcome.position


def test_a_dispatch_does_not_commit_for_its_caller(ledger: PostgresLedger, application_dsn: str) -> None:
    """Also where it is the first statement of the connection: the transaction stays the caller's."""
    new = new_job()
    with closing(psycopg.connect(application_dsn)) as connection:
        ledger.transaction_writer.dispatch(connection, [new])
        connection.rollback()
    assert ledger.reader.stream("acme", new.event.originator_id) == []


def test_autocommit_without_a_transaction_is_refused(ledger: PostgresLedger, application_dsn: str) -> None:
    """A dispatch that would commit with nothing is not what was meant; inside a transaction block it is."""
    with psycopg.connect(application_dsn, autocommit=True) as connection:
        with pytest.raises(InvalidInput, match="autocommit"):
            ledger.transaction_writer.dispatch(connection, [new_job()])
        with connection.transaction():
            (outcome,) = ledger.transaction_writer.dispatch(connection, [new_job()])
    assert outcome.status is WriteStatus.WRITTEN


def test_workers_are_woken_when_the_caller_commits(ledger: PostgresLedger, application_dsn: str) -> None:
    """A hint arrives with the commit; where it is switched off, none does."""
    with psycopg.connect(application_dsn, autocommit=True) as listener:
        listener.execute("LISTEN jobledger_ready")
        for writer, hints in ((PostgresTransactionWriter(), 1), (PostgresTransactionWriter(notifies=False), 0)):
            with psycopg.connect(application_dsn) as connection:
                writer.dispatch(connection, [new_job()])
            listener.execute("SELECT 1")
            assert len(list(listener.notifies(timeout=0))) == hints


def test_two_callers_with_one_key(ledger: PostgresLedger, application_dsn: str) -> None:
    """The second waits for the first to end: a duplicate after its commit."""
    first, second = new_job(key="k"), new_job(key="k")

    def dispatch_second() -> WriteStatus:
        with psycopg.connect(application_dsn) as connection:
            return ledger.transaction_writer.dispatch(connection, [second])[0].status

    with psycopg.connect(application_dsn) as connection, ThreadPoolExecutor(1) as other:
        ledger.transaction_writer.dispatch(connection, [first])
        waiting = other.submit(dispatch_second)
        connection.commit()
        assert waiting.result(timeout=30) is WriteStatus.DUPLICATE


def test_a_login_without_our_roles_is_refused(ledger: PostgresLedger, application_dsn: str, postgres_dsn: str) -> None:
    """Its transaction stays usable: only the dispatch did not happen."""
    with psycopg.connect(postgres_dsn, autocommit=True) as superuser:
        superuser.execute(f"REVOKE jobledger_api FROM {LOGIN}")
    with psycopg.connect(application_dsn) as connection:
        connection.execute("INSERT INTO invoices VALUES (43)")
        with pytest.raises(LedgerError, match="permission denied"):
            ledger.transaction_writer.dispatch(connection, [new_job()])
        assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (1,)
