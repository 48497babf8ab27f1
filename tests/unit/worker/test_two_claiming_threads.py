"""What the thread that looks aside must never do to the claiming thread, the heartbeat and the end of a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.ports import Claim, ClaimRequest, OpenJob
from jobledger.application.worker import RunResult, Worker, WorkerEventName, WorkerOptions
from jobledger.application.worker.attempt import Attempt, LeaseKey
from jobledger.domain import job as jobs
from jobledger.domain.job import Lease
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import WAIT_SECONDS, WatchedWorker, working

_ASIDE = "-aside"
QUICK = 100
"""After so many quick jobs a worker claims ahead: such claims are the ones that others look aside of."""


class Payload(BaseModel):
    """Nothing."""


class Together:
    """A job type; which of its jobs were seen inside at the same time."""

    def __init__(self, app: App) -> None:
        self.most = 0
        self._inside = 0
        self._lock = threading.Lock()

        @app.job("tested.one", effects="none", max_stalled=9)
        def handler(context: JobContext, _payload: Payload) -> None:
            with self._lock:
                self._inside += 1
                self.most = max(self.most, self._inside)
            threading.Event().wait(0.01 if context.tenant == "acme" else 0.3)
            with self._lock:
                self._inside -= 1


class Overlapping(FakeLedger):
    """Once armed, the claiming thread's first claim ends after one that is made aside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.aside_ended = threading.Event()
        self.claiming = threading.Event()
        self.armed = False
        self.worker: Worker | None = None

    def claim(self, request: ClaimRequest) -> Claim:
        """See the class."""
        claim = super().claim(request)
        if threading.current_thread().name.endswith(_ASIDE):
            if claim.jobs:
                self.aside_ended.set()
        elif self.armed and claim.jobs:
            self.armed = False
            amid_backlog(self.worker)
            self.claiming.set()
            assert self.aside_ended.wait(WAIT_SECONDS)
        return claim


def amid_backlog(worker: Worker | None) -> None:
    """Have the claim under way look like one of many: as if the one before had been full of one tenant's jobs."""
    assert worker is not None
    worker._claimer._served = frozenset({"acme"})


def _worker(app: App, ledger: FakeLedger, **options: object) -> Worker:
    chosen = WorkerOptions(concurrency=4, poll_seconds=0.02, **options)  # type: ignore[arg-type]
    return Worker(app.jobs, ledger.ports, chosen, code_version="1")


def _suspect(app: App, ledger: FakeLedger, tenant: str) -> UUID:
    """A job whose workers died twice."""
    job_id = ledger.dispatch(app, "tested.one", max_stalled=9, tenant=tenant)
    for _ in range(2):
        state = ledger.rows[job_id].state
        ledger.change(job_id, jobs.start(state, worker="dead", code_version="1", lease_seconds=30))
        state = ledger.rows[job_id].state
        ledger.change(job_id, jobs.stall(state, Lease("dead", state.attempt), last_seen_at=None))
    return job_id


def _dispatch_quick(app: App, ledger: FakeLedger) -> None:
    with ledger.at_once():
        for _ in range(QUICK):
            ledger.dispatch(app, "tested.one")


def _two_suspects(app: App, ledger: Overlapping, watched: WatchedWorker) -> list[UUID]:
    """Of two tenants, each claimed on one of the two threads, at the same time."""
    watched.wait_for(WorkerEventName.PROCESSED, count=QUICK)
    ledger.worker = watched.worker
    with ledger.at_once():
        suspects = [_suspect(app, ledger, tenant) for tenant in ("acme", "small")]
        ledger.armed = True
    assert ledger.claiming.wait(WAIT_SECONDS)
    return suspects


def test_two_suspects_claimed_side_by_side_both_run_and_each_alone(app: App) -> None:
    """Each of the two claiming threads brings a job that must run alone: none is forgotten, held for ever."""
    ledger, together = Overlapping(), Together(app)
    _dispatch_quick(app, ledger)
    with working(_worker(app, ledger)) as watched:
        watched.wait_for(WorkerEventName.PROCESSED, count=QUICK)
        together.most = 0
        for job_id in _two_suspects(app, ledger, watched):
            watched.wait_for(WorkerEventName.PROCESSED, job_id)
        assert ledger.aside_ended.is_set()
    assert together.most == 1


def test_two_suspects_that_wait_are_both_given_back(app: App) -> None:
    """A worker that ends gives back whatever waits to be alone."""
    ledger = Overlapping()
    Together(app)
    _dispatch_quick(app, ledger)
    with working(_worker(app, ledger)) as watched:
        suspects = _two_suspects(app, ledger, watched)
        watched.worker.request_stop()
        assert watched.ended() is RunResult.STOPPED
    assert not any(ledger.rows[job_id].state.worker for job_id in suspects if job_id in ledger.rows)


class BringsOneAside(FakeLedger):
    """The claiming thread finds nothing; meanwhile a job comes, and is claimed aside. The answer to that comes late."""

    def __init__(self, app: App) -> None:
        super().__init__()
        self.app = app
        self.late: UUID | None = None
        self.worker: Worker | None = None
        self.has_nothing_held: Callable[[], bool] = lambda: False
        self.claimed_aside = threading.Event()
        self.seen_empty = threading.Event()

    def claim(self, request: ClaimRequest) -> Claim:
        """See the class."""
        claim = super().claim(request)
        if threading.current_thread().name.endswith(_ASIDE):
            if any(job.tenant == "small" for job in claim.jobs):
                self.seen_empty.clear()
                self.claimed_aside.set()
                self.seen_empty.wait(0.5)  # (who asks for it meanwhile drew a wrong conclusion)
        elif self.late is None and not self.rows and self.has_nothing_held():
            amid_backlog(self.worker)
            self.late = self.dispatch(self.app, "tested.one", tenant="small")
            assert self.claimed_aside.wait(WAIT_SECONDS)
        return claim

    def next_due_seconds(self, queues: Sequence[str]) -> float | None:
        """Asked once nothing seems to be left."""
        self.seen_empty.set()
        return super().next_due_seconds(queues)


def test_a_drain_waits_for_what_a_look_aside_brings(app: App) -> None:
    """What is just being claimed on the other thread is left to do: a worker that drains does not give it back."""
    Together(app)
    ledger = BringsOneAside(app)
    _dispatch_quick(app, ledger)
    worker = _worker(app, ledger, drain=True, grace_seconds=0.0)
    ledger.worker, ledger.has_nothing_held = worker, lambda: not worker._held
    with working(worker) as watched:
        assert watched.ended() is RunResult.DRAINED
    assert ledger.late is not None
    assert ledger.topics(ledger.late) == ["dispatched", "started", "completed"]


def test_a_claim_that_ends_while_the_heartbeat_compares_is_not_given_back(
    app: App, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim was under way at two heartbeats, and adds what it brought just after the second one looked for it."""
    Together(app)
    worker = _worker(app, ledger)
    job_id = ledger.dispatch(app, "tested.one")
    held = worker._held
    claiming = held.claiming()
    claiming.__enter__()
    job = ledger.claim(worker._claimer._request._replace(limit=1)).jobs[0]
    worker._heartbeat.beat()
    look = held.get

    def get(key: LeaseKey) -> Attempt | None:
        found = look(key)
        if found is None:
            held.add([Attempt(job, app.jobs["tested.one"], worker.name)])
            claiming.__exit__(None, None, None)
        return found

    monkeypatch.setattr(held, "get", get)
    worker._heartbeat.beat()
    assert ledger.topics(job_id) == ["dispatched", "started"]


class AskedAside(FakeLedger):
    """Counts the claims of the thread that looks aside, from when it is away."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.asked_often = threading.Event()

    def claim(self, request: ClaimRequest) -> Claim:
        """See the class."""
        if self.unavailable and threading.current_thread().name.endswith(_ASIDE):
            self.asked += 1
            if self.asked >= 4:
                self.asked_often.set()
        return super().claim(request)


def test_an_outage_is_told_once_however_often_one_looks_aside(app: App) -> None:
    """A ledger that is away while jobs wait here: the thread that looks aside tries ever more slowly, and says so once,
    as the others do."""
    ledger, gate, quick = AskedAside(), threading.Event(), threading.Event()

    @app.job("tested.waits", effects="none")
    def handler(_context: JobContext, _payload: Payload) -> None:
        assert quick.is_set() or gate.wait(WAIT_SECONDS)

    quick.set()
    with ledger.at_once():
        for _ in range(100):
            ledger.dispatch(app, "tested.waits")
    with working(_worker(app, ledger)) as watched:
        watched.wait_for(WorkerEventName.PROCESSED, count=100)
        quick.clear()
        with ledger.at_once():
            for _ in range(100):
                ledger.dispatch(app, "tested.waits")
        watched.wait_for(WorkerEventName.ACTIVE, count=104)
        ledger.unavailable = True
        for _ in range(400):
            if ledger.asked_often.wait(0.05):
                break
            ledger.wake_up.notify(frozenset())
        assert ledger.asked_often.is_set()
        errors = [event for event in watched.seen if event.name is WorkerEventName.ERROR]
        ledger.unavailable = False
        gate.set()
        assert len(errors) == 1, errors


class Unreadable(FakeLedger):
    """Looking at rows fails once, as no ledger in good order does."""

    def __init__(self) -> None:
        super().__init__()
        self.failures_left = 1

    def open_jobs(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, OpenJob]:
        """See the class."""
        if self.failures_left:
            self.failures_left -= 1
            raise ValueError("a row that nobody can read")
        return super().open_jobs(tenant, job_ids)


def test_an_ending_that_cannot_be_looked_up_takes_no_others_along(app: App) -> None:
    """Endings that travel with it are recorded all the same, and so is it."""
    ledger, gate = Unreadable(), threading.Event()

    @app.job("tested.waits", effects="none")
    def handler(context: JobContext, _payload: Payload) -> None:
        while not gate.wait(0.005):
            context.check_cancelled()

    job_ids = [ledger.dispatch(app, "tested.waits") for _ in range(4)]
    with working(_worker(app, ledger)) as watched:
        for job_id in job_ids:
            watched.wait_for(WorkerEventName.ACTIVE, job_id)
        with ledger.at_once():
            for job_id in job_ids:
                ledger.change(job_id, jobs.cancel(ledger.rows[job_id].state, reason="not wanted"))
        for job_id in job_ids:
            watched.wait_for(WorkerEventName.CANCELLED, job_id)
