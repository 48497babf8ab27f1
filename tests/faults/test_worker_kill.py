"""Worker processes that are killed, stopped or asked to end while they run jobs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest

from jobledger import JobStatus, Ledger
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobInterrupted,
    JobSnoozed,
    JobStalled,
    JobStarted,
)
from tests.support.cli import Cli
from tests.support.sample_app import app

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

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self._started, self._release = folder / "started", folder / "release"
        self._ledger = ledger
        payload = {"started": str(self._started), "release": str(self._release)}
        self.job_id: UUID = ledger.dispatch("sample.slow", payload, tenant="acme").job_id

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


@pytest.mark.parametrize("signals", [1, 2], ids=["grace ended", "second signal"])
def test_sigterm_gives_back_what_does_not_end(ledger: Ledger, workers: Cli, tmp_path: Path, signals: int) -> None:
    """When the grace period is over, or on a second SIGTERM, the job is given back and the attempt does not count."""
    slow = Slow(ledger, tmp_path)
    if signals == 1:
        workers = workers.with_variables(JOBLEDGER_SHUTDOWN_GRACE_SECONDS="0.2")
    with workers.running("work") as worker:
        slow.wait_until_it_runs()
        for _ in range(signals):
            worker.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)  # two signals at once are one
        assert worker.wait().code == 0
    assert slow.topics == ["dispatched", "started", "interrupted"]
    state = ledger.jobs.get(slow.job_id, tenant="acme").state
    assert (state.status, state.attempts_counted) == (JobStatus.PENDING, 0)
    ledger.close()


def _until(condition: Callable[[], bool]) -> None:
    """Another process cannot signal a test, so this looks again and again."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        os.sched_yield()
        time.sleep(0.02)
