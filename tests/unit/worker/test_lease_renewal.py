"""Leases are renewed ahead of their expiry: by one statement a worker, whatever its handlers and the ledger do."""

from __future__ import annotations

import threading
from datetime import datetime

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.ports import Renewal, WorkerHeartbeat
from jobledger.application.worker import Worker, WorkerEventName, WorkerOptions
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import WAIT_SECONDS, working


class Payload(BaseModel):
    """Nothing."""


class SteppedClock:
    """A clock that a test moves."""

    def __init__(self, ledger: FakeLedger) -> None:
        self._clock = ledger.clock
        self.seconds = 1_000.0

    def now(self) -> datetime:
        """The time."""
        return self._clock.now()

    def monotonic(self) -> float:
        """What the test says."""
        return self.seconds


class SlowLedger(FakeLedger):
    """Its answers to heartbeats take as long as a test says, by the test's clock."""

    def __init__(self) -> None:
        super().__init__()
        self.stepped = SteppedClock(self)
        self.answer_seconds = 0.0

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew first; the answer comes later."""
        renewal = super().heartbeat(heartbeat)
        self.stepped.seconds += self.answer_seconds
        return renewal


def _worker(app: App, ledger: SlowLedger, **options: float) -> Worker:
    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    ports = ledger.ports._replace(clock=ledger.stepped)
    return Worker(app.jobs, ports, WorkerOptions(**options), code_version="1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lease_seconds", "buffer_seconds", "renewed_after_seconds"),
    [(30.0, 10.0, 10.0), (30.0, 25.0, 5.0), (3.0, 2.9, 0.1), (30.0, 0.0, 10.0)],
)
def test_a_lease_is_renewed_at_the_latest_its_buffer_before_it_expires(
    app: App, lease_seconds: float, buffer_seconds: float, renewed_after_seconds: float
) -> None:
    """A third of the lease after the last renewal, or earlier where the buffer asks for it: never later than that,
    though nobody looks more often than every 0.4 seconds otherwise."""
    ledger = SlowLedger()
    heartbeat = _worker(app, ledger, lease_seconds=lease_seconds, lease_renew_buffer_seconds=buffer_seconds)._heartbeat
    heartbeat.beat()
    waited = 0.0
    while (pause_seconds := heartbeat.pause_seconds()) > 1e-9:
        ledger.stepped.seconds += pause_seconds
        waited += pause_seconds
    assert waited == pytest.approx(renewed_after_seconds)
    assert waited <= lease_seconds - buffer_seconds + 1e-9


def test_a_slow_answer_makes_the_next_renewal_no_later(app: App) -> None:
    """The lease runs from the moment the database renewed it, not from the moment it said so."""
    ledger = SlowLedger()
    heartbeat = _worker(app, ledger, lease_seconds=30.0, lease_renew_buffer_seconds=10.0)._heartbeat
    ledger.answer_seconds = 9.9
    heartbeat.beat()
    assert heartbeat.pause_seconds() == pytest.approx(0.1)
    ledger.answer_seconds = 60.0
    heartbeat.beat()
    assert heartbeat.pause_seconds() == 0.0


def test_a_worker_renews_all_its_leases_at_once(app: App, ledger: FakeLedger) -> None:
    """Fifty jobs held, one call of the ledger for each renewal."""
    inside, door = threading.Semaphore(0), threading.Event()

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None:
        inside.release()
        door.wait(WAIT_SECONDS)

    for _ in range(50):
        ledger.dispatch(app, "tested.one")
    worker = Worker(app.jobs, ledger.ports, WorkerOptions(concurrency=50, cancel_poll_seconds=600), code_version="1")
    with working(worker) as watched:
        for _ in range(50):
            assert inside.acquire(timeout=WAIT_SECONDS)
        before = ledger.heartbeats
        worker._heartbeat.beat()
        assert ledger.heartbeats == before + 1
        door.set()
        watched.wait_for(WorkerEventName.PROCESSED, count=50)


def test_leases_are_renewed_while_handlers_keep_the_interpreter_busy(app: App, ledger: FakeLedger) -> None:
    """Four handlers compute in pure Python until the ledger has heard of their worker five more times; with a lease of
    a second their jobs are nobody else's meanwhile."""
    begun = threading.Barrier(4)

    @app.job("tested.one", effects="none", timeout_seconds=60)
    def handler(_context: JobContext, _: Payload) -> int:
        begun.wait(WAIT_SECONDS)
        until, number = ledger.heartbeats + 5, 1
        while ledger.heartbeats < until:
            number = number * 31 % 1_000_003
        assert ledger.expired(limit=10) == []
        return number

    for _ in range(4):
        ledger.dispatch(app, "tested.one")
    options = WorkerOptions(
        concurrency=4, lease_seconds=1.0, lease_renew_buffer_seconds=0.5, cancel_poll_seconds=600
    )  # fmt: skip
    with working(Worker(app.jobs, ledger.ports, options, code_version="1")) as watched:
        watched.wait_for(WorkerEventName.PROCESSED, count=4)
