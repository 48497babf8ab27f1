"""Handlers and listeners that do their worst: each attempt still ends, once, and the worker goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.telemetry import Telemetry
from jobledger.application.worker import Worker, WorkerEventName, WorkerEvents, WorkerOptions
from jobledger.application.worker.settling import BATCH_BYTES
from jobledger.application.writes import ChangeJob, Outcome, Write
from jobledger.domain.errors import RetryAfter, Snooze
from jobledger.domain.job import JobStatus
from jobledger.domain.rate_card import RateCard
from jobledger.domain.retry import Retry
from tests.support.fake_ledger import FakeLedger

WAIT_SECONDS = 20.0


class Payload(BaseModel):
    """Nothing."""


class _NoNumber:
    def __float__(self) -> float:
        raise SystemExit("not even that")


class _Shapeless(Exception):
    """An exception that does not even say what it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # noqa: ANN401 - it raises
        raise RuntimeError("guess")


@pytest.fixture
def ledger() -> FakeLedger:
    """An empty ledger in memory."""
    return FakeLedger()


def run_one(ledger: FakeLedger, handler: Callable[[JobContext, Payload], Any], **options: Any) -> UUID:  # noqa: ANN401
    """Run one job of this handler, and one of a healthy type after it, on a worker with a single slot."""
    app = App("tested", code_version="1")
    app.job("tested.one", effects="none", rate_card=options.pop("rate_card", None))(handler)

    @app.job("tested.two", effects="none")
    def healthy(_context: JobContext, _: Payload) -> None: ...

    job_id = ledger.dispatch(app, "tested.one", retry=Retry.never(), **options)
    after = ledger.dispatch(app, "tested.two")
    worker = Worker(app.jobs, ledger.ports, WorkerOptions(drain=True, concurrency=1), code_version="1")
    worker.run()
    assert after not in ledger.rows, "the worker did not go on"
    return job_id


@pytest.mark.parametrize(
    "make",
    [
        lambda: Snooze(10**400, "for ever"), lambda: RetryAfter(10**400), lambda: Snooze(_NoNumber(), "odd"),  # type: ignore[arg-type]
        lambda: RetryAfter(_NoNumber()), _Shapeless,  # type: ignore[arg-type]
    ],
    ids=["snooze too long", "retry too late", "snooze of no number", "retry of no number", "shapeless"],
)  # fmt: skip
def test_whatever_is_raised_ends_the_attempt(ledger: FakeLedger, make: Callable[[], Exception]) -> None:
    """An exception that cannot be made sense of is a failure like any other."""

    def handler(_context: JobContext, _: Payload) -> None:
        raise make()

    job_id = run_one(ledger, handler)
    assert ledger.rows[job_id].state.status in {JobStatus.DLQ, JobStatus.DELAYED}


@pytest.mark.parametrize("rate_card", [None, RateCard(version="v1", per_unit={"tokens": 2.0})])
def test_what_was_used_stays_a_number(ledger: FakeLedger, rate_card: RateCard | None) -> None:
    """Units that add up to more than a number can say are refused where they are reported."""

    def handler(context: JobContext, _: Payload) -> None:
        for _time in range(3):
            context.usage(tokens=1.7e308)

    job_id = run_one(ledger, handler, rate_card=rate_card)
    assert ledger.rows[job_id].state.status is JobStatus.DLQ


class _BadExporter(SpanProcessor):
    """A span processor that raises where it is told to."""

    def __init__(self, where: str) -> None:
        self._where = where

    def on_start(self, span: object, parent_context: object = None) -> None:
        if self._where == "start":
            raise RuntimeError("no start")

    def on_end(self, span: object) -> None:
        if self._where == "end":
            raise RuntimeError("no end")


@pytest.mark.parametrize("where", ["start", "end"])
@pytest.mark.parametrize("is_async", [False, True])
def test_tracing_that_fails_ends_no_attempt(ledger: FakeLedger, where: str, is_async: bool) -> None:
    """An exporter that raises costs a span: the handler runs once, and its result is recorded."""
    provider, app, ran = TracerProvider(), App("tested", code_version="1"), []
    provider.add_span_processor(_BadExporter(where))

    async def coroutine(_context: JobContext, _: Payload) -> None:
        ran.append(1)

    def function(_context: JobContext, _: Payload) -> None:
        ran.append(1)

    app.job("tested.one", effects="none")(coroutine if is_async else function)
    job_id = ledger.dispatch(app, "tested.one")
    options = WorkerOptions(drain=True, concurrency=1)
    Worker(app.jobs, ledger.ports, options, code_version="1", telemetry=Telemetry(provider)).run()
    assert job_id not in ledger.rows
    assert ran == [1]


def test_large_results_are_recorded_a_few_at_a_time() -> None:
    """Endings that gather while the ledger is slow are not all one write, however large their results are."""
    done = threading.Semaphore(0)
    weights: list[int] = []
    count = 30

    class Slow(FakeLedger):
        def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
            if not weights:
                assert all(done.acquire(timeout=WAIT_SECONDS) for _ in range(count))
            weights.append(sum(len(e.body or b"") for w in writes if isinstance(w, ChangeJob) for e in w.events))
            return super().submit(writes)

    ledger, app = Slow(), App("tested", code_version="1")

    @app.job("tested.one", effects="none", result_limit_bytes=2_000_000)
    def handler(_context: JobContext, _: Payload) -> str:
        done.release()
        return "x" * 1_000_000

    for _ in range(count):
        ledger.dispatch(app, "tested.one")
    Worker(app.jobs, ledger.ports, WorkerOptions(drain=True, concurrency=count), code_version="1").run()
    assert sum(weights) >= count * 1_000_000
    assert max(weights) < BATCH_BYTES + 2_000_000


@pytest.mark.parametrize("name", [WorkerEventName.ACTIVE, WorkerEventName.PROCESSED])
def test_a_listener_ends_no_thread(ledger: FakeLedger, name: WorkerEventName) -> None:
    """A listener that calls `sys.exit` ends neither the thread that runs handlers nor the one that records."""
    app = App("tested", code_version="1")

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    def leave(_: object) -> None:
        raise SystemExit(1)

    events = WorkerEvents()
    events.on(name, leave)
    first, second = ledger.dispatch(app, "tested.one"), ledger.dispatch(app, "tested.one")
    Worker(app.jobs, ledger.ports, WorkerOptions(drain=True, concurrency=1), code_version="1", events=events).run()
    assert {first, second}.isdisjoint(ledger.rows)


def test_a_job_that_a_newer_program_wrote_is_put_off(ledger: FakeLedger) -> None:
    """Its options cannot be read here: it waits for a newer worker, its attempt does not count, and others go on."""
    ran: list[UUID] = []
    app = App("tested", code_version="1")

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        ran.append(context.job_id)

    newer, known = ledger.dispatch(app, "tested.one"), ledger.dispatch(app, "tested.one")
    ledger.rows[newer] = ledger.rows[newer]._replace(readable=False)
    Worker(app.jobs, ledger.ports, WorkerOptions(drain=True), code_version="1").run()
    assert ran == [known]
    assert ledger.topics(newer) == ["dispatched", "started", "snoozed"]
    assert ledger.rows[newer].state.attempts_counted == 0
