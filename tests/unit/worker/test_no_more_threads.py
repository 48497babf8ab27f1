"""A system that lets a worker start no more threads (a limit of processes, say) loses no job."""

from __future__ import annotations

import threading

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import RunResult, Worker, WorkerEventName, WorkerOptions
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import working


class Payload(BaseModel):
    """Nothing."""


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many more threads for handlers the system refuses to start."""
    left, start = [0], threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if "-run-" in thread.name and left[0] > 0:
            left[0] -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    return left


def _worker(app: App, ledger: FakeLedger) -> Worker:
    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _payload: Payload) -> None: ...

    return Worker(app.jobs, ledger.ports, WorkerOptions(concurrency=4, poll_seconds=0.02), code_version="1")


def test_what_found_no_thread_begins_when_there_is_one(app: App, ledger: FakeLedger, refused: list[int]) -> None:
    """All jobs of the claim run, those that were refused a thread included."""
    worker = _worker(app, ledger)
    refused[0] = 2
    job_ids = [ledger.dispatch(app, "tested.one") for _ in range(4)]
    with working(worker) as watched:
        for job_id in job_ids:
            watched.wait_for(WorkerEventName.PROCESSED, job_id)


def test_a_worker_that_gets_no_thread_ends_and_gives_everything_back(
    app: App, ledger: FakeLedger, refused: list[int]
) -> None:
    """It tries a few times; then another worker may have the jobs."""
    worker = _worker(app, ledger)
    refused[0] = 1_000
    job_ids = [ledger.dispatch(app, "tested.one") for _ in range(4)]
    with working(worker) as watched:
        assert watched.ended() is RunResult.FAILED
    assert all(ledger.rows[job_id].state.worker is None for job_id in job_ids)
