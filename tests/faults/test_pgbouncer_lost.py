"""Behind PgBouncer in transaction mode: commits whose answer was lost, a pooler that dies, a server that does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import product
from pathlib import Path

import psycopg
import pytest

from jobledger.application.writes import AppendEvents, NewJob, Outcome, Write, WriteStatus
from jobledger.domain.errors import LedgerUnavailable
from jobledger.infrastructure.group_commit import Limits
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.migrations import migrate
from tests.contract.support import new_job
from tests.support.cutting_proxy import CuttingProxy, Moment
from tests.support.ledger_order import connect
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.postgres import DurableCluster

from .test_lost_commit import (
    WAIT,
    created,
    make_commits_wait,
    stored,
    stream_of,
    until,
    waiting_in_commit,
)

_LOGIN = "application_behind_a_pooler"
_PATIENT = Limits(retry_seconds=(0.1,) * 100)
"""A group is tried again for as long as a pooler takes to be started."""


@pytest.fixture
def pooler(durable_dsn: str) -> Iterator[PgBouncer]:
    """PgBouncer in front of the durable server; it knows a login that is a member of jobledger_api only."""
    with psycopg.connect(durable_dsn, autocommit=True) as superuser:
        if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", (_LOGIN,)).fetchone() is None:
            superuser.execute(f"CREATE ROLE {_LOGIN} LOGIN")
        superuser.execute(f"GRANT jobledger_api TO {_LOGIN}")
    with pgbouncer(durable_dsn, logins=(_LOGIN,)) as running:
        yield running


@pytest.mark.parametrize("login", ["postgres", _LOGIN])
@pytest.mark.parametrize("lost", list(product(("before the question", "before the answer"), (0, 1))), ids=str)
def test_a_lost_commit_is_resolved(
    durable_dsn: str, pooler: PgBouncer, tmp_path: Path, lost: tuple[Moment, int], login: str
) -> None:
    """Whether BEGIN or COMMIT was lost, on its way there or back: each write is stored once, and told where. A login
    that sees one tenant at a time can do it as well."""
    moment, passing = lost
    with (
        CuttingProxy(pooler.dsn(durable_dsn, login=login), tmp_path) as proxy,
        closing(open_ledger(proxy.dsn, pooler="transaction")) as ledger,
    ):
        ledger.writer.write([created()])
        writes: list[NewJob | AppendEvents] = [new_job(), new_job(key="k"), created("beta")]
        proxy.cut(moment, after=passing)
        outcomes = ledger.writer.write(writes)
        assert proxy.was_cut.is_set()
        for write, outcome in zip(writes, outcomes, strict=True):
            assert outcome.status is WriteStatus.WRITTEN
            assert stored(durable_dsn, stream_of(write)) == [(1, outcome.position)]


def test_a_pooler_killed_in_the_middle_of_a_commit(durable_dsn: str, pooler: PgBouncer) -> None:
    """The server still commits for a client that is gone: the transaction is found by its mark and ended, and the
    group is written again, once."""
    make_commits_wait(durable_dsn)
    with (
        closing(open_ledger(pooler.dsn(durable_dsn), pooler="transaction", limits=_PATIENT)) as ledger,
        connect(durable_dsn, "none", autocommit=True) as operator,
    ):
        ledger.writer.write([created()])
        new = new_job(key="k")
        operator.execute("SELECT pg_advisory_lock(%s)", (WAIT,))
        with ThreadPoolExecutor(1) as callers:
            writing = callers.submit(_write, ledger, new)
            until(lambda: waiting_in_commit(operator) is not None)
            first = waiting_in_commit(operator)
            pooler.kill()
            assert waiting_in_commit(operator) == first  # it has not noticed
            pooler.start()
            until(lambda: waiting_in_commit(operator) not in (None, first))
            operator.execute("SELECT pg_advisory_unlock(%s)", (WAIT,))
            outcome = writing.result(timeout=60)
        assert outcome.status is WriteStatus.WRITTEN
        assert stored(durable_dsn, new.event.originator_id) == [(1, outcome.position)]


def test_a_commit_that_took_place_behind_a_dead_pooler_is_told_as_written(durable_dsn: str, pooler: PgBouncer) -> None:
    """It was under way when the pooler died and was over when the next one came: it is not written again."""
    make_commits_wait(durable_dsn)
    with (
        closing(open_ledger(pooler.dsn(durable_dsn), pooler="transaction", limits=_PATIENT)) as ledger,
        connect(durable_dsn, "none", autocommit=True) as operator,
    ):
        ledger.writer.write([created()])
        new = new_job(key="k")
        operator.execute("SELECT pg_advisory_lock(%s)", (WAIT,))
        with ThreadPoolExecutor(1) as callers:
            writing = callers.submit(_write, ledger, new)
            until(lambda: waiting_in_commit(operator) is not None)
            pooler.kill()
            operator.execute("SELECT pg_advisory_unlock(%s)", (WAIT,))
            until(lambda: stored(durable_dsn, new.event.originator_id) != [])
            (before,) = stored(durable_dsn, new.event.originator_id)
            pooler.start()
            outcome = writing.result(timeout=60)
        assert (outcome.version, outcome.position) == before
        assert stored(durable_dsn, new.event.originator_id) == [before]


def test_a_dead_pooler_is_told_as_an_outage(durable_dsn: str, pooler: PgBouncer) -> None:
    """Readers and writers are told; once it is back the same ledger works."""
    with closing(open_ledger(pooler.dsn(durable_dsn), pooler="transaction", connect_timeout_seconds=2)) as ledger:
        ledger.writer.write([created()])
        new = new_job()
        pooler.kill()
        with pytest.raises(LedgerUnavailable, match="PostgreSQL does not answer"):
            ledger.reader.stream("acme", new.event.originator_id)
        with pytest.raises(LedgerUnavailable, match="PostgreSQL does not answer"):
            _write(ledger, new)
        pooler.start()
        assert _write(ledger, new).status is WriteStatus.WRITTEN
        assert [event.topic for event in ledger.reader.stream("acme", new.event.originator_id)] == ["job.dispatched"]


def test_a_dead_server_behind_a_pooler_is_told_as_an_outage(durable_postgres: DurableCluster) -> None:
    """A pooler that is well does not hide it, and what was begun before is not stored twice."""
    dsn = durable_postgres.server.dsn()
    migrate(dsn)
    with (
        pgbouncer(dsn, wait_seconds=1) as pooler,
        closing(open_ledger(pooler.dsn(dsn), pooler="transaction", connect_timeout_seconds=2)) as ledger,
    ):
        ledger.writer.write([created()])
        tried: list[NewJob] = []
        durable_postgres.kill()
        with pytest.raises(LedgerUnavailable):
            _write_until_it_fails(ledger, tried)
        with pytest.raises(LedgerUnavailable):
            ledger.reader.stream("acme", tried[-1].event.originator_id)
        durable_postgres.recover()
        assert _write(ledger, tried[-1]).status is WriteStatus.WRITTEN
        for new in tried:
            assert len(stored(dsn, new.event.originator_id)) == 1


def _write_until_it_fails(ledger: PostgresLedger, tried: list[NewJob]) -> None:
    """A process of the server may answer once more before it notices that the server is gone."""
    while True:
        tried.append(new_job())
        _write(ledger, tried[-1])


def _write(ledger: PostgresLedger, write: Write) -> Outcome:
    return ledger.writer.write([write])[0]
