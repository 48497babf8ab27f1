"""Claims of many workers at once: what one takes, another passes by, and none of them fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from jobledger.application.ports import ClaimRequest, OpenJob
from jobledger.application.writes import AppendEvents, TenantRow, WriteStatus
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import Lease, Measured, complete
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from tests.contract.support import change_of, metadata, new_job

WORKERS = ("w1", "w2", "w3", "w4")
_IN_VAIN = 40


@pytest.fixture
def ledger(postgres_dsn: str) -> Iterator[PostgresLedger]:
    """An open ledger with a tenant."""
    with closing(open_ledger(postgres_dsn)) as ledger:
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        yield ledger


def _works(ledger: PostgresLedger) -> Callable[[str], list[UUID]]:
    def claim(worker: str) -> tuple[OpenJob, ...]:
        return ledger.queue.claim(
            ClaimRequest(worker, ("default",), ("invoice.send",), 3, "v1", 30.0, datetime.now(UTC))
        ).jobs

    def work(worker: str) -> list[UUID]:
        done: list[UUID] = []
        in_vain = 0
        while in_vain < _IN_VAIN:
            jobs = claim(worker)
            in_vain = 0 if jobs else in_vain + 1
            for job in jobs:
                lease = Lease(worker, job.state.attempt)
                change = change_of(job, complete(job.state, lease, Measured()), lease=lease, body=b"null")
                assert ledger.writer.write([change])[0].status is WriteStatus.WRITTEN
                done.append(job.job_id)
        return done

    return work


@pytest.mark.parametrize("stalls", [0, 1])
def test_workers_that_want_the_same_keys(ledger: PostgresLedger, postgres_dsn: str, stalls: int) -> None:
    """Of jobs with lock keys each is done once, whether they stalled before or not, and no claim fails."""
    jobs = [new_job(lock_key=f"k{number % 2}") for number in range(60)]
    ledger.writer.write(jobs)
    with psycopg.connect(postgres_dsn) as operator:
        operator.execute("UPDATE jobledger.open_jobs SET stalls = %s", (stalls,))
    with ThreadPoolExecutor(len(WORKERS)) as workers:
        done = [job_id for ids in workers.map(_works(ledger), WORKERS) for job_id in ids]
    assert sorted(done) == sorted(job.event.originator_id for job in jobs)


def test_a_savepoint_that_is_rolled_back_hides_nothing(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """A caller dispatches, rolls back to a savepoint and dispatches again: readers wait for what it may still commit,
    and then see all of it."""
    gone, kept, later = new_job(), new_job(), new_job()
    with psycopg.connect(postgres_dsn) as caller:
        caller.execute("SELECT 1")
        caller.execute("SAVEPOINT a")
        ledger.transaction_writer.dispatch(caller, [gone])
        caller.execute("ROLLBACK TO a")
        ledger.transaction_writer.dispatch(caller, [kept])
        (outcome,) = ledger.writer.write([later])
        assert outcome.position is not None
        batch = ledger.reader.read_after(0, limit=100)
        assert batch.position < outcome.position
        caller.commit()
    position, seen = batch.position, set[UUID]()
    while later.event.originator_id not in seen:
        batch = ledger.reader.read_after(position, limit=100)
        position = batch.position
        seen |= {event.originator_id for event in batch.events}
    assert seen == {kept.event.originator_id, later.event.originator_id}
