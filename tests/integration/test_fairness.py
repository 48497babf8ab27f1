"""A tenant with one job beside a tenant with nearly all of a large backlog."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from pydantic import BaseModel

from jobledger import App, Dispatch, JobContext, Ledger
from jobledger.application.worker import WorkerEvent, WorkerEventName, WorkerOptions
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobDispatched, JobStarted
from jobledger.infrastructure.service import Service, worker_options

BACKLOG = 50_000
WAIT_SECONDS = 60.0
MAJORITY, OTHERS, MINORITY = "big", tuple(f"other-{number}" for number in range(9)), "small"


class Order(BaseModel):
    """Which one."""

    n: int = 0


app = App("fairness", code_version="1")


@app.job("noop", effects="none")
def noop(_context: JobContext, _order: Order) -> None:
    """Do nothing."""


@pytest.fixture
def ledger(postgres_dsn: str) -> Iterator[Ledger]:
    """Of 50,000 jobs that wait, nine of ten are one tenant's."""
    with Ledger.open(postgres_dsn, app=app) as ledger:
        for tenant in (MAJORITY, *OTHERS, MINORITY):
            ledger.tenants.create(tenant, reason="a customer")
        ledger.dispatch_many(
            Dispatch("noop", {"n": n}, tenant=MAJORITY if n % 10 else OTHERS[n // 10 % len(OTHERS)])
            for n in range(BACKLOG)
        )
        yield ledger


@contextmanager
def _working(service: Service) -> Iterator[threading.Event]:
    """A worker that runs during the block; set once it is in the middle of its work."""
    busy, counted = threading.Event(), iter(range(BACKLOG))

    def count(_event: WorkerEvent) -> None:
        if next(counted) == 2_000:
            busy.set()

    service.events.on(WorkerEventName.PROCESSED, count)
    service.start()
    try:
        yield busy
    finally:
        service.close(WAIT_SECONDS)


def test_a_single_job_starts_within_two_batches(ledger: Ledger) -> None:
    """While a worker eats through the backlog, another tenant's job is in one of the next two batches that are claimed
    after its dispatch, though tens of thousands were there before it."""
    done = threading.Event()
    service = Service(ledger._handle, app, _options(ledger), projections=False)
    service.events.on(WorkerEventName.PROCESSED, lambda event: done.set() if event.tenant == MINORITY else None)
    with _working(service) as busy:
        assert busy.wait(WAIT_SECONDS)
        job = ledger.dispatch("noop", {}, tenant=MINORITY).job_id
        assert done.wait(WAIT_SECONDS)
    events = _events(ledger)
    dispatched = next(e for e in events if isinstance(e.facts, JobDispatched) and e.originator_id == job)
    started = next(e for e in events if isinstance(e.facts, JobStarted) and e.originator_id == job)
    batches = sorted(
        {
            event.recorded_at
            for event in events
            if isinstance(event.facts, JobStarted)
            and dispatched.recorded_at <= event.recorded_at <= started.recorded_at
        }
    )
    assert len(batches) <= 2, f"{len(batches)} batches: {[later - first for first, later in pairwise(batches)]}"
    waiting = BACKLOG - sum(isinstance(e.facts, JobStarted) and e.position < started.position for e in events)
    assert waiting > BACKLOG / 2, "the backlog was nearly gone: this would have shown nothing"


def _events(ledger: Ledger) -> list[RecordedEvent]:
    reader, topics = ledger._handle.ports.reader, frozenset({"job.dispatched", "job.started"})
    events: list[RecordedEvent] = []
    position, head = 0, reader.head()
    while position < head:
        batch = reader.read_after(position, limit=5_000, topics=topics)
        events += batch.events
        position = batch.position
    return events


def _options(ledger: Ledger) -> WorkerOptions:
    return worker_options(ledger._handle.settings, app, concurrency=16)
