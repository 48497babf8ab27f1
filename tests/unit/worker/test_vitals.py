"""When a worker counts as alive and when as ready, with the reasons."""

from __future__ import annotations

from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerOptions
from jobledger.application.worker.vitals import Check, Vitals
from tests.support.fake_ledger import FakeLedger
from tests.support.use_cases import StillClock
from tests.support.watched_worker import WatchedWorker, working


class Payload(BaseModel):
    """Nothing."""


def nothing(context: JobContext, payload: Payload) -> None:
    """Do nothing."""


class Subject:
    """Vitals whose facts a test sets."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.dead: set[str] = set()
        self.beaten_at: float | None = None
        self.in_trouble = False
        self.options = WorkerOptions(poll_seconds=1.0, grace_seconds=25.0, lease_seconds=30.0)
        self.vitals = Vitals(
            self.clock, self.options, beaten_at=lambda: self.beaten_at, in_trouble=lambda: self.in_trouble,
            threads={name: lambda name=name: name in self.dead for name in ("settle", "heartbeat", "monitor")},  # type: ignore[misc]
        )  # fmt: skip


def _failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.passed]


def test_a_worker_that_goes_round_is_alive() -> None:
    """Before it begins, while it works, and while it ends in time."""
    subject = Subject()
    assert _failed(subject.vitals.liveness()) == []
    subject.vitals.begin()
    for _ in range(5):
        subject.clock.advance(50.0)
        subject.vitals.turn()
        assert _failed(subject.vitals.liveness()) == []
    subject.vitals.begin_ending()
    subject.clock.advance(25.0 + 29.0)
    assert _failed(subject.vitals.liveness()) == []


def test_a_main_loop_that_stands_still_is_not_alive() -> None:
    """More than a minute for one turn is no turn."""
    subject = Subject()
    subject.vitals.begin()
    subject.clock.advance(61.1)
    assert _failed(subject.vitals.liveness()) == ["main loop"]


def test_a_thread_that_died_ends_the_life_of_the_worker() -> None:
    """Each of them: without it, jobs are claimed and never finished, or lost."""
    for name in ("settle", "heartbeat", "monitor"):
        subject = Subject()
        subject.vitals.begin()
        subject.dead.add(name)
        (check,) = [check for check in subject.vitals.liveness() if not check.passed]
        assert (check.name, check.detail) == (f"{name} thread", "has died")


def test_a_worker_that_does_not_come_to_its_end_is_not_alive() -> None:
    """The grace period, and a while for recording what became of the jobs."""
    subject = Subject()
    subject.vitals.begin()
    subject.vitals.begin_ending()
    subject.clock.advance(25.0 + 31.0)
    assert _failed(subject.vitals.liveness()) == ["ending"]


def test_a_process_that_stays_without_a_worker_is_not_alive() -> None:
    """The lists catch up after the worker has ended; that takes no minute."""
    subject = Subject()
    subject.vitals.begin()
    subject.vitals.begin_ending()
    subject.vitals.end()
    subject.clock.advance(59.0)
    assert _failed(subject.vitals.liveness()) == []
    subject.clock.advance(2.0)
    assert _failed(subject.vitals.liveness()) == ["worker"]


def test_a_worker_is_ready_while_the_ledger_answers_and_it_takes_jobs() -> None:
    """Not before the first heartbeat, not without the ledger, not once it is stopping."""
    subject = Subject()
    subject.vitals.begin()
    assert _failed(subject.vitals.readiness()) == ["heartbeat"]
    subject.beaten_at = 0.0
    assert _failed(subject.vitals.readiness()) == []
    subject.in_trouble = True
    assert _failed(subject.vitals.readiness()) == ["ledger"]
    assert _failed(subject.vitals.liveness()) == [], "a ledger that is away is no reason to restart workers"
    subject.in_trouble = False
    subject.clock.advance(30.1)
    assert _failed(subject.vitals.readiness()) == ["heartbeat"], "its leases ran out"
    subject.beaten_at = 30.0
    subject.vitals.begin_ending()
    assert _failed(subject.vitals.readiness()) == ["taking jobs"]


def test_a_working_worker_is_alive_and_ready(app: App, ledger: FakeLedger) -> None:
    """All its threads are told of; after the end it takes no jobs."""
    app.job("tested.one", effects="none")(nothing)
    worker = Worker(app.jobs, ledger.ports, WorkerOptions(poll_seconds=0.1), code_version="1")
    with working(worker) as watched:
        watched.wait_for("drained")
        assert [check.name for check in worker.vitals.liveness() if check.passed] == [
            "main loop", "settle thread", "heartbeat thread", "monitor thread",
        ]  # fmt: skip
        assert _failed(worker.vitals.readiness()) == []
    assert "taking jobs" in _failed(worker.vitals.readiness())


def test_a_dead_heartbeat_thread_is_noticed(app: App, ledger: FakeLedger) -> None:
    """By the real worker, whose heartbeat was ended from outside."""
    app.job("tested.one", effects="none")(nothing)
    worker = Worker(app.jobs, ledger.ports, WorkerOptions(poll_seconds=0.1), code_version="1")
    with working(worker) as watched:
        watched.wait_for("drained")
        worker._heartbeat.stop()
        assert _failed(worker.vitals.liveness()) == ["heartbeat thread"]


def test_a_worker_that_waits_for_its_ledger_is_alive_and_not_ready(app: App, ledger: FakeLedger) -> None:
    """From the start: it has no heartbeat yet, and tries."""
    app.job("tested.one", effects="none")(nothing)
    ledger.unavailable = True
    worker = Worker(app.jobs, ledger.ports, WorkerOptions(poll_seconds=0.1), code_version="1")
    watched = WatchedWorker(worker)
    watched.start()
    watched.wait_for("error")
    assert _failed(worker.vitals.liveness()) == []
    assert _failed(worker.vitals.readiness()) == ["heartbeat", "ledger"]
    assert worker.state.ledger_errors.get("LedgerUnavailable", 0) >= 1
    ledger.unavailable = False
    watched.wait_for("drained")
    assert _failed(worker.vitals.readiness()) == []
    watched.stop()
