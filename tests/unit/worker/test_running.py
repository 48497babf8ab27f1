"""Timeouts, cancellation, limits, shutdown, leases: what happens to attempts while they run."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import RunResult, Worker, WorkerOptions
from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput, JobCancelledError, LeaseLost, LedgerRestored
from jobledger.domain.job import JobFailed, JobInterrupted, JobStatus
from jobledger.domain.retry import Retry
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import WAIT_SECONDS, working


class Payload(BaseModel):
    """Which one."""

    number: int = 0


class Gate:
    """A handler that says when it began and goes on when told."""

    def __init__(self, app: App, name: str = "tested.gate") -> None:
        self.began = threading.Semaphore(0)
        self.open = threading.Event()
        self.told: list[str] = []
        app.job(name, effects="none")(self.handle)

    def handle(self, context: JobContext, payload: Payload) -> int:
        """Wait for the gate, or for the reason to stop."""
        self.began.release()
        while not self.open.wait(0.01):
            try:
                context.check_cancelled()
            except BaseException as error:
                self.told.append(type(error).__name__)
                raise
        return payload.number

    def wait(self) -> None:
        """Until a handler began."""
        assert self.began.acquire(timeout=WAIT_SECONDS)


def worker_of(app: App, ledger: FakeLedger, **options: object) -> Worker:
    """A worker that looks often."""
    fast = {"poll_seconds": 0.1, "cancel_poll_seconds": 0.05, **options}
    return Worker(app.jobs, ledger.ports, WorkerOptions(**fast), code_version="1")  # type: ignore[arg-type]


def test_a_request_to_cancel_reaches_the_running_handler(app: App, ledger: FakeLedger) -> None:
    """A handler that checks is told that somebody asked to cancel; its attempt then ends as cancelled."""
    gate = Gate(app)
    job_id = ledger.dispatch(app, "tested.gate")
    with working(worker_of(app, ledger)) as watched:
        gate.wait()
        ledger.change(job_id, jobs.cancel(ledger.rows[job_id].state, reason="wrong customer"))
        watched.wait_for("cancelled", job_id)
    assert gate.told == [JobCancelledError.__name__]
    assert ledger.topics(job_id) == ["dispatched", "started", "cancel_requested", "cancelled"]
    assert job_id not in ledger.rows


def test_work_that_is_done_completes_although_somebody_asked_to_cancel(app: App, ledger: FakeLedger) -> None:
    """A handler that returns after a request to cancel has completed its job."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None:
        ledger.change(job_id, jobs.cancel(ledger.rows[job_id].state, reason="too late"))

    job_id = ledger.dispatch(app, "tested.one")
    worker_of(app, ledger, drain=True).run()
    assert ledger.topics(job_id) == ["dispatched", "started", "cancel_requested", "completed"]


def test_a_failure_is_decided_again_when_somebody_asked_to_cancel_meanwhile(app: App, ledger: FakeLedger) -> None:
    """A failed attempt is not retried once somebody asked to cancel, even if the worker did not know yet."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None:
        ledger.change(job_id, jobs.cancel(ledger.rows[job_id].state, reason="stop that"))
        raise ValueError("failed anyway")

    job_id = ledger.dispatch(app, "tested.one")
    worker_of(app, ledger, drain=True).run()
    assert ledger.topics(job_id) == ["dispatched", "started", "cancel_requested", "failed", "cancelled"]


def test_the_soft_timeout_tells_the_handler(app: App, ledger: FakeLedger) -> None:
    """After the soft timeout `check_cancelled` raises `SoftTimeout`, and the attempt fails with it."""
    gate = Gate(app)
    job_id = ledger.dispatch(app, "tested.gate", soft_timeout_seconds=0.1, retry=Retry.never())
    worker_of(app, ledger, drain=True).run()
    failed = ledger.events[job_id][2].facts
    assert isinstance(failed, JobFailed)
    assert (failed.error_type, gate.told) == ("SoftTimeout", ["SoftTimeout"])


def test_the_hard_timeout_fails_the_attempt_and_frees_the_slot(app: App, ledger: FakeLedger) -> None:
    """A handler that never looks is left behind at its hard timeout; another job takes its slot."""
    stuck = threading.Event()

    @app.job("tested.stuck", effects="none")
    def hang(_context: JobContext, _: Payload) -> None:
        stuck.wait(WAIT_SECONDS)

    @app.job("tested.next", effects="none")
    def following(_context: JobContext, _: Payload) -> None: ...

    hanging = ledger.dispatch(app, "tested.stuck", timeout_seconds=0.1, retry=Retry.never(), priority=1)
    waiting = ledger.dispatch(app, "tested.next")
    with working(worker_of(app, ledger, concurrency=1)) as watched:
        watched.wait_for("quarantined", hanging)
        watched.wait_for("processed", waiting)
        watched.wait_for("errored", hanging)
        stuck.set()
    assert ledger.topics(hanging) == ["dispatched", "started", "failed", "sent_to_dlq"]
    failed = ledger.events[hanging][2].facts
    assert isinstance(failed, JobFailed)
    assert (failed.error_type, failed.recoverable) == ("Timeout", True)


def test_a_coroutine_is_cancelled_at_its_hard_timeout(app: App, ledger: FakeLedger) -> None:
    """The task of a coroutine that takes too long is cancelled; it costs no slot."""
    cancelled = threading.Event()

    @app.job("tested.stuck", effects="none")
    async def hang(_context: JobContext, _: Payload) -> None:
        try:
            await asyncio.sleep(WAIT_SECONDS)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    job_id = ledger.dispatch(app, "tested.stuck", timeout_seconds=0.1, retry=Retry.never())
    assert worker_of(app, ledger, drain=True, max_quarantined=1).run() is RunResult.DRAINED
    assert cancelled.wait(WAIT_SECONDS)
    assert ledger.topics(job_id) == ["dispatched", "started", "failed", "sent_to_dlq"]


def test_a_worker_recycles_itself_after_a_few_stuck_handlers(app: App, ledger: FakeLedger) -> None:
    """Handlers that ignore their hard timeout cannot be ended: after a few the worker ends with a result of its own."""
    stuck = threading.Event()

    @app.job("tested.stuck", effects="none")
    def hang(_context: JobContext, _: Payload) -> None:
        stuck.wait(WAIT_SECONDS)

    for _ in range(2):
        ledger.dispatch(app, "tested.stuck", timeout_seconds=0.1, retry=Retry.never())
    worker = worker_of(app, ledger, max_quarantined=2)
    with working(worker) as watched:
        assert watched.ended() is RunResult.RECYCLE
    stuck.set()


def test_no_more_run_at_once_than_the_limit(app: App, ledger: FakeLedger) -> None:
    """Threads and coroutines together never exceed the worker's concurrency."""
    lock = threading.Lock()
    running: set[int] = set()
    most: list[int] = []

    def enter(number: int) -> None:
        with lock:
            running.add(number)
            most.append(len(running))

    @app.job("tested.thread", effects="none")
    def in_thread(_context: JobContext, payload: Payload) -> None:
        enter(payload.number)
        threading.Event().wait(0.002)
        with lock:
            running.discard(payload.number)

    @app.job("tested.async", effects="none")
    async def on_loop(_context: JobContext, payload: Payload) -> None:
        enter(payload.number)
        await asyncio.sleep(0.002)
        with lock:
            running.discard(payload.number)

    for number in range(100):
        ledger.dispatch(app, "tested.async" if number % 3 else "tested.thread", b'{"number":%d}' % number)
    worker = worker_of(app, ledger, concurrency=4, drain=True)
    worker.run()
    assert worker.counts["processed"] == 100  # type: ignore[index]
    assert max(most) == 4


def test_priorities_come_first(app: App, ledger: FakeLedger) -> None:
    """Of the jobs that are ready, the most urgent begins first."""
    order: list[int] = []

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, payload: Payload) -> None:
        order.append(payload.number)

    for number, priority in enumerate([0, 5, -5, 100]):
        ledger.dispatch(app, "tested.one", b'{"number":%d}' % number, priority=priority)
    worker_of(app, ledger, concurrency=1, drain=True).run()
    assert order == [3, 1, 0, 2]


def test_a_delayed_job_starts_when_it_is_due(app: App, ledger: FakeLedger) -> None:
    """An idle worker that polls rarely starts a delayed job without waiting for its next poll or a hint."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    with working(worker_of(app, ledger, poll_seconds=WAIT_SECONDS * 2)) as watched:
        watched.wait_for("drained")
        job_id = ledger.dispatch(app, "tested.one", delay_seconds=0.2)
        watched.wait_for("processed", job_id)


def test_jobs_with_one_lock_key_run_one_after_another(app: App, ledger: FakeLedger) -> None:
    """The next job of a key begins as soon as the one before it has ended, without waiting for a poll."""
    running: list[int] = []
    overlapped: list[int] = []

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, payload: Payload) -> None:
        running.append(payload.number)
        overlapped.append(len(running))
        threading.Event().wait(0.005)
        running.remove(payload.number)

    jobs_ = [ledger.dispatch(app, "tested.one", b'{"number":%d}' % n, lock_key="door") for n in range(5)]
    with working(worker_of(app, ledger, poll_seconds=WAIT_SECONDS * 2)) as watched:
        for job_id in jobs_:
            watched.wait_for("processed", job_id)
    assert set(overlapped) == {1}


def test_a_graceful_stop_finishes_what_runs(app: App, ledger: FakeLedger) -> None:
    """Asked to stop, a worker takes nothing new, lets running handlers end, and gives back what had not begun."""
    gate = Gate(app)
    running = ledger.dispatch(app, "tested.gate", priority=1)
    with working(worker_of(app, ledger, concurrency=1)) as watched:
        gate.wait()
        later = ledger.dispatch(app, "tested.gate")
        watched.worker.request_stop()
        watched.wait_for("stopping")
        gate.open.set()
        assert watched.ended() is RunResult.STOPPED
    assert ledger.topics(running)[-1] == "completed"
    assert ledger.rows[later].state.status is JobStatus.PENDING
    assert ledger.rows[later].state.attempts_counted == 0
    assert ledger.last_seen == {}


@pytest.mark.parametrize("at_once", [False, True], ids=["grace ended", "second signal"])
def test_what_does_not_end_in_time_is_given_back(app: App, ledger: FakeLedger, at_once: bool) -> None:
    """After the grace period, or at once on the second signal, running jobs are given back and do not count."""
    gate = Gate(app)
    job_id = ledger.dispatch(app, "tested.gate")
    with working(worker_of(app, ledger, grace_seconds=WAIT_SECONDS if at_once else 0.05)) as watched:
        gate.wait()
        watched.worker.request_stop()
        if at_once:
            watched.worker.request_stop_now()
        assert watched.ended() is RunResult.STOPPED
    interrupted = ledger.facts(job_id)
    assert isinstance(interrupted, JobInterrupted)
    assert ledger.rows[job_id].state.attempts_counted == 0
    assert ledger.topics(job_id) == ["dispatched", "started", "interrupted"]


def test_a_lease_that_is_missing_is_cancelled_locally(app: App, ledger: FakeLedger) -> None:
    """When the database says that the attempt is not ours, its handler is told, and its ending is dropped."""
    gate = Gate(app)
    job_id = ledger.dispatch(app, "tested.gate", max_stalled=0)
    with working(worker_of(app, ledger)) as watched:
        gate.wait()
        state = ledger.rows[job_id].state
        ledger.change(job_id, jobs.stall(state, jobs.Lease(state.worker or "", 1), last_seen_at=None))
        watched.wait_for("lease_lost", job_id)
    assert gate.told == [LeaseLost.__name__]
    assert ledger.topics(job_id) == ["dispatched", "started", "stalled", "sent_to_dlq"]


def test_a_lease_nobody_knows_is_given_back(app: App, ledger: FakeLedger) -> None:
    """A claim whose answer was lost leaves a lease that the worker does not know: the heartbeat gives it back."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    worker = worker_of(app, ledger, lease_seconds=0.3, lease_renew_buffer_seconds=0.2)
    job_id = ledger.dispatch(app, "tested.one")
    state = ledger.rows[job_id].state
    ledger.change(job_id, jobs.start(state, worker=worker.name, code_version="1", lease_seconds=30))
    with working(worker) as watched:
        watched.wait_for("processed", job_id)
    assert ledger.topics(job_id) == ["dispatched", "started", "interrupted", "started", "completed"]


def test_jobs_of_inactive_tenants_never_run(app: App, ledger: FakeLedger) -> None:
    """Ready jobs of a suspended tenant go to the DLQ as unrecoverable; those of others run."""
    ran: list[str] = []

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        ran.append(context.tenant)

    suspended = ledger.dispatch(app, "tested.one", tenant="globex")
    ledger.dispatch(app, "tested.one", tenant="acme")
    ledger.inactive.add("globex")
    worker_of(app, ledger, drain=True).run()
    assert ran == ["acme"]
    assert ledger.topics(suspended) == ["dispatched", "sent_to_dlq"]


def test_a_ledger_that_is_away_is_waited_for(app: App, ledger: FakeLedger) -> None:
    """While the ledger does not answer nothing is lost: the worker says so once, keeps endings, and goes on later."""
    gate = Gate(app)
    job_id = ledger.dispatch(app, "tested.gate")
    with working(worker_of(app, ledger)) as watched:
        gate.wait()
        ledger.unavailable = True
        watched.wait_for("error")
        gate.open.set()
        ledger.unavailable = False
        watched.wait_for("processed", job_id)
        watched.wait_for("recovered")
        assert watched.names.count("error") == 1


def test_a_restored_ledger_ends_the_worker(app: App, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that was restored to an earlier moment refuses the worker for good."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    def restored(request: object) -> None:
        raise LedgerRestored("positions lie below a checkpoint")

    monkeypatch.setattr(ledger, "claim", restored)
    assert worker_of(app, ledger).run() is RunResult.FAILED


def test_a_claim_that_keeps_failing_unexpectedly_ends_the_worker(
    app: App, ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that no ledger in good order gives is borne a few times, then the worker fails instead of trying on."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    def broken(request: object) -> None:
        raise TypeError("a bug of ours")

    monkeypatch.setattr(ledger, "claim", broken)
    worker = worker_of(app, ledger)
    errors: list[str] = []
    worker.events.on("error", lambda event: errors.append(event.detail))
    assert worker.run() is RunResult.FAILED
    assert "a bug of ours" in errors[-1]


def test_a_listener_that_raises_breaks_nothing(app: App, ledger: FakeLedger) -> None:
    """What a listener raises is logged and goes no further."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    job_id = ledger.dispatch(app, "tested.one")
    worker = worker_of(app, ledger, drain=True)

    def broken(event: object) -> None:
        raise RuntimeError("the listener's own trouble")

    worker.events.on_any(broken)
    assert worker.run() is RunResult.DRAINED
    assert ledger.topics(job_id)[-1] == "completed"


def test_process_jobs_need_a_worker_with_processes(app: App, ledger: FakeLedger) -> None:
    """A worker that was wired without a pool refuses job types that ask for a process, before it claims any."""

    @app.job("tested.one", effects="none", isolation="process")
    def handler(_context: JobContext, _: Payload) -> None: ...

    with pytest.raises(InvalidInput, match="runs in a child process") as refused:
        worker_of(app, ledger)
    assert refused.value.field == "isolation"


def test_a_worker_leaves_no_threads(app: App, ledger: FakeLedger) -> None:
    """When `run` has returned, every thread of the worker ends."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    @app.job("tested.two", effects="none")
    async def other(_context: JobContext, _: Payload) -> None: ...

    for _ in range(20):
        ledger.dispatch(app, "tested.one")
        ledger.dispatch(app, "tested.two")
    worker = worker_of(app, ledger, drain=True)
    worker.run()
    left = [thread for thread in threading.enumerate() if thread.name.startswith(worker.name)]
    for thread in left:
        thread.join(WAIT_SECONDS)
    assert [thread.name for thread in left if thread.is_alive()] == []


def test_claims_ahead_of_slow_jobs_are_few(app: App, ledger: FakeLedger) -> None:
    """A worker whose jobs take long claims no more than it can begin about now."""
    gate = Gate(app)
    waiting: list[UUID] = [ledger.dispatch(app, "tested.gate") for _ in range(50)]
    with working(worker_of(app, ledger, concurrency=2)) as watched:
        for _ in range(2):
            gate.wait()
        watched.wait_for("active", count=2)
        claimed = [job_id for job_id in waiting if ledger.rows[job_id].state.status is JobStatus.IN_PROGRESS]
        assert len(claimed) == 2
        gate.open.set()
        watched.wait_for("processed", count=50)
