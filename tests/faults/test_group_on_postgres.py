"""What one caller of a group does to the others on PostgreSQL: nothing. And what a ledger refuses to write at all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from jobledger.application.writes import AppendEvents, TenantRow, WriteStatus
from jobledger.domain.errors import LedgerBusy, LedgerRestored
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import cancel
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.group_commit import Limits
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from tests.contract.support import change_of, metadata, new_job
from tests.support.ledger_order import Writer, connect

CALLERS = 20


@pytest.fixture
def ledger(durable_dsn: str) -> Iterator[PostgresLedger]:
    """An open ledger with a tenant; deferred writes are given up after a moment."""
    with closing(open_ledger(durable_dsn, limits=Limits(deferred_seconds=0.5))) as ledger:
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        yield ledger


def test_of_many_callers_only_the_one_in_conflict_is_told(ledger: PostgresLedger) -> None:
    """Twenty callers write at once, one of them under an id that is taken: nineteen are stored."""
    taken = new_job()
    ledger.writer.write([taken])
    news = [new_job() for _ in range(CALLERS - 1)]
    with ThreadPoolExecutor(CALLERS) as callers:
        outcomes = list(callers.map(lambda new: ledger.writer.write([new])[0], [*news, taken]))
    assert [outcome.status for outcome in outcomes] == [WriteStatus.WRITTEN] * len(news) + [WriteStatus.CONFLICT]


def test_nobody_waits_for_a_key_that_an_open_transaction_holds(ledger: PostgresLedger, durable_dsn: str) -> None:
    """While a caller's transaction holds a key, others of the same group are stored; a dispatch under that key is
    tried again until its time is up, then told that it was busy; after the commit it finds the first job."""
    first = new_job(key="held")
    with psycopg.connect(durable_dsn) as open_transaction:
        ledger.transaction_writer.dispatch(open_transaction, [first])
        waiting = ledger.writer.submit([new_job(key="held")])
        others = [ledger.writer.submit([new_job(key=f"k-{number}")]) for number in range(CALLERS)]
        statuses = {other.result(timeout=30)[0].status for other in others}
        assert statuses == {WriteStatus.WRITTEN}
        with pytest.raises(LedgerBusy):
            waiting.result(timeout=30)
        open_transaction.commit()
    (outcome,) = ledger.writer.write([new_job(key="held")])
    assert (outcome.status, outcome.job_id) == (WriteStatus.DUPLICATE, first.event.originator_id)


def test_nobody_waits_for_a_row_that_an_open_transaction_holds(ledger: PostgresLedger, durable_dsn: str) -> None:
    """A job's row that somebody else locked keeps only the changes of that job waiting."""
    held, free = new_job(), new_job()
    ledger.writer.write([held, free])
    rows = ledger.queue.open_jobs("acme", [held.event.originator_id, free.event.originator_id])
    with connect(durable_dsn, "jobledger_writer") as other:
        other.execute("SELECT FROM open_jobs WHERE job_id = %s FOR UPDATE", (held.event.originator_id,))
        futures = [
            ledger.writer.submit([change_of(row, cancel(row.state, reason="wrong"))])
            for row in (rows[held.event.originator_id], rows[free.event.originator_id])
        ]
        assert futures[1].result(timeout=30)[0].status is WriteStatus.WRITTEN
        other.rollback()
    assert futures[0].result(timeout=30)[0].status is WriteStatus.WRITTEN


def test_nobody_waits_for_a_foreign_lock_on_the_ledger(ledger: PostgresLedger, durable_dsn: str) -> None:
    """A stream that another transaction is just beginning blocks its own writer alone: the group is split."""
    contested = Event(stream_id("beta", "tenant", "beta"), 1, "beta", metadata(), TenantCreated(name="beta"))
    row = TenantRow("beta", TenantStatus.ACTIVE)
    with closing(Writer(durable_dsn)) as other:
        other.append(contested.originator_id, 1)
        blocked = ledger.writer.submit([AppendEvents((contested,), row)])
        others = [ledger.writer.submit([new_job()]) for _ in range(CALLERS)]
        assert {each.result(timeout=30)[0].status for each in others} == {WriteStatus.WRITTEN}
    assert blocked.result(timeout=30)[0].status is WriteStatus.WRITTEN


def test_a_restored_database_is_refused(ledger: PostgresLedger, durable_dsn: str) -> None:
    """Positions that lie below what a projection has read would never be seen: nothing is written."""
    ledger.writer.write([new_job() for _ in range(3)])
    with connect(durable_dsn, "jobledger_owner") as owner:
        read_to = ledger.reader.head()
        owner.execute("INSERT INTO checkpoints VALUES ('tenant_jobs', 1, %s, NULL, now())", (read_to,))
        owner.execute("SELECT setval('ledger_ticket', 2)")
    new = new_job()
    with pytest.raises(LedgerRestored, match="restored"):
        ledger.writer.write([new])
    assert ledger.queue.open_jobs("acme", [new.event.originator_id]) == {}


def test_no_position_is_used_again_after_a_purge(ledger: PostgresLedger, durable_dsn: str) -> None:
    """The newest events are deleted by the owner; what is appended next still comes behind where they were."""
    newest = [outcome.position for outcome in ledger.writer.write([new_job() for _ in range(5)])]
    with psycopg.connect(durable_dsn) as owner:
        owner.execute("DELETE FROM jobledger.ledger WHERE notification_id >= %s", (newest[0],))
    (outcome,) = ledger.writer.write([new_job()])
    assert outcome.position is not None
    assert outcome.position > max(position for position in newest if position is not None)


def test_more_events_than_a_ticket_numbers_are_one_write(ledger: PostgresLedger) -> None:
    """A group of more than 4,096 dispatches takes several tickets in one transaction; positions stay in order."""
    outcomes = ledger.writer.write([new_job(about=metadata()) for _ in range(4_100)])
    positions = [outcome.position for outcome in outcomes if outcome.position is not None]
    assert len(set(positions)) == 4_100
    assert positions == sorted(positions)
