"""Worker processes that are killed, stopped or asked to end while they run jobs."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from jobledger import JobStatus, Ledger
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobInterrupted,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
)
from jobledger.infrastructure.bootstrap import open_ledger
from jobledger.infrastructure.cli.exit_codes import ExitCode
from jobledger.infrastructure.settings import Settings
from tests.support import soak_app
from tests.support.cli import Cli, Running
from tests.support.sample_app import app
from tests.support.soak import idle
from tests.support.soak_check import violations

WAIT_SECONDS = 60.0
LEASE_SECONDS = 2.0
_ENDINGS = (JobCompleted, JobFailed, JobStalled, JobInterrupted, JobSnoozed, JobCancelled)


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger for this test alone, on each engine."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def ledger(database: str) -> Ledger:
    """The open ledger, with a tenant."""
    ledger = Ledger.open(database, app=app, create=True)
    ledger.tenants.create("acme", reason="a customer")
    return ledger


@pytest.fixture
def workers(tmp_path: Path, database: str) -> Cli:
    """Starts worker processes with short leases."""
    return Cli(
        tmp_path, database, JOBLEDGER_APP="tests.support.sample_app", JOBLEDGER_LOG_LEVEL="error",
        JOBLEDGER_LEASE_SECONDS=str(LEASE_SECONDS), JOBLEDGER_LEASE_RENEW_BUFFER_SECONDS="1",
        JOBLEDGER_MAINTENANCE_INTERVAL_SECONDS="1", JOBLEDGER_SHUTDOWN_GRACE_SECONDS="30",
    )  # fmt: skip


class Slow:
    """A job that says that it runs, and ends when it is told to."""

    def __init__(self, ledger: Ledger, folder: Path, priority: int = 0) -> None:
        self._started, self._release = folder / "started", folder / "release"
        self._ledger = ledger
        payload = {"started": str(self._started), "release": str(self._release)}
        self.job_id: UUID = ledger.dispatch("sample.slow", payload, tenant="acme", priority=priority).job_id

    def wait_until_it_runs(self) -> None:
        """Until an attempt says so; ready for the next attempt to say so."""
        _until(self._started.exists)
        self._started.unlink()

    def let_it_end(self) -> None:
        """From now on attempts end."""
        self._release.touch()

    def wait_for(self, status: JobStatus) -> None:
        """Until the job stands there."""
        _until(lambda: self._ledger.jobs.get(self.job_id, tenant="acme").status is status)

    @property
    def history(self) -> tuple[RecordedEvent, ...]:
        """All events."""
        return self._ledger.jobs.history(self.job_id, tenant="acme").events

    @property
    def topics(self) -> list[str]:
        """Their names."""
        return [event.topic.removeprefix("job.") for event in self.history]

    def assert_one_ending_each(self) -> None:
        """Every attempt that began has exactly one ending."""
        facts = [event.facts for event in self.history]
        begun = [fact.attempt for fact in facts if isinstance(fact, JobStarted)]
        ended = [fact.attempt for fact in facts if isinstance(fact, _ENDINGS)]
        assert ended == begun


def test_the_job_of_a_killed_worker_runs_again_elsewhere(ledger: Ledger, workers: Cli, tmp_path: Path) -> None:
    """A worker killed with SIGKILL in the middle of a job: the job stalls, and another worker completes it."""
    slow = Slow(ledger, tmp_path)
    with workers.running("work") as first:
        slow.wait_until_it_runs()
        first.process.kill()
        first.wait()
    with workers.running("work"):
        slow.wait_until_it_runs()
        slow.let_it_end()
        slow.wait_for(JobStatus.COMPLETED)
    assert slow.topics == ["dispatched", "started", "stalled", "started", "completed"]
    slow.assert_one_ending_each()
    ledger.close()


def test_a_worker_that_was_stopped_for_too_long_cannot_end_its_attempt(
    ledger: Ledger, workers: Cli, tmp_path: Path
) -> None:
    """SIGSTOP beyond the lease, then SIGCONT: the attempt of the zombie has ended as stalled, and its own ending is
    not accepted."""
    slow = Slow(ledger, tmp_path)
    with workers.running("work") as zombie:
        slow.wait_until_it_runs()
        zombie.process.send_signal(signal.SIGSTOP)
        with workers.running("work"):
            slow.wait_until_it_runs()
            slow.let_it_end()
            slow.wait_for(JobStatus.COMPLETED)
        zombie.process.send_signal(signal.SIGCONT)
        assert zombie.stop().code == 0
    assert slow.topics == ["dispatched", "started", "stalled", "started", "completed"]
    slow.assert_one_ending_each()
    ledger.close()


def test_sigterm_finishes_what_runs(ledger: Ledger, workers: Cli, tmp_path: Path) -> None:
    """On SIGTERM a worker lets its running job end, takes no other, and exits with 0."""
    slow = Slow(ledger, tmp_path)
    with workers.running("work", "--concurrency", "1") as worker:
        slow.wait_until_it_runs()
        worker.process.send_signal(signal.SIGTERM)
        later = ledger.dispatch("sample.ok", {"text": "too late"}, tenant="acme").job_id
        slow.let_it_end()
        assert worker.wait().code == 0
    assert slow.topics == ["dispatched", "started", "completed"]
    assert ledger.jobs.get(later, tenant="acme").status is JobStatus.PENDING
    ledger.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("signals", [1, 2], ids=["grace ended", "second signal"])
def test_a_stop_gives_back_what_does_not_end(
    ledger: Ledger, workers: Cli, tmp_path: Path, signals: int, number: signal.Signals
) -> None:
    """When the grace period is over, or on a second signal, the job is given back: the attempt does not count, and
    the next one runs elsewhere at once, without waiting for a lease."""
    slow = Slow(ledger, tmp_path)
    if signals == 1:
        workers = workers.with_variables(JOBLEDGER_SHUTDOWN_GRACE_SECONDS="0.2")
    with workers.running("work") as worker:
        slow.wait_until_it_runs()
        worker.process.send_signal(number)
        if signals == 2:
            _until_it_says(worker, "taking no more jobs")  # two signals at once are one
            worker.process.send_signal(number)
        assert worker.wait().code == 0
    assert slow.topics == ["dispatched", "started", "interrupted"]
    state = ledger.jobs.get(slow.job_id, tenant="acme").state
    assert (state.status, state.attempts_counted) == (JobStatus.PENDING, 0)
    with workers.running("work"):
        slow.wait_until_it_runs()
        slow.let_it_end()
        slow.wait_for(JobStatus.COMPLETED)
    assert slow.topics == ["dispatched", "started", "interrupted", "started", "completed"]
    state = ledger.jobs.get(slow.job_id, tenant="acme").state
    assert (state.attempt, state.attempts_counted) == (2, 1)
    ledger.close()


def test_a_stop_gives_back_what_was_claimed_ahead(ledger: Ledger, database: str, workers: Cli, tmp_path: Path) -> None:
    """Jobs that a worker claimed and did not begin are given back at once; none is lost, done twice, or counted."""
    jobs = [_quick(ledger) for _ in range(300)]
    slow = Slow(ledger, tmp_path, priority=-1)
    behind = [_quick(ledger, priority=-2) for _ in range(300)]
    with workers.running("work", "--concurrency", "1") as worker:
        slow.wait_until_it_runs()
        _until(lambda: any(_topics(ledger, job)[-1:] == ["started"] for job in behind))
        worker.process.send_signal(signal.SIGTERM)
        _until(lambda: any(_topics(ledger, job)[-1:] == ["interrupted"] for job in behind))
        slow.let_it_end()
        assert worker.wait().code == 0
    assert slow.topics == ["dispatched", "started", "completed"]
    for job in behind:
        state = ledger.jobs.get(job, tenant="acme").state
        assert (state.status, state.attempts_counted) == (JobStatus.PENDING, 0)
    assert workers("work", "--drain").code == 0
    events = [event for job in (*jobs, *behind, slow.job_id) for event in _history(ledger, job)]
    assert violations(events, []) == []
    ledger.close()


def test_a_third_signal_ends_at_once(ledger: Ledger, database: str, workers: Cli, tmp_path: Path) -> None:
    """Where giving back does not succeed, a third signal ends the worker with the code for that; its job stalls and
    runs elsewhere."""
    slow = Slow(ledger, tmp_path)
    with workers.running("work") as worker:
        slow.wait_until_it_runs()
        with _nobody_writes(database):
            worker.process.send_signal(signal.SIGTERM)
            _until_it_says(worker, "taking no more jobs")
            worker.process.send_signal(signal.SIGTERM)
            _until_it_says(worker, "giving everything back")
            worker.process.send_signal(signal.SIGTERM)
            assert worker.wait().code == ExitCode.INTERRUPTED
    with workers.running("work"):
        slow.wait_until_it_runs()
        slow.let_it_end()
        slow.wait_for(JobStatus.COMPLETED)
    assert slow.topics == ["dispatched", "started", "stalled", "started", "completed"]
    ledger.close()


def test_a_poisonous_job_ends_in_the_dlq_and_takes_no_other_along(ledger: Ledger, database: str, workers: Cli) -> None:
    """A job that kills its worker each time stalls until its budget is spent; the others that were claimed with it,
    ran beside it, or came after it, complete, and none of them stalled more than twice."""
    ledger.types.register(soak_app.app)
    poison = ledger.dispatch("soak.poison", {"number": 1}, tenant="acme").job_id
    pauses = (0, 50, 300, 900)
    innocents = [
        ledger.dispatch("soak.plain", {"number": number, "milliseconds": pauses[number % 4]}, tenant="acme").job_id
        for number in range(40)
    ]
    deaths = 0
    with closing(open_ledger(Settings(database=database))) as handle:
        while not idle(handle.ports.queue):
            with workers.with_variables(JOBLEDGER_APP="tests.support.soak_app").running("work") as worker:
                _until(lambda: worker.process.poll() is not None or idle(handle.ports.queue))
                deaths += worker.process.poll() == -signal.SIGKILL
    assert deaths == 4
    dead = _history(ledger, poison)[-1].facts
    assert isinstance(dead, JobSentToDlq)
    assert (dead.reason, dead.attempt) == ("stalled", 4)
    for job in innocents:
        topics = _topics(ledger, job)
        assert topics[-1] == "completed" and topics.count("stalled") <= 2
    assert violations([event for job in (poison, *innocents) for event in _history(ledger, job)], []) == []
    ledger.close()


def _quick(ledger: Ledger, priority: int = 0) -> UUID:
    return ledger.dispatch("sample.ok", {"text": "quick"}, tenant="acme", priority=priority).job_id


def _history(ledger: Ledger, job_id: UUID) -> tuple[RecordedEvent, ...]:
    return ledger.jobs.history(job_id, tenant="acme").events


def _topics(ledger: Ledger, job_id: UUID) -> list[str]:
    return [event.topic.removeprefix("job.") for event in _history(ledger, job_id)]


def _until_it_says(worker: Running, words: str) -> None:
    _until(lambda: words in Path(f"/proc/{worker.process.pid}/fd/2").read_text(encoding="utf-8"))


@contextmanager
def _nobody_writes(database: str) -> Iterator[None]:
    """Somebody else keeps the queue from being changed. What waits for that is broken off in the end: a server goes on
    with the statement of a client that is gone."""
    if database.startswith("sqlite"):
        with closing(sqlite3.connect(database.removeprefix("sqlite:///"), timeout=30)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(database) as connection:
            connection.execute("LOCK TABLE jobledger.open_jobs IN EXCLUSIVE MODE")
            yield
            connection.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )


def _until(condition: Callable[[], bool]) -> None:
    """Another process cannot signal a test, so this looks again and again."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        os.sched_yield()
        time.sleep(0.02)
