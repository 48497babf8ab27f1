"""Claims under limits on PostgreSQL take few locks, wait for nobody, and hold nobody up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from jobledger.application.ports import ClaimRequest, OpenJob
from jobledger.application.writes import AppendEvents, LimitRow, TenantRow, WriteStatus
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import Lease, Measured, complete
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target, TenantLimited, tenant_target
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.connections import LOCK_TIMEOUT_MS, Role
from tests.contract.support import change_of, metadata, new_job

_CLAIM = """
SELECT job_id FROM jobledger.claim_jobs('default', '{invoice.send}', NULL, NULL, '{}', 5, 5, '', '{}', '{}', 'w1',
                                        '}', '}', true) WHERE job_id IS NOT NULL"""
_CLAIMS_HELD_UP = 1818584168
"""The lock that changes of limits hold claims up with."""
_IS_HELD_UP = f"""
SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = {_CLAIMS_HELD_UP} AND NOT granted"""
_STARTED_BY_ANOTHER = """
SELECT limit_take(l, 'acme', ARRAY[%s::uuid], clock_timestamp()) FROM limits l"""
_STARTS = "SELECT recorded_at FROM jobledger.ledger WHERE topic = 'job.started' ORDER BY recorded_at"
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
        options: list[dict[str, Any]] = [{key: f"k-{index}"} for index in range(150)]
        ledger.writer.write([new_job(tenant=tenant, **each) for each in options])
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


def test_a_claim_waits_for_a_change_of_limits(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """A change of limits that takes longer than claims wait for locks elsewhere holds them up, and fails none."""
    _tenant(ledger, "acme")
    ledger.writer.write([new_job()])
    with psycopg.connect(postgres_dsn) as other, ThreadPoolExecutor() as threads:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (_CLAIMS_HELD_UP,))
        claim = threads.submit(_claim, ledger)
        other.execute("SELECT pg_sleep(%s)", (3 * LOCK_TIMEOUT_MS / 1000,))
        other.commit()
        assert len(claim.result(30)) == 1


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


def test_a_claim_that_took_its_time_stays_within_a_rate(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """A claim that was held up counts by the moment at which it goes on: what another one started meanwhile, and what
    that one forgot because it had left its window, lie as far back as they should."""
    seconds = 0.3
    _tenant(ledger, "acme")
    _limit(ledger, tenant_target("acme"), Limits(rate=Rate(count=2, seconds=seconds)))
    ledger.writer.write([new_job() for _ in range(5)])
    assert len(_claim(ledger)) == 2
    with psycopg.connect(postgres_dsn) as other, psycopg.connect(postgres_dsn) as late, ThreadPoolExecutor() as threads:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (_CLAIMS_HELD_UP,))
        held_up = threads.submit(lambda: late.execute(_CLAIM).fetchall())
        while other.execute(_IS_HELD_UP).fetchone() != (True,):
            pass
        other.execute("SELECT pg_sleep(%s)", (seconds + 0.02,))
        other.execute("SET LOCAL search_path = jobledger")
        other.execute(_STARTED_BY_ANOTHER, (new_job().event.originator_id,))
        other.commit()
        assert len(held_up.result(30)) == 1
        starts = [at for (at,) in late.execute(_STARTS)]
    assert starts[0] == starts[1]
    assert (starts[2] - starts[0]).total_seconds() > seconds
