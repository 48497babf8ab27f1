"""What every queue promises about workers: renewed leases, lost ones, farewells, and when to look again."""

from __future__ import annotations

import time

from jobledger.application.ports import ExpiredLease, WorkerHeartbeat
from jobledger.domain.job import cancel

from .support import LedgerUnderTest


def _expired(ledger: LedgerUnderTest) -> list[ExpiredLease]:
    """Leases that ran out, once there are any: a lease of a millisecond takes a moment to run out."""
    for _ in range(2_000):
        found = ledger.queue.expired(limit=10)
        if found:
            return found
        time.sleep(0.002)
    return []


def test_a_heartbeat_names_what_the_worker_holds(ledger: LedgerUnderTest) -> None:
    """A renewal returns the leases that the database believes this worker holds, with requests to cancel."""
    ledger.heartbeat()
    ledger.dispatch()
    ledger.dispatch(tenant="other")
    first, second = sorted(ledger.claim().jobs, key=lambda job: job.tenant)
    ledger.change(first, *cancel(first.state, reason="wrong"))
    ledger.dispatch()
    ledger.claim(worker="w2")
    held = ledger.queue.heartbeat(WorkerHeartbeat("w1", "v1", ("default",), 4, 2, 30.0)).leases
    assert sorted((lease.tenant, lease.job_id, lease.attempt, lease.cancel_requested) for lease in held) == [
        ("acme", first.job_id, 1, True), ("other", second.job_id, 1, False),
    ]  # fmt: skip


def test_a_worker_that_is_heard_of_keeps_its_jobs(ledger: LedgerUnderTest) -> None:
    """Nothing expires while the lease lasts."""
    ledger.heartbeat()
    ledger.dispatch()
    ledger.claim_one()
    assert ledger.queue.expired(limit=10) == []


def test_a_silent_worker_loses_its_jobs(ledger: LedgerUnderTest) -> None:
    """A running job whose worker's lease ran out is found, with the moment the worker was last heard of."""
    ledger.heartbeat(lease_seconds=0.001)
    ledger.dispatch()
    job = ledger.claim_one()
    (lost,) = _expired(ledger)
    assert (lost.job.job_id, lost.job.state.worker) == (job.job_id, "w1")
    assert lost.last_seen_at is not None
    ledger.heartbeat(lease_seconds=30)
    assert ledger.queue.expired(limit=10) == []


def test_a_worker_that_said_goodbye_holds_nothing(ledger: LedgerUnderTest) -> None:
    """What a worker left running when it said goodbye is found at once."""
    ledger.heartbeat()
    ledger.dispatch()
    job = ledger.claim_one()
    ledger.queue.goodbye("w1")
    (lost,) = ledger.queue.expired(limit=10)
    assert (lost.job.job_id, lost.last_seen_at) == (job.job_id, None)


def test_expired_leases_come_in_bounded_numbers(ledger: LedgerUnderTest) -> None:
    """No more than asked for."""
    for _ in range(3):
        ledger.dispatch()
    ledger.claim()
    ledger.queue.goodbye("w1")
    assert len(ledger.queue.expired(limit=2)) == 2


def test_open_jobs_are_a_tenants_own(ledger: LedgerUnderTest) -> None:
    """Rows of other tenants, and jobs that ended, are absent."""
    mine, ended = ledger.dispatch(), ledger.dispatch(priority=100)
    foreign = ledger.dispatch(tenant="other")
    ledger.complete(ledger.claim_one(tenants=("acme",)))
    assert set(ledger.queue.open_jobs("acme", [mine, ended, foreign])) == {mine}


def test_when_the_next_job_is_due(ledger: LedgerUnderTest) -> None:
    """Nothing: None; delayed: until then; ready: now. Other queues don't count."""
    queues = ("default",)
    ledger.dispatch(queue="other")
    assert ledger.queue.next_due_seconds(queues) is None
    ledger.dispatch(status="delayed", due_in_seconds=3600)
    seconds = ledger.queue.next_due_seconds(queues)
    assert seconds is not None and 3000 < seconds <= 3600
    ledger.dispatch()
    assert ledger.queue.next_due_seconds(queues) == 0


def test_a_dispatch_wakes_who_waits(ledger: LedgerUnderTest) -> None:
    """A hint from this process ends a wait, and one that came between two waits is not lost."""
    ledger.wake_up.wait(0)
    ledger.wake_up.notify(frozenset({"default"}))
    assert ledger.wake_up.wait(30)
    assert not ledger.wake_up.wait(0)


def test_a_dispatch_of_another_process_wakes_who_waits(stored_ledger: LedgerUnderTest) -> None:
    """A hint comes from other processes too."""
    with stored_ledger.open_again() as other:
        stored_ledger.wake_up.wait(0.2)
        other.dispatch()
        other.wake_up.notify(frozenset({"default"}))
        assert stored_ledger.wake_up.wait(30)
