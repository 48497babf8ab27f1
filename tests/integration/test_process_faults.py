"""Children that cannot be had: the program takes for ever to load, descriptors run out, the worker ends meanwhile."""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from jobledger import JobStatus, Ledger
from jobledger.application.ports import OpenJob
from jobledger.application.worker.attempt import Attempt
from jobledger.application.worker.child_messages import Crashed, Order
from jobledger.domain.errors import LedgerError
from jobledger.domain.job import JobDispatched, evolve
from jobledger.domain.retry import Retry
from jobledger.infrastructure.processes.pool import Pool
from jobledger.infrastructure.processes.program import program_of
from jobledger.infrastructure.settings import Settings
from tests.support import process_app
from tests.support.processes import is_gone
from tests.support.slow_import_app import app as slow_app
from tests.support.waiting import until

TENANT = "acme"
STOP_SECONDS = 5.0
"""A limit: ending takes a moment, or, where it is broken, ten seconds and more."""


@pytest.fixture
def hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """While this file exists, a child process does not get done with importing."""
    file = tmp_path / "hangs"
    monkeypatch.setenv("SLOW_IMPORT", str(file))
    yield file
    file.unlink(missing_ok=True)


@pytest.fixture
def slow_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger for the application that is slow to import."""
    with Ledger.open(f"sqlite:///{tmp_path}/ledger.db", app=slow_app, create=True) as ledger:
        ledger.tenants.create(TENANT, reason="a customer")
        yield ledger


def test_a_worker_that_loads_its_program_stops_at_once(slow_ledger: Ledger, hangs: Path) -> None:
    """Nothing runs yet, so nothing has to be waited for: the process that imports is ended."""
    hangs.touch()
    service = slow_ledger.worker(slow_app)
    service.start()
    until((hangs.parent / "importing").exists)
    assert service.close(STOP_SECONDS)


def test_a_worker_that_loads_its_program_again_stops_at_once(slow_ledger: Ledger, hangs: Path) -> None:
    """The process that starts children was lost, and importing hangs this time: the worker can be ended, and gives the
    job back that waits for its child."""
    first = slow_ledger.dispatch("slow.echo", {}, tenant=TENANT).job_id
    service = slow_ledger.worker(slow_app, concurrency=1)
    service.start()
    until(lambda: slow_ledger.jobs.get(first, tenant=TENANT).status is JobStatus.COMPLETED)
    result = slow_ledger.jobs.history(first, tenant=TENANT, bodies=True).events[-1].body
    hangs.touch()
    starts_children, child = json.loads(result or b"[]")
    os.kill(starts_children, signal.SIGKILL)
    until(lambda: is_gone(child))  # it dies a moment after the one that started it: it could take the second job
    second = slow_ledger.dispatch("slow.echo", {}, tenant=TENANT).job_id
    until((hangs.parent / "importing").exists)
    service.request_stop_now()
    assert service.close(STOP_SECONDS)
    assert slow_ledger.jobs.get(second, tenant=TENANT).status is JobStatus.PENDING


# --- the pool by itself ------------------------------------------------------------------------------------------


@pytest.fixture
def pool() -> Iterator[Pool]:
    """A pool with one child."""
    pool = Pool(program_of(process_app.app, Settings()), size=1, max_jobs=100)
    pool.start(lambda: False)
    yield pool
    pool.close()


def _attempt() -> tuple[Attempt, Order]:
    """An attempt of `child.echo`."""
    facts = JobDispatched(
        job_type="child.echo", queue="default", kind="work", status="pending", priority=0, due_at=datetime.now(UTC),
        retry=Retry.fixed(max_attempts=1, base_seconds=0), timeout_seconds=30.0, soft_timeout_seconds=20.0,
        max_stalled=1, lock_key=None,
    )  # fmt: skip
    job = OpenJob(UUID(int=1), TENANT, 1, evolve(None, facts), None, "0" * 32, "", b"{}")
    return Attempt(job, process_app.app.jobs["child.echo"], "tested"), Order(job, "tested", "")


def _crash(outcome: object) -> Crashed:
    assert isinstance(outcome, Crashed), outcome
    return outcome


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process can open nothing more."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_an_attempt_that_its_worker_gives_back_is_not_begun_any_more(pool: Pool) -> None:
    """The worker ends, and found no process of the attempt to kill: then none may begin, the job is somebody else's."""
    attempt, order = _attempt()
    attempt.stopping = True
    assert not _crash(pool.run(attempt, order, lambda _message, _body: None)).begun


def test_descriptors_that_run_out_are_an_error_that_puts_a_job_off(pool: Pool) -> None:
    """A child that cannot be started for want of descriptors is told as such; once there are some, children start."""
    process = next(iter(pool._children.values()))
    until(lambda: process.process is not None)
    os.kill(cast("int", process.process), signal.SIGKILL)
    until(lambda: not pool._children)
    attempt, order = _attempt()
    with no_descriptors(), pytest.raises(LedgerError, match="no child process"):
        pool.run(attempt, order, lambda _message, _body: None)
    outcome = pool.run(attempt, order, lambda _message, _body: None)
    assert not isinstance(outcome, Crashed)


def test_a_zygote_that_cannot_be_started_for_want_of_descriptors_is_an_error() -> None:
    """A worker that begins says what is wrong."""
    pool = Pool(program_of(process_app.app, Settings()), size=1, max_jobs=100)
    with no_descriptors(), pytest.raises(LedgerError, match="no child process"):
        pool.start(lambda: False)
    pool.close()


def test_a_child_asked_for_before_the_loss_of_the_zygote_was_noticed_comes_from_the_next_one(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever meets the closed connection first waits until the loss was dealt with; no job is put off for it."""
    client = pool._zygote
    notice, met = client._after, threading.Event()
    monkeypatch.setattr(client, "_after", lambda lost: (met.wait(0.5), notice(lost)))
    running = client._running
    assert running is not None
    running.process.kill()
    running.process.wait()
    child = pool._fork()
    until(lambda: child.process is not None)
    assert client._running is not running
