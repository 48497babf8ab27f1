"""Claims under limits on PostgreSQL take few locks, wait for nobody, and hold nobody up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from jobledger.application.ports import ClaimRequest, OpenJob
from jobledger.application.writes import AppendEvents, LimitRow, TenantRow, WriteStatus
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import Lease, Measured, complete
from jobledger.domain.limit import FlowState, Limits, Scope, Target, TenantLimited, tenant_target
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.connections import Role
from tests.contract.support import change_of, metadata, new_job

_CLAIM = """
SELECT job_id FROM jobledger.claim_jobs('default', '{invoice.send}', NULL, NULL, '{}', 5, 5, '', '{}', '{}', 'w1',
                                        '}', '}', true) WHERE job_id IS NOT NULL"""
_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"


@pytest.fixture
def ledger(postgres_dsn: str) -> Iterator[PostgresLedger]:
    """An open ledger."""
    with closing(open_ledger(postgres_dsn)) as ledger:
        yield ledger


def _tenant(ledger: PostgresLedger, name: str) -> None:
    event = Event(stream_id(name, "tenant", name), 1, name, metadata(), TenantCreated(name=name))
    ledger.writer.write([AppendEvents((event,), TenantRow(name, TenantStatus.ACTIVE))])


def _limit(ledger: PostgresLedger, target: Target, limits: Limits) -> None:
    facts = TenantLimited(subject=target.subject, reason="test", limits=limits)
    event = Event(target.stream, 1, target.tenant, metadata(), facts)
    ledger.writer.write([AppendEvents((event,), LimitRow(target, FlowState(limits)))])


def _claim(ledger: PostgresLedger) -> tuple[OpenJob, ...]:
    request = ClaimRequest("w1", ("default",), ("invoice.send",), 10, "v1", 30.0, datetime.now(UTC))
    return ledger.queue.claim(request).jobs


def _complete(ledger: PostgresLedger, job: OpenJob) -> None:
    lease = Lease("w1", job.state.attempt)
    change = change_of(job, complete(job.state, lease, Measured()), lease=lease, body=b"null")
    assert ledger.writer.write([change])[0].status is WriteStatus.WRITTEN


@pytest.mark.parametrize("key", ["lock_key", "limit_key"])
def test_a_claim_locks_what_it_takes_not_what_it_looks_at(ledger: PostgresLedger, postgres_dsn: str, key: str) -> None:
    """Hundreds of keys wait and five jobs are taken: the server's table of locks, which all share, stays empty."""
    for number in range(3):
        tenant = f"t{number}"
        _tenant(ledger, tenant)
        _limit(ledger, Target(Scope.KEY, tenant, "*"), Limits(concurrency=1))
        ledger.writer.write([new_job(tenant=tenant, **{key: f"k-{index}"}) for index in range(150)])
    with psycopg.connect(postgres_dsn) as connection:
        taken: list[tuple[UUID]] = connection.execute(_CLAIM).fetchall()
        locks = connection.execute(_LOCKS).fetchone()
    assert len(taken) == 5
    assert locks is not None
    assert locks[0] <= 15


def test_a_claim_does_not_wait_for_maintenance(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """While another process clears away what limits counted, jobs under the limit are claimed."""
    _tenant(ledger, "acme")
    _limit(ledger, tenant_target("acme"), Limits(concurrency=1))
    ledger.writer.write([new_job(), new_job()])
    (first,) = _claim(ledger)
    _complete(ledger, first)
    with psycopg.connect(postgres_dsn) as maintenance:
        maintenance.execute("SELECT jobledger.apply_limits(100)")
        (second,) = _claim(ledger)
    assert second.job_id != first.job_id
    assert _claim(ledger) == ()


def test_a_claim_is_committed_without_the_client(postgres_dsn: str) -> None:
    """A worker that stops where it reads the answer has its jobs already: it holds no transaction open, and with it
    no lock and no reader of the ledger."""
    with closing(open_ledger(postgres_dsn, pool_max_size=2)) as ledger, tempfile.TemporaryFile() as trace:
        _tenant(ledger, "acme")
        ledger.writer.write([new_job()])
        connection = ledger.connections.take(Role.WORKER)  # the only one of its pool
        connection.pgconn.trace(trace.fileno())
        ledger.connections.give_back(Role.WORKER, connection)
        assert len(_claim(ledger)) == 1
        connection.pgconn.untrace()
        trace.seek(0)
        lines = [line.split(b"\t") for line in trace.read().splitlines()]
    messages = [(line[1], line[3]) for line in lines if len(line) > 3]
    first_answer = next(number for number, (sender, _) in enumerate(messages) if sender == b"B")
    assert (b"F", b"Execute") in messages[:first_answer]
    assert (b"F", b"Sync") in messages[:first_answer]  # which commits
