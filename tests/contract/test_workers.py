"""What every queue promises about workers and numbers: who works, who fell silent, how many jobs wait where."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from jobledger.application.ports import OpenJob, WorkerHeartbeat, WorkerReport, WorkerRow
from jobledger.domain.job import JobStatus, Lease, reject, stall

from .support import LedgerUnderTest

REPORT = WorkerReport(
    app="condominium", host="node-7.example", pid=4711, cpu_seconds=12.5, rss_bytes=123_456_789, held=9,
    running_by_type={"invoice.send": 3, "émbed": 1}, quarantined=1, clock_skew_seconds=-2.25, tenants=("acme",),
    personas=("billing-bot", "clerk"),
)  # fmt: skip
BEAT = WorkerHeartbeat("w1", "v1", ("default", "billing"), 16, 4, 30.0, REPORT)


def _eventually(look: Callable[[], bool]) -> None:
    """Databases' clocks move on by themselves; wait for that, however slow the machine is."""
    for _ in range(2_000):
        if look():
            return
        time.sleep(0.002)
    pytest.fail("did not come about")


def _only(ledger: LedgerUnderTest) -> WorkerRow:
    (row,) = ledger.queue.workers()
    return row


def _claimed(ledger: LedgerUnderTest, queue: str) -> OpenJob:
    """A job of that queue, running on w1."""
    ledger.dispatch(queue=queue)
    return ledger.claim_one(queues=(queue,))


def test_a_worker_is_listed_as_it_reports_itself(ledger: LedgerUnderTest) -> None:
    """What the last heartbeat said, word for word, and since when the worker is known."""
    ledger.queue.heartbeat(BEAT._replace(running=0, report=WorkerReport()))
    first = _only(ledger)
    ledger.queue.heartbeat(BEAT)
    row = _only(ledger)
    assert row.heartbeat == BEAT
    assert row.started_at == first.started_at and row.started_at <= first.last_seen_at <= row.last_seen_at
    assert row.started_at.utcoffset() == timedelta(0)


def test_workers_are_listed_in_the_order_in_which_they_came(ledger: LedgerUnderTest) -> None:
    """The longest running first, whatever beat last; one that said goodbye is gone."""
    for worker in ("w3", "w1", "w2", "w3"):
        ledger.heartbeat(worker)
    ledger.queue.goodbye("w1")
    assert [row.heartbeat.worker for row in ledger.queue.workers()] == ["w3", "w2"]


def test_a_worker_whose_lease_ran_out_is_lost(ledger: LedgerUnderTest) -> None:
    """Lost by the database's clock and not before; its next heartbeat brings it back."""
    ledger.heartbeat(lease_seconds=600.0)
    assert not _only(ledger).is_lost
    ledger.heartbeat(lease_seconds=0.005)
    _eventually(lambda: _only(ledger).is_lost)
    ledger.heartbeat(lease_seconds=600.0)
    row = _only(ledger)
    assert not row.is_lost and 0 <= row.seconds_since_seen < 600


def test_a_heartbeat_tells_the_databases_time(ledger: LedgerUnderTest) -> None:
    """Aware, in UTC, and between the moments before and after: here they share a clock."""
    before = datetime.now(UTC)
    at = ledger.queue.heartbeat(BEAT).database_now
    assert at.utcoffset() == timedelta(0)
    assert before - timedelta(milliseconds=1) <= at <= datetime.now(UTC) + timedelta(milliseconds=1)


def test_only_long_silent_workers_are_forgotten(ledger: LedgerUnderTest) -> None:
    """Those that were silent for longer than asked, and that is counted."""
    ledger.heartbeat("w1")
    assert ledger.queue.forget_workers(silent_seconds=3600.0) == 0
    _eventually(lambda: _only(ledger).seconds_since_seen > 0.01)
    ledger.heartbeat("w2")
    assert ledger.queue.forget_workers(silent_seconds=0.01) >= 1
    assert "w1" not in [row.heartbeat.worker for row in ledger.queue.workers()]


def test_a_silent_worker_that_holds_something_is_not_forgotten(ledger: LedgerUnderTest) -> None:
    """Maintenance still has to say when it was last heard of; once its job is rescued it may go."""
    ledger.heartbeat()
    ledger.dispatch()
    job = ledger.claim_one()
    _eventually(lambda: _only(ledger).seconds_since_seen > 0.005)
    assert ledger.queue.forget_workers(silent_seconds=0.001) == 0
    ledger.complete(job)
    assert ledger.queue.forget_workers(silent_seconds=0.001) == 1
    assert ledger.queue.workers() == []


def test_an_empty_queue_counts_nothing(ledger: LedgerUnderTest) -> None:
    """No rows at all: not rows of zero."""
    assert ledger.queue.counts() == []


def test_open_jobs_are_counted_by_queue_and_status(ledger: LedgerUnderTest) -> None:
    """Every open job once, whatever makes it special: keys, stalls, delays, the DLQ; ended ones not at all."""
    for _ in range(3):
        ledger.dispatch(queue="plain")
    ledger.dispatch(queue="mixed", lock_key="k")
    ledger.dispatch(queue="mixed", limit_key="l")
    ledger.dispatch(queue="mixed", status="delayed", due_in_seconds=3600)
    ledger.dispatch(queue="mixed", status="blocked")
    dead = ledger.open_job(ledger.dispatch(queue="mixed"))
    ledger.change(dead, *reject(dead.state, reason="unrecoverable", error_type="E", message="m", fingerprint="f"))
    ledger.complete(_claimed(ledger, "ended"))
    _claimed(ledger, "running")
    stalled = _claimed(ledger, "stalled")
    lease = Lease("w1", stalled.state.attempt)
    ledger.change(stalled, *stall(stalled.state, lease, last_seen_at=None), lease=lease)
    assert {(count.queue, count.status): count.jobs for count in ledger.queue.counts()} == {
        ("plain", JobStatus.PENDING): 3, ("mixed", JobStatus.PENDING): 2, ("mixed", JobStatus.DELAYED): 1,
        ("mixed", JobStatus.BLOCKED): 1, ("mixed", JobStatus.DLQ): 1, ("running", JobStatus.IN_PROGRESS): 1,
        ("stalled", JobStatus.PENDING): 1,
    }  # fmt: skip
