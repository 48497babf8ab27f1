"""What an embedding program hears of its worker, by the names of the documentation, on real ledgers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger import App, JobContext, Ledger, Retry
from jobledger.application.ports import ClaimRequest
from jobledger.application.worker import WorkerEvent, WorkerEventName
from jobledger.domain.errors import LedgerUnavailable
from jobledger.infrastructure.service import Service

WAIT_SECONDS = 20.0
NAMES = ("active", "completed", "failed", "progress", "stalled", "drained", "error")


class Payload(BaseModel):
    """Whether it should work."""

    works: bool = True


class Heard:
    """The events of a service by the name that was listened to."""

    def __init__(self, service: Service) -> None:
        self._seen: list[tuple[str, WorkerEvent]] = []
        self._changed = threading.Condition()
        for name in NAMES:
            service.events.on(name, self._listener(name))

    def _listener(self, name: str) -> Callable[[WorkerEvent], None]:
        def hear(event: WorkerEvent) -> None:
            with self._changed:
                self._seen.append((name, event))
                self._changed.notify_all()

        return hear

    def wait_for(self, name: str, job_id: UUID | None = None) -> WorkerEvent:
        """The first event of that name (and job), once there is one."""

        def found() -> list[WorkerEvent]:
            return [event for heard, event in self._seen if heard == name and job_id in {None, event.job_id}]

        with self._changed:
            assert self._changed.wait_for(lambda: bool(found()), WAIT_SECONDS), self._seen
            return found()[0]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger for this test alone, on each engine."""
    return str(request.getfixturevalue("postgres_dsn") if request.param == "postgres" else f"sqlite:///{tmp_path}/l.db")


@pytest.fixture
def app() -> App:
    """Jobs that work or do not."""
    made = App("tested", code_version="1")

    @made.job("tested.one", effects="none", retry=Retry.never())
    def handler(context: JobContext, payload: Payload) -> None:
        context.progress(0.5, "half")
        if not payload.works:
            raise RuntimeError("it does not work")

    return made


@pytest.fixture
def ledger(database: str, app: App) -> Iterator[Ledger]:
    """An open ledger with a tenant."""
    with Ledger.open(database, app=app, create=True) as opened:
        opened.tenants.create("acme", reason="a customer")
        yield opened


def _dispatch(ledger: Ledger, **payload: bool) -> UUID:
    return ledger.dispatch("tested.one", payload, tenant="acme").job_id


def test_jobs_are_heard_of_by_the_names_of_the_ledger(app: App, ledger: Ledger) -> None:
    """Active, progress, completed, failed and drained: with the job, its tenant and type, and what there is to say."""
    good, bad = _dispatch(ledger), _dispatch(ledger, works=False)
    service = ledger.worker(app)
    heard = Heard(service)
    service.start()
    try:
        completed, failed = heard.wait_for("completed", good), heard.wait_for("failed", bad)
        assert (completed.tenant, completed.job_type, completed.attempt) == ("acme", "tested.one", 1)
        assert completed.name is WorkerEventName.COMPLETED and failed.name is WorkerEventName.FAILED
        assert failed.detail == "RuntimeError: it does not work"
        assert heard.wait_for("active", bad).worker == service.worker.name
        progress = heard.wait_for("progress", good)
        assert (progress.fraction, progress.detail) == (0.5, "half")
        assert heard.wait_for("drained").job_id is None
        assert ledger.jobs.get(good, tenant="acme").status.value == "completed", "durable when it is told"
    finally:
        service.close(WAIT_SECONDS)


def test_stalled_jobs_are_heard_of(app: App, ledger: Ledger) -> None:
    """By the worker whose maintenance found them, whoever lost them."""
    job_id = _dispatch(ledger)
    lost = ledger.worker(app)
    queue: Any = lost._handle.ports.queue
    now = lost._handle.ports.clock.now()
    assert queue.claim(ClaimRequest("a-dead-one", ("default",), ("tested.one",), 1, "v1", 30.0, now)).jobs
    service = ledger.worker(app)
    heard = Heard(service)
    service.start()
    try:
        stalled = heard.wait_for("stalled", job_id)
        assert (stalled.tenant, stalled.attempt, stalled.detail) == ("acme", 1, "waits again")
        heard.wait_for("completed", job_id)
    finally:
        service.close(WAIT_SECONDS)


def test_trouble_of_the_worker_itself_is_heard_of(app: App, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that fails is the worker's error, not a job's; the worker goes on."""
    service = ledger.worker(app)
    heard = Heard(service)
    queue = service._handle.ports.queue
    fails = threading.Event()
    claim = queue.claim

    def failing(request: Any) -> Any:  # noqa: ANN401
        if fails.is_set():
            raise LedgerUnavailable("away")
        return claim(request)

    monkeypatch.setattr(queue, "claim", failing)
    fails.set()
    service.start()
    try:
        assert "away" in heard.wait_for("error").detail
        fails.clear()
        heard.wait_for("completed", _dispatch(ledger))
    finally:
        service.close(WAIT_SECONDS)
