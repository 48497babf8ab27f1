"""A program that only looks at lists needs a login that is a member of `jobledger_api`, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from jobledger import Actor, Grant, LedgerClient, Role
from jobledger.application.ports import GroupBy, JobFilter
from jobledger.domain.dlq import DlqFilter
from jobledger.infrastructure.bootstrap import open_ledger as open_handle
from jobledger.infrastructure.identities import ensure_admin_key, open_authenticator
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.event_source import PostgresEventSource
from jobledger.infrastructure.postgres.job_views import PostgresJobViews
from jobledger.infrastructure.postgres.statistics import PostgresStatistics
from jobledger.infrastructure.postgres.views import PostgresViewStore
from jobledger.infrastructure.settings import load
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.runner import Runner

from ..contract.support import new_job
from .test_projection_horizon import create_tenant

LOGIN = "application_of_lists"
SECRET = "the-query-of-somebody-else"


@pytest.fixture
def api_dsn(postgres_dsn: str) -> str:
    """The URL of a login that is a member of jobledger_api only."""
    with psycopg.connect(postgres_dsn, autocommit=True) as superuser:
        if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", (LOGIN,)).fetchone() is None:
            superuser.execute(f"CREATE ROLE {LOGIN} LOGIN")
        superuser.execute(f"GRANT jobledger_api TO {LOGIN}")
    return make_conninfo(postgres_dsn, user=LOGIN)


@pytest.fixture
def full(postgres_dsn: str) -> Iterator[PostgresLedger]:
    """A ledger with a tenant, opened by a login that may everything."""
    with closing(open_ledger(postgres_dsn)) as ledger:
        create_tenant(ledger)
        yield ledger


def project(ledger: PostgresLedger) -> None:
    """Bring the lists up to date."""
    with (
        closing(PostgresViewStore(ledger.connections)) as store,
        closing(PostgresEventSource(ledger.connections)) as source,
    ):
        Runner(store, source, ALL_PROJECTIONS).run_until_current()


@contextmanager
def appended_and_open(ledger: PostgresLedger, dsn: str) -> Iterator[psycopg.Connection]:
    """A transaction that has appended an event and stays open, for longer than what is said of it takes."""
    with psycopg.connect(dsn, application_name="billing") as caller:
        ledger.transaction_writer.dispatch(caller, [new_job()])
        caller.execute(f"SELECT '{SECRET}'")
        yield caller
        caller.rollback()


def test_lists_need_no_other_role(full: PostgresLedger, api_dsn: str) -> None:
    """All of them, statistics, traces, a stream, a tenant's events, and waiting for what was just written."""
    new = new_job()
    (outcome,) = full.writer.write([new])
    project(full)
    job_id, now = new.event.originator_id, datetime.now(UTC)
    assert outcome.position is not None
    with closing(open_ledger(api_dsn)) as ledger:
        views, statistics = PostgresJobViews(ledger.connections), PostgresStatistics(ledger.connections)
        assert views.wait_for(outcome.position, 5.0)
        page = views.tenant_jobs("acme", JobFilter(), after=None, limit=9)
        assert [row.job_id for row in page.rows] == [job_id] and page.freshness.position >= outcome.position
        assert views.persona_jobs("acme", "bot", JobFilter(), after=None, limit=9).rows == ()
        assert views.dlq("acme", DlqFilter(), after=None, limit=9).rows == ()
        assert views.dlq_summary("acme", DlqFilter(), groups=3).jobs == 0
        correlation_id = new.event.metadata.correlation_id
        assert [job.job_id for job in views.request_jobs("acme", correlation_id, after=None, limit=9).jobs] == [job_id]
        assert views.caused_jobs("acme", [uuid4()], limit=9).jobs == ()
        counted = statistics.of_tenant(
            "acme", frozenset({GroupBy.JOB_TYPE}), since=now - timedelta(days=1), until=now + timedelta(days=1), limit=9
        )
        assert [group.dispatched for group in counted.groups] == [1]
        assert [event.topic for event in ledger.reader.stream("acme", job_id)] == ["job.dispatched"]
        assert ledger.reader.head() >= outcome.position
        assert ledger.reader.read_tenant("acme", 0, limit=9).events[-1].originator_id == job_id


def test_such_a_login_is_told_who_keeps_it_back_and_no_more(
    full: PostgresLedger, api_dsn: str, postgres_dsn: str
) -> None:
    """The transaction by process, application, login and time: what it asked the server is not for others to read."""
    with (
        appended_and_open(full, postgres_dsn) as caller,
        closing(open_ledger(api_dsn)) as ledger,
        psycopg.connect(api_dsn, options="-c role=jobledger_api -c search_path=jobledger,pg_temp") as asking,
    ):
        full.writer.write([new_job()])
        views = PostgresJobViews(ledger.connections)
        give_up_at = datetime.now(UTC) + timedelta(seconds=30)
        while (hold := views.tenant_jobs("acme", JobFilter(), after=None, limit=9).freshness.hold) is None:
            assert datetime.now(UTC) < give_up_at, "nobody is said to keep the list back"
        assert (hold.pid, hold.application, hold.login) == (caller.info.backend_pid, "billing", caller.info.user)
        told = asking.execute("SELECT * FROM ledger_horizon_hold()").fetchall()
        seen = asking.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", (hold.pid,)).fetchall()
    assert len(told) == 1 and SECRET not in str(told)
    assert SECRET not in str(seen)


def test_what_is_of_all_tenants_is_refused(full: PostgresLedger, api_dsn: str) -> None:
    """Such a login reads no ledger of others: neither through the program nor past it."""
    full.writer.write([new_job()])
    with closing(open_ledger(api_dsn)) as ledger, pytest.raises(Exception, match="permission denied to set role"):
        ledger.reader.read_after(0, limit=9)
    with psycopg.connect(api_dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET ROLE jobledger_projector")


@pytest.mark.usefixtures("api_dsn", "full")
def test_keys_need_no_other_role(postgres_dsn: str) -> None:
    """A server whose login is one of the API only makes keys, knows who has one, and tells when it was used."""
    with closing(open_handle(load(database=postgres_dsn.replace("//postgres@", f"//{LOGIN}@")))) as handle:
        with open_authenticator(handle) as authenticator:
            first = ensure_admin_key(handle)
            assert first is not None
            assert authenticator.authenticate(first, address="192.0.2.7").id == "key:admin"
            client = LedgerClient(handle.dispatcher, Actor(id="key:admin"))
            issued = client.keys.create("mailer", Grant(role=Role.EMITTER, tenants=frozenset({"acme"})), reason="r")
            assert authenticator.authenticate(issued.credential) == issued.key.identity
            client.keys.rotate(issued.key.key_id, reason="r")
            client.keys.revoke(issued.key.key_id, reason="r")
        used = {view.key.key_id: view.last_use for view in client.keys.list()}
    assert used["admin"] is not None and used["admin"].address == "192.0.2.7"
    assert set(used) == {"admin", issued.key.key_id}
