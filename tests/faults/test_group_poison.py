"""One caller's value that cannot even be encoded, in the middle of a group: the others are stored once, and told so."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from jobledger.application.writes import AppendEvents, TenantRow, WriteStatus
from jobledger.domain.errors import LedgerError
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import JobStatus, Lease, Measured, cancel, complete
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from tests.contract.support import change_of, metadata, new_job
from tests.support.ledger_order import connect

CALLERS = 12


@pytest.fixture
def ledger(durable_dsn: str) -> Iterator[PostgresLedger]:
    """An open ledger with a tenant."""
    with closing(open_ledger(durable_dsn)) as ledger:
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        yield ledger


def test_what_cannot_be_encoded_hurts_nobody_else(ledger: PostgresLedger) -> None:
    """A change that no driver can send fails alone; dispatches of the same group are written, not in conflict with
    themselves."""
    jobs = [new_job() for _ in range(CALLERS)]
    ledger.writer.write(jobs)
    rows = ledger.queue.open_jobs("acme", [job.event.originator_id for job in jobs])
    for row in rows.values():
        poison = change_of(row, cancel(row.state, reason="wrong"))
        assert poison.change is not None
        poison = poison._replace(change=poison.change._replace(attempts_counted=2**40))
        with ThreadPoolExecutor(CALLERS) as callers:
            good = [callers.submit(ledger.writer.write, [new_job()]) for _ in range(CALLERS // 2)]
            bad = callers.submit(ledger.writer.write, [poison])
            good += [callers.submit(ledger.writer.write, [new_job()]) for _ in range(CALLERS // 2)]
        assert {each.result()[0].status for each in good} == {WriteStatus.WRITTEN}
        with pytest.raises(LedgerError):
            bad.result()


def test_a_group_with_a_poisonous_write_leaves_nothing_behind(ledger: PostgresLedger) -> None:
    """The writes of one call share one transaction: where one of them cannot be sent, none is stored."""
    first = new_job()
    ledger.writer.write([first])
    row = ledger.queue.open_jobs("acme", [first.event.originator_id])[first.event.originator_id]
    poison = change_of(row, cancel(row.state, reason="wrong"))
    assert poison.change is not None
    poison = poison._replace(change=poison.change._replace(attempts_counted=2**40))
    other = new_job()
    with pytest.raises(LedgerError):
        ledger.writer.write([other, poison])
    assert ledger.reader.stream("acme", other.event.originator_id) == []
    assert ledger.writer.write([other])[0].status is WriteStatus.WRITTEN


def test_what_was_stored_is_told_whatever_comes_after(ledger: PostgresLedger, durable_dsn: str) -> None:
    """An ending that needs a second look is looked at in a transaction of its own: where that fails, what the first
    one stored is acknowledged all the same."""
    first = new_job()
    ledger.writer.write([first])
    row = ledger.queue.open_jobs("acme", [first.event.originator_id])[first.event.originator_id]
    lease = Lease("nobody", 1)
    running = row._replace(state=row.state._replace(status=JobStatus.IN_PROGRESS, worker="nobody", attempt=1))
    stale = change_of(running, complete(running.state, lease, Measured()), lease=lease, body=b"null")
    with connect(durable_dsn, "none", autocommit=True) as operator:
        operator.execute("ALTER FUNCTION jobledger.change_jobs RENAME TO change_jobs_is_away")
        new = new_job()
        outcomes = ledger.writer.write([new, stale])
    assert [outcome.status for outcome in outcomes] == [WriteStatus.WRITTEN, WriteStatus.BUSY]
    assert ledger.reader.stream("acme", new.event.originator_id)[0].position == outcomes[0].position
