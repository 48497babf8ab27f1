"""A job that may have killed its workers runs where it can take no other along."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import RunResult, Worker, WorkerEventName, WorkerOptions
from jobledger.domain import job as jobs
from jobledger.domain.job import Lease
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import WAIT_SECONDS, working


class Payload(BaseModel):
    """Nothing."""


class Doors:
    """Handlers say that they are in, and wait until they are let out."""

    def __init__(self, app: App) -> None:
        self.inside: list[UUID] = []
        self.seen_together: list[set[UUID]] = []
        self._changed = threading.Condition()
        self._open: set[UUID] = set()
        self.all_open = False

        @app.job("tested.one", effects="none", max_stalled=9)
        def handler(context: JobContext, _: Payload) -> None:
            with self._changed:
                self.inside.append(context.job_id)
                self.seen_together.append(set(self.inside))
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.all_open or context.job_id in self._open, WAIT_SECONDS)
                self.inside.remove(context.job_id)
                self._changed.notify_all()

    def wait_for(self, *job_ids: UUID) -> None:
        """Until just these are in."""
        with self._changed:
            assert self._changed.wait_for(lambda: set(self.inside) == set(job_ids), WAIT_SECONDS), self.inside

    def let_out(self, job_id: UUID | None = None) -> None:
        """One of them, or all."""
        with self._changed:
            self.all_open = self.all_open or job_id is None
            if job_id is not None:
                self._open.add(job_id)
            self._changed.notify_all()


@pytest.fixture
def doors(app: App) -> Doors:
    """The job type `tested.one`."""
    return Doors(app)


def _stalled(app: App, ledger: FakeLedger, times: int, max_stalled: int = 9) -> UUID:
    """A job whose workers died so often."""
    job_id = ledger.dispatch(app, "tested.one", max_stalled=max_stalled)
    for _ in range(times):
        state = ledger.rows[job_id].state
        ledger.change(job_id, jobs.start(state, worker="dead", code_version="1", lease_seconds=30))
        state = ledger.rows[job_id].state
        ledger.change(job_id, jobs.stall(state, Lease("dead", state.attempt), last_seen_at=None))
    return job_id


def _worker(app: App, ledger: FakeLedger) -> Worker:
    return Worker(app.jobs, ledger.ports, WorkerOptions(concurrency=4, poll_seconds=0.02), code_version="1")


@pytest.mark.parametrize(("stalls", "max_stalled"), [(2, 9), (1, 1)], ids=["stalled twice", "its last chance"])
def test_a_suspect_runs_alone(
    app: App, ledger: FakeLedger, doors: Doors, stalls: int, max_stalled: int
) -> None:  # fmt: skip
    """It begins when all others have ended, and nothing begins beside it, though slots are free and jobs wait."""
    before = ledger.dispatch(app, "tested.one")
    with working(_worker(app, ledger)) as watched:
        doors.wait_for(before)
        suspect = _stalled(app, ledger, stalls, max_stalled)
        ledger.wake_up.notify(frozenset({"default"}))
        _until_claimed(ledger, suspect)
        after = ledger.dispatch(app, "tested.one")
        doors.let_out(before)
        doors.wait_for(suspect)
        doors.let_out(suspect)
        doors.wait_for(after)
        doors.let_out()
        watched.wait_for(WorkerEventName.PROCESSED, after)
    assert [together for together in doors.seen_together if suspect in together] == [{suspect}]


def test_a_job_that_stalled_once_runs_beside_others_but_nothing_is_claimed_ahead(
    app: App, ledger: FakeLedger, doors: Doors
) -> None:
    """Jobs were quick so far. Of forty that become ready at once, three begin in the slots beside the one on probation;
    the others stay in the queue for other workers."""
    doors.all_open = True
    quick = [ledger.dispatch(app, "tested.one") for _ in range(200)]
    with working(_worker(app, ledger)) as watched:
        watched.wait_for(WorkerEventName.PROCESSED, count=len(quick))
        doors.all_open = False
        once = _stalled(app, ledger, 1)
        ledger.wake_up.notify(frozenset({"default"}))
        doors.wait_for(once)
        with ledger.at_once():
            others = [ledger.dispatch(app, "tested.one") for _ in range(40)]
        doors.wait_for(once, *others[:3])
        assert [job for job in others if ledger.rows[job].state.worker is not None] == others[:3]
        doors.let_out()
        watched.wait_for(WorkerEventName.PROCESSED, count=len(quick) + 41)


def test_a_suspect_that_waits_is_given_back_at_once(app: App, ledger: FakeLedger, doors: Doors) -> None:
    """A worker that ends gives it back, not counted, before it waits for those that run."""
    running = ledger.dispatch(app, "tested.one")
    with working(_worker(app, ledger)) as watched:
        doors.wait_for(running)
        suspect = _stalled(app, ledger, 2)
        ledger.wake_up.notify(frozenset({"default"}))
        _until_claimed(ledger, suspect)
        watched.worker.request_stop()
        watched.wait_for(WorkerEventName.INTERRUPTED, suspect)
        doors.let_out()
        assert watched.ended() is RunResult.STOPPED
    assert ledger.topics(suspect)[-2:] == ["started", "interrupted"]
    assert ledger.topics(running) == ["dispatched", "started", "completed"]


def _until_claimed(ledger: FakeLedger, job_id: UUID) -> None:
    for _ in range(int(WAIT_SECONDS / 0.005)):
        if ledger.rows[job_id].state.worker not in (None, "dead"):
            return
        threading.Event().wait(0.005)
    raise AssertionError("nobody claimed it")
