"""A tenant whose job comes late does not wait until a worker has run what it claimed ahead of others."""

from __future__ import annotations

import threading
from uuid import UUID

from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerEventName, WorkerOptions
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import WAIT_SECONDS, WatchedWorker, working

QUICK, GATED = 100, 200
"""More than a worker claims ahead after so many quick ones: so it does not look for more until half of them began."""


class Payload(BaseModel):
    """Nothing."""


class Gate:
    """Handlers begin one after the other, and end when they are let through."""

    def __init__(self, app: App) -> None:
        self.is_open = True
        self.begun: list[UUID] = []
        self._changed = threading.Condition()
        self._permits = 0

        @app.job("tested.gate", effects="none")
        def handler(context: JobContext, _: Payload) -> None:
            with self._changed:
                self.begun.append(context.job_id)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.is_open or self._permits > 0, WAIT_SECONDS)
                self._permits -= 1

    def shut(self) -> None:
        """From now on each handler needs a permit to end."""
        with self._changed:
            self.is_open, self._permits, self.begun = False, 0, []

    def let_one_through(self) -> None:
        """One handler may end."""
        with self._changed:
            self._permits += 1
            self._changed.notify_all()

    def wait_for(self, begun: int) -> list[UUID]:
        """Until so many began since it was shut."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.begun) >= begun, WAIT_SECONDS), self.begun
            return list(self.begun)

    def open(self) -> None:
        """Everybody may end."""
        with self._changed:
            self.is_open = True
            self._changed.notify_all()


def _claimed_ahead(app: App, ledger: FakeLedger, gate: Gate, watched: WatchedWorker) -> None:
    """After many quick jobs the worker claims dozens of tenant `acme` ahead, of which one runs."""
    with ledger.at_once():
        for _ in range(QUICK):
            ledger.dispatch(app, "tested.gate")
    watched.wait_for(WorkerEventName.PROCESSED, count=QUICK)
    gate.shut()
    with ledger.at_once():
        for _ in range(GATED):
            ledger.dispatch(app, "tested.gate")
    gate.wait_for(1)


def _worker(app: App, ledger: FakeLedger, **options: object) -> Worker:
    chosen = WorkerOptions(concurrency=1, poll_seconds=WAIT_SECONDS, **options)  # type: ignore[arg-type]
    return Worker(app.jobs, ledger.ports, chosen, code_version="1")


def test_a_late_tenant_is_the_next_but_one(app: App, ledger: FakeLedger) -> None:
    """The only slot is taken and dozens wait for it: the late job is claimed by its hint, and begins in turn with the
    other tenant's, not behind them."""
    gate = Gate(app)
    with working(_worker(app, ledger)) as watched:
        _claimed_ahead(app, ledger, gate, watched)
        late = ledger.dispatch(app, "tested.gate", tenant="small")
        _until_claimed(ledger, late)
        gate.let_one_through()
        gate.let_one_through()
        assert late in gate.wait_for(3)
        gate.open()
        watched.wait_for(WorkerEventName.PROCESSED, count=QUICK + GATED + 1)


def test_a_worker_of_one_tenant_does_not_look_aside(app: App, ledger: FakeLedger) -> None:
    """There is nobody else to let in."""
    gate = Gate(app)
    with working(_worker(app, ledger, tenants=("acme",))) as watched:
        _claimed_ahead(app, ledger, gate, watched)
        late = ledger.dispatch(app, "tested.gate", tenant="small")
        gate.open()
        watched.wait_for(WorkerEventName.PROCESSED, count=QUICK + GATED)
        assert ledger.rows[late].state.worker is None


def _until_claimed(ledger: FakeLedger, job_id: UUID) -> None:
    for _ in range(int(WAIT_SECONDS / 0.005)):
        if ledger.rows[job_id].state.worker is not None:
            return
        threading.Event().wait(0.005)
    raise AssertionError("nobody claimed it")
