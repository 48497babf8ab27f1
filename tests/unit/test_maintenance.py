"""The chores that every worker process does."""

from __future__ import annotations

import threading

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.maintenance import Maintenance
from jobledger.application.ports import OpenJob
from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput, LedgerBusy
from jobledger.domain.job import JobSentToDlq, JobStatus
from tests.support.fake_ledger import FakeLedger

WAIT_SECONDS = 20.0


class Payload(BaseModel):
    """Nothing."""


@pytest.fixture
def ledger() -> FakeLedger:
    """An empty ledger in memory."""
    return FakeLedger()


@pytest.fixture
def app() -> App:
    """An app with one job type."""
    app = App("tested", code_version="1")

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    return app


def abandoned(app: App, ledger: FakeLedger, **options: int) -> jobs.JobState:
    """A job that a worker nobody heard of holds."""
    job_id = ledger.dispatch(app, "tested.one", **options)  # type: ignore[arg-type]
    ledger.change(
        job_id, jobs.start(ledger.rows[job_id].state, worker="gone", code_version="1", lease_seconds=30)
    )  # fmt: skip
    return ledger.rows[job_id].state


def test_a_job_whose_worker_is_gone_waits_again(app: App, ledger: FakeLedger) -> None:
    """An expired lease goes back to pending; that counts as a stall and not as an attempt."""
    abandoned(app, ledger)
    heard: list[tuple[OpenJob, bool]] = []
    maintenance = Maintenance(
        ledger, ledger, ledger.clock, actor="test", stalled=lambda job, dead: heard.append((job, dead))
    )
    assert maintenance.run_once() == 1
    (row,) = ledger.rows.values()
    assert (row.state.status, row.state.stalls, row.state.attempts_counted) == (JobStatus.PENDING, 1, 0)
    assert [dead for _, dead in heard] == [False]
    assert maintenance.run_once() == 0


def test_a_job_that_stalls_too_often_goes_to_the_dlq(app: App, ledger: FakeLedger) -> None:
    """Above its maximum of stalls a job is dead."""
    abandoned(app, ledger, max_stalled=0)
    Maintenance(ledger, ledger, ledger.clock, actor="test").run_once()
    (row,) = ledger.rows.values()
    dead = ledger.facts(row.job_id)
    assert isinstance(dead, JobSentToDlq)
    assert dead.reason == "stalled"


def test_waiting_jobs_of_inactive_tenants_go_to_the_dlq(app: App, ledger: FakeLedger) -> None:
    """Delayed jobs of a suspended tenant are dead too, long before they are due."""
    job_id = ledger.dispatch(app, "tested.one", tenant="globex", delay_seconds=3600)
    ledger.inactive.add("globex")
    assert Maintenance(ledger, ledger, ledger.clock, actor="test").run_once() == 1
    assert ledger.topics(job_id) == ["dispatched", "sent_to_dlq"]


def test_a_chore_that_another_process_does_is_left_to_it(app: App, ledger: FakeLedger) -> None:
    """Of all workers one rescues; the other chores are done all the same."""
    abandoned(app, ledger)
    ledger.dispatch(app, "tested.one", tenant="globex")
    ledger.inactive.add("globex")
    ledger.taken.add("rescue-stalled")
    maintenance = Maintenance(ledger, ledger, ledger.clock, actor="test")
    assert maintenance.run_once() == 1
    assert sorted(row.state.status for row in ledger.rows.values()) == [JobStatus.DLQ, JobStatus.IN_PROGRESS]
    ledger.taken.clear()
    assert maintenance.run_once() == 1


def test_maintenance_runs_periodically_between_start_and_stop(app: App, ledger: FakeLedger) -> None:
    """`start` runs the chores at once, a failing run ends nothing, `stop` ends the thread."""
    ran = threading.Semaphore(0)

    def prepare() -> None:
        ran.release()
        raise RuntimeError("no storage today")

    maintenance = Maintenance(
        ledger, ledger, ledger.clock, actor="test", interval_seconds=1, prepare_storage=prepare
    )  # fmt: skip
    before = set(threading.enumerate())
    maintenance.start()
    maintenance.start()
    assert ran.acquire(timeout=WAIT_SECONDS)
    assert ran.acquire(timeout=WAIT_SECONDS)
    assert _begun_since(before) == 1
    maintenance.stop()
    assert _begun_since(before) == 0


def _begun_since(before: set[threading.Thread]) -> int:
    return len(set(threading.enumerate()) - before)


def test_jobs_that_wait_are_brought_in_line_with_limits(ledger: FakeLedger) -> None:
    """All of them: what a change of limits could not finish, or what was dispatched meanwhile. No job changes by it."""
    ledger.out_of_line = 3
    assert Maintenance(ledger, ledger, ledger.clock, actor="test").run_once() == 0
    assert ledger.out_of_line == 0


def test_a_chore_that_fails_keeps_no_other_from_being_done(app: App, ledger: FakeLedger) -> None:
    """Where storage for the coming months cannot be prepared, stalled jobs are rescued all the same."""
    abandoned(app, ledger)

    def prepare() -> None:
        raise LedgerBusy("somebody holds the table")

    maintenance = Maintenance(ledger, ledger, ledger.clock, actor="test", prepare_storage=prepare)
    with pytest.raises(LedgerBusy):
        maintenance.run_once()
    (row,) = ledger.rows.values()
    assert row.state.status is JobStatus.PENDING


@pytest.mark.parametrize("interval_seconds", [0.5, 61, float("nan")])
def test_an_interval_out_of_bounds_is_refused(ledger: FakeLedger, interval_seconds: float) -> None:
    """Maintenance runs every 1 to 60 seconds."""
    with pytest.raises(InvalidInput, match="seconds between two runs"):
        Maintenance(ledger, ledger, ledger.clock, actor="test", interval_seconds=interval_seconds)
