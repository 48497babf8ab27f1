"""A connection that dies while it commits: nothing is acknowledged before it is known what became of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from jobledger.application.writes import AppendEvents, NewJob, Outcome, TenantRow, Write, WriteStatus
from jobledger.domain.errors import LedgerUnavailable
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import cancel
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.migrations import migrate
from tests.contract.support import change_of, metadata, new_job
from tests.support.cutting_proxy import CuttingProxy, Moment
from tests.support.ledger_order import connect
from tests.support.postgres import DurableCluster

WAIT = 777
"""The advisory lock at which a COMMIT waits while a test holds it."""


def created(name: str = "acme") -> AppendEvents:
    event = Event(stream_id(name, "tenant", name), 1, name, metadata(), TenantCreated(name=name))
    return AppendEvents((event,), TenantRow(name, TenantStatus.ACTIVE))


def stored(dsn: str, stream: UUID) -> list[tuple[int, int]]:
    """Version and position of a stream's events."""
    statement = "SELECT originator_version, notification_id FROM ledger WHERE originator_id = %s ORDER BY 1"
    with connect(dsn, "jobledger_projector") as connection:
        return [(row[0], row[1]) for row in connection.execute(statement, (stream,))]


@pytest.mark.parametrize("moment", ["before the question", "before the answer"])
def test_a_lost_commit_is_resolved(durable_dsn: str, tmp_path: Path, moment: Moment) -> None:
    """Whether the commit took place or not: each write is stored once, and its caller is told where."""
    with CuttingProxy(durable_dsn, tmp_path) as proxy, closing(open_ledger(proxy.dsn)) as ledger:
        ledger.writer.write([created()])
        writes: list[NewJob | AppendEvents] = [new_job(), new_job(key="k"), created("beta")]
        proxy.cut(moment)
        outcomes = ledger.writer.write(writes)
        assert proxy.was_cut.is_set()
        for write, outcome in zip(writes, outcomes, strict=True):
            assert outcome.status is WriteStatus.WRITTEN
            assert stored(durable_dsn, stream_of(write)) == [(1, outcome.position)]


def test_a_lost_commit_of_an_ending_is_resolved(durable_dsn: str, tmp_path: Path) -> None:
    """Changes of jobs, whose versions only the database knows, are recognised too; what conflicts still conflicts."""
    with CuttingProxy(durable_dsn, tmp_path) as proxy, closing(open_ledger(proxy.dsn)) as ledger:
        ledger.writer.write([created()])
        new, other = new_job(), new_job()
        ledger.writer.write([new, other])
        rows = ledger.queue.open_jobs("acme", [new.event.originator_id, other.event.originator_id])
        job, stale = rows[new.event.originator_id], rows[other.event.originator_id]._replace(version=9)
        proxy.cut("before the answer")
        changes = [change_of(each, cancel(each.state, reason="wrong")) for each in (job, stale)]
        written, conflict = ledger.writer.write(changes)
        assert proxy.was_cut.is_set()
        assert (written.status, written.version) == (WriteStatus.WRITTEN, 2)
        assert stored(durable_dsn, job.job_id)[1] == (2, written.position)
        assert conflict.status is WriteStatus.CONFLICT


def make_commits_wait(dsn: str) -> None:
    """A trigger that runs inside COMMIT and waits there for whoever holds the lock."""
    with connect(dsn, "jobledger_owner") as connection:
        connection.execute(
            f"""CREATE FUNCTION wait_in_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
                SET lock_timeout = 0 AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared({WAIT}); RETURN NULL; END $$"""
        )
        connection.execute(
            """CREATE CONSTRAINT TRIGGER wait_in_commit AFTER INSERT ON idempotency_keys
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_in_commit()"""
        )


def test_a_connection_killed_in_the_middle_of_commit(durable_dsn: str) -> None:
    """A server process that is ended inside COMMIT stored nothing; the group is written again, once."""
    make_commits_wait(durable_dsn)
    with closing(open_ledger(durable_dsn)) as ledger, connect(durable_dsn, "none", autocommit=True) as operator:
        ledger.writer.write([created()])
        new = new_job(key="k")
        operator.execute("SELECT pg_advisory_lock(%s)", (WAIT,))
        with ThreadPoolExecutor(1) as callers:
            writing = callers.submit(_write, ledger, new)
            until(lambda: waiting_in_commit(operator) is not None)
            operator.execute("SELECT pg_terminate_backend(%s)", (waiting_in_commit(operator),))
            operator.execute("SELECT pg_advisory_unlock(%s)", (WAIT,))
            outcome = writing.result(timeout=60)
        assert outcome.status is WriteStatus.WRITTEN
        assert stored(durable_dsn, new.event.originator_id) == [(1, outcome.position)]


def test_a_server_killed_in_the_middle_of_commit(durable_postgres: DurableCluster) -> None:
    """While the server is away nothing is acknowledged; once it is back, the same dispatch is stored once."""
    durable_dsn = durable_postgres.server.dsn()
    migrate(durable_dsn)
    make_commits_wait(durable_dsn)
    with closing(open_ledger(durable_dsn)) as ledger:
        ledger.writer.write([created()])
        new = new_job(key="k")
        with connect(durable_dsn, "none", autocommit=True) as operator, ThreadPoolExecutor(1) as callers:
            operator.execute("SELECT pg_advisory_lock(%s)", (WAIT,))
            writing = callers.submit(_write, ledger, new)
            until(lambda: waiting_in_commit(operator) is not None)
            durable_postgres.kill()
            with pytest.raises(LedgerUnavailable):
                writing.result(timeout=60)
        durable_postgres.recover()
        outcome = _write(ledger, new)
        assert outcome.status is WriteStatus.WRITTEN
        assert stored(durable_dsn, new.event.originator_id) == [(1, outcome.position)]
        assert ledger.reader.stream("acme", new.event.originator_id)[0].position == outcome.position


def _write(ledger: PostgresLedger, write: Write) -> Outcome:
    return ledger.writer.write([write])[0]


def stream_of(write: NewJob | AppendEvents) -> UUID:
    return write.event.originator_id if isinstance(write, NewJob) else write.events[0].originator_id


def waiting_in_commit(operator: psycopg.Connection[tuple[Any, ...]]) -> int | None:
    row = operator.execute("SELECT pid FROM pg_locks WHERE objid = %s AND NOT granted", (WAIT,)).fetchone()
    return None if row is None else int(row[0])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.001)
