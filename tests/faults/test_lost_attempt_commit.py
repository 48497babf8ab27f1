"""The COMMIT of an attempt's own transaction whose answer is lost: nothing else is recorded before it is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from pydantic import BaseModel

from jobledger import App, JobContext, Ledger, Retry
from jobledger.application.ports import AttemptTransaction, ClaimRequest
from jobledger.application.worker.outcomes import Succeeded, change_of
from jobledger.application.writes import AppendEvents, ChangeJob, Outcome, TenantRow, WriteStatus
from jobledger.domain.errors import CommitUnknown, LedgerUnavailable
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import Lease, Measured
from jobledger.domain.rate_card import Usage
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.migrations import migrate
from tests.contract.support import metadata, new_job
from tests.support.cutting_proxy import CuttingProxy
from tests.support.postgres import DurableCluster

WAIT = 778
"""The advisory lock at which a COMMIT waits while a test holds it."""
LIMIT_SECONDS = 60.0


@pytest.fixture
def dsn(durable_postgres: DurableCluster) -> str:
    """A durable ledger beside a table of the application, whose transactions wait in their COMMIT."""
    dsn = durable_postgres.server.dsn()
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE payments (number integer)")
        connection.execute(
            f"""CREATE FUNCTION wait_in_commit() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_advisory_xact_lock_shared({WAIT}); RETURN NULL; END $$"""
        )
        connection.execute(
            """CREATE CONSTRAINT TRIGGER wait_in_commit AFTER INSERT ON payments
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_in_commit()"""
        )
    return dsn


@contextmanager
def held_in_commit(dsn: str) -> Iterator[psycopg.Connection]:
    """Every COMMIT of a payment waits until the block ends, or its connection lets go."""
    with closing(psycopg.connect(dsn, autocommit=True)) as operator:
        operator.execute("SELECT pg_advisory_lock(%s)", (WAIT,))
        yield operator


def committing(operator: psycopg.Connection) -> int:
    """The server process that waits in its COMMIT."""
    give_up = threading.Event()
    timer = threading.Timer(LIMIT_SECONDS, give_up.set)
    timer.start()
    try:
        while True:
            row = operator.execute(
                "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = 'COMMIT'"
            ).fetchone()
            if row is not None:
                pid: int = row[0]
                return pid
            assert not give_up.wait(0.01), "nobody commits"
    finally:
        timer.cancel()


def started(ledger: PostgresLedger) -> ChangeJob:
    """The completion of a job that is running."""
    created = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
    ledger.writer.write([AppendEvents((created,), TenantRow("acme", TenantStatus.ACTIVE)), new_job()])
    (job,) = ledger.queue.claim(
        ClaimRequest("w1", ("default",), (new_job().state.job_type,), 1, "1", 600.0, metadata().time)
    ).jobs  # fmt: skip
    measured = Measured(0.0, 0.0, Usage(), 0.0, "none")
    return change_of(
        job, Lease("w1", job.state.attempt), Succeeded(b"null"), measured, (), metadata=metadata(), jitter=0.0
    )


def pay(ledger: PostgresLedger) -> AttemptTransaction:
    """An attempt's transaction with an effect."""
    transaction = ledger.attempt_transactions.begin(seconds=600.0)
    assert isinstance(transaction.connection, psycopg.Connection)
    transaction.connection.execute("INSERT INTO payments VALUES (7)")
    return transaction


def stored(dsn: str) -> tuple[int, int]:
    """How many completions and payments are committed."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            """SELECT (SELECT count(*) FROM jobledger.ledger WHERE topic = 'job.completed'),
                      (SELECT count(*) FROM payments)"""
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def _complete(transaction: AttemptTransaction, change: ChangeJob, *, give_up: bool = False) -> Outcome:
    return transaction.complete(change, give_up=lambda: give_up)


def test_an_answer_that_got_lost_is_looked_up(dsn: str, tmp_path: Path) -> None:
    """The COMMIT took place and its answer did not arrive: the completion is found, and counts."""
    with CuttingProxy(dsn, tmp_path) as proxy, closing(open_ledger(proxy.dsn)) as ledger, ThreadPoolExecutor(1) as own:
        change = started(ledger)
        transaction = own.submit(pay, ledger).result()
        with held_in_commit(dsn) as operator:
            completing = own.submit(_complete, transaction, change)
            committing(operator)
            proxy.cut("before the answer")
        outcome = completing.result(LIMIT_SECONDS)
        assert proxy.was_cut.is_set()
    assert outcome.status is WriteStatus.WRITTEN
    assert stored(dsn) == (1, 1)


def test_a_commit_that_did_not_take_place_is_told(dsn: str) -> None:
    """The server process is ended inside COMMIT: neither effect nor completion is stored, and the caller knows."""
    with closing(open_ledger(dsn)) as ledger, ThreadPoolExecutor(1) as own:
        change = started(ledger)
        transaction = own.submit(pay, ledger).result()
        with held_in_commit(dsn) as operator:
            completing = own.submit(_complete, transaction, change)
            operator.execute("SELECT pg_terminate_backend(%s)", (committing(operator),))
            with pytest.raises(LedgerUnavailable):
                completing.result(LIMIT_SECONDS)
    assert stored(dsn) == (0, 0)


def test_a_server_that_stays_away_leaves_it_open(durable_postgres: DurableCluster, dsn: str) -> None:
    """As long as nobody can say what became of the COMMIT, neither success nor failure is told."""
    with closing(open_ledger(dsn)) as ledger, ThreadPoolExecutor(1) as own:
        change = started(ledger)
        transaction = own.submit(pay, ledger).result()
        with held_in_commit(dsn) as operator:
            completing = own.submit(_complete, transaction, change, give_up=True)
            committing(operator)
            durable_postgres.kill()
            with pytest.raises(CommitUnknown):
                completing.result(LIMIT_SECONDS)
        durable_postgres.recover()
    assert stored(dsn) == (0, 0)


class Payload(BaseModel):
    """Nothing."""


def test_the_worker_records_a_failure_only_then(dsn: str) -> None:
    """A worker whose handler's COMMIT was killed records the failed attempt once that is certain, and tries again."""
    app = App("tested", code_version="1")

    @app.job("tested.pay", effects="transaction", retry=Retry.fixed(max_attempts=3, base_seconds=0))
    def handler(context: JobContext, payload: Payload) -> int:
        with context.transaction() as connection:
            connection.execute("INSERT INTO payments VALUES (7)")
        return context.attempt

    with Ledger.open(dsn, app=app) as ledger:
        ledger.tenants.create("acme", reason="a customer")
        job_id = ledger.dispatch("tested.pay", {}, tenant="acme").job_id
        with ThreadPoolExecutor(1) as own:
            with held_in_commit(dsn) as operator:
                running = own.submit(ledger.worker(app, drain=True, drain_wait_seconds=30).run)
                operator.execute("SELECT pg_terminate_backend(%s)", (committing(operator),))
            running.result(LIMIT_SECONDS)
        events = ledger.jobs.history(job_id, tenant="acme", bodies=True).events
    names = [event.topic.removeprefix("job.") for event in events]
    assert names == ["dispatched", "started", "failed", "retried", "started", "completed"]
    assert events[-1].body == b"2"
    assert stored(dsn) == (1, 1)
