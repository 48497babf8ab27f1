"""The worker on real ledgers, through the public interface."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import BaseModel

from jobledger import App, Dispatch, JobContext, JobStatus, Ledger, NeverRetry, Retry, Snooze
from jobledger.application.telemetry import Telemetry, trace_parent_of
from jobledger.application.worker import Worker, WorkerEventName, WorkerOptions
from jobledger.application.worker.worker import WorkerPorts
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobCompleted, JobDispatched, JobFailed, JobInterrupted, JobRetried
from jobledger.infrastructure.service import Service
from tests.support.waiting import until
from tests.support.watched_worker import WAIT_SECONDS

TENANT = "acme"


class Payload(BaseModel):
    """Which one."""

    number: int = 0


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a ledger for this test alone, on each engine."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def app() -> App:
    """An app to declare jobs on."""
    return App("tested", code_version="1")


@pytest.fixture
def opened(database: str, app: App) -> Iterator[Callable[[], Ledger]]:
    """Opens the ledger once the test has declared its jobs; the tenant exists."""
    ledgers: list[Ledger] = []

    def open_ledger() -> Ledger:
        ledger = Ledger.open(database, app=app, create=True)
        ledgers.append(ledger)
        ledger.tenants.create(TENANT, reason="a customer")
        return ledger

    yield open_ledger
    for ledger in ledgers:
        ledger.close()


@contextmanager
def running(service: Service) -> Iterator[Heard]:
    """A worker that runs during the block, and what it tells."""
    heard = Heard(service)
    service.start()
    try:
        yield heard
    finally:
        service.request_stop_now()
        assert service.close(WAIT_SECONDS)


class Heard:
    """The events of a worker, to wait for."""

    def __init__(self, service: Service) -> None:
        self._seen: list[tuple[WorkerEventName, UUID | None]] = []
        self._changed = threading.Condition()
        service.events.on_any(self._hear)

    def _hear(self, event: Any) -> None:  # noqa: ANN401 - a WorkerEvent
        with self._changed:
            self._seen.append((event.name, event.job_id))
            self._changed.notify_all()

    def wait_for(self, name: WorkerEventName, job_id: UUID) -> None:
        """Until the worker has told this of the job."""
        with self._changed:
            assert self._changed.wait_for(lambda: (name, job_id) in self._seen, WAIT_SECONDS), self._seen


def history(ledger: Ledger, job_id: UUID, *, bodies: bool = False) -> tuple[RecordedEvent, ...]:
    """The events of a job."""
    return ledger.jobs.history(job_id, tenant=TENANT, bodies=bodies).events


def topics(ledger: Ledger, job_id: UUID) -> list[str]:
    """The names of the events of a job."""
    return [event.topic.removeprefix("job.") for event in history(ledger, job_id)]


def status(ledger: Ledger, job_id: UUID) -> JobStatus:
    """Where the job stands."""
    return ledger.jobs.get(job_id, tenant=TENANT).status


def test_a_job_runs_and_its_history_says_what_it_took(app: App, opened: Callable[[], Ledger]) -> None:
    """From dispatch to done: started, progress, log, result and measurements are in the ledger."""

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, payload: Payload) -> dict[str, int]:
        context.progress(0.5, "half")
        context.log("here")
        return {"number": payload.number}

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {"number": 7}, tenant=TENANT).job_id
    ledger.worker(app, drain=True).run()
    events = history(ledger, job_id, bodies=True)
    assert [event.topic for event in events] == [
        "job.dispatched", "job.started", "job.progressed", "job.logged", "job.completed"
    ]  # fmt: skip
    completed = events[-1].facts
    assert isinstance(completed, JobCompleted)
    assert events[-1].body == b'{"number":7}'
    assert completed.seconds_in_queue >= 0
    assert completed.worker == events[-1].metadata.actor.removeprefix("worker:")


def test_a_failed_attempt_waits_for_its_backoff(app: App, opened: Callable[[], Ledger]) -> None:
    """The decision to retry is recorded with its inputs, and the next attempt begins when it is due."""
    attempts: list[int] = []

    @app.job("tested.one", effects="none", retry=Retry.delays(0.1, 0.1))
    def handler(context: JobContext, _: Payload) -> None:
        attempts.append(context.attempt)
        if context.attempt < 3:
            raise ConnectionError("not yet")

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    ledger.worker(app, drain=True, drain_wait_seconds=WAIT_SECONDS).run()
    assert attempts == [1, 2, 3]
    assert topics(ledger, job_id) == ["dispatched", *["started", "failed", "retried"] * 2, "started", "completed"]
    events = history(ledger, job_id)
    for retried, started in zip(events[3::3], events[4::3], strict=False):
        assert isinstance(retried.facts, JobRetried)
        assert retried.facts.delay_seconds == 0.1
        assert started.recorded_at >= retried.facts.due_at


def test_priority_then_due_decides_the_order(app: App, opened: Callable[[], Ledger]) -> None:
    """Of the jobs that are ready the most urgent begins first; among equals the one that was due first."""
    order: list[int] = []

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, payload: Payload) -> None:
        order.append(payload.number)

    ledger = opened()
    for number, priority in enumerate([0, 0, 50, -50]):
        ledger.dispatch("tested.one", {"number": number}, tenant=TENANT, priority=priority)
    ledger.worker(app, concurrency=1, drain=True).run()
    assert order == [2, 0, 1, 3]


def test_a_delayed_job_starts_when_it_is_due(app: App, opened: Callable[[], Ledger]) -> None:
    """A delayed job does not begin before its time, and begins then without a hint from anybody."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT, delay_seconds=0.3).job_id
    with running(ledger.worker(app)) as heard:
        heard.wait_for(WorkerEventName.PROCESSED, job_id)
    dispatched, started, _ = history(ledger, job_id)
    assert isinstance(dispatched.facts, JobDispatched)
    assert started.recorded_at >= dispatched.facts.due_at


def test_one_running_job_per_lock_key(app: App, opened: Callable[[], Ledger]) -> None:
    """Jobs of one tenant and key follow each other; those of other keys run beside them."""
    running_now: list[int] = []
    most: list[int] = []

    @app.job("tested.one", effects="none", lock_key="door")
    def handler(_context: JobContext, payload: Payload) -> None:
        running_now.append(payload.number)
        most.append(len(running_now))
        threading.Event().wait(0.01)
        running_now.remove(payload.number)

    ledger = opened()
    for number in range(6):
        ledger.dispatch("tested.one", {"number": number}, tenant=TENANT)
    worker = ledger.worker(app, drain=True, drain_wait_seconds=1)
    worker.run()
    assert worker.counts[WorkerEventName.PROCESSED] == 6
    assert set(most) == {1}


def test_the_dlq_keeps_what_failed_for_good_until_a_human_acts(app: App, opened: Callable[[], Ledger]) -> None:
    """An unrecoverable failure goes to the DLQ; requeued by a person it runs again and completes."""

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        if context.attempt == 1:
            raise NeverRetry("the account is closed")

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    ledger.worker(app, drain=True).run()
    assert status(ledger, job_id) is JobStatus.DLQ
    ledger.worker(app, drain=True).run()
    assert status(ledger, job_id) is JobStatus.DLQ
    ledger.jobs.requeue(job_id, tenant=TENANT, reason="the account is open again")
    ledger.worker(app, drain=True).run()
    assert topics(ledger, job_id) == [
        "dispatched", "started", "failed", "sent_to_dlq", "requeued", "started", "completed"
    ]  # fmt: skip


def test_a_snoozed_job_comes_back_and_its_attempt_does_not_count(app: App, opened: Callable[[], Ledger]) -> None:
    """A handler that says "not now" is called again later, with all its attempts."""

    @app.job("tested.one", effects="none", retry=Retry.never())
    def handler(context: JobContext, _: Payload) -> None:
        if context.attempt < 3:
            raise Snooze(0.05, "closed")

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    ledger.worker(app, drain=True, drain_wait_seconds=WAIT_SECONDS).run()
    assert topics(ledger, job_id) == ["dispatched", *["started", "snoozed"] * 2, "started", "completed"]


def test_cancelling_reaches_a_running_handler(app: App, opened: Callable[[], Ledger]) -> None:
    """A request to cancel a running job is told to its handler, which stops; the history says who asked and why."""
    began = threading.Event()

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        began.set()
        while True:
            context.check_cancelled()
            threading.Event().wait(0.01)

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    with running(ledger.worker(app)) as heard:
        assert began.wait(WAIT_SECONDS)
        ledger.jobs.cancel(job_id, tenant=TENANT, reason="wrong customer")
        heard.wait_for(WorkerEventName.CANCELLED, job_id)
    assert topics(ledger, job_id) == ["dispatched", "started", "cancel_requested", "cancelled"]


def test_recorded_steps_do_not_run_again(app: App, opened: Callable[[], Ledger]) -> None:
    """After a retry the steps that were recorded give back their outputs; only the others run."""
    ran: list[str] = []

    @app.job("tested.one", effects="steps", retry=Retry.fixed(base_seconds=0))
    def handler(context: JobContext, _: Payload) -> list[str]:
        def step(name: str) -> str:
            ran.append(f"{name}:{context.attempt}")
            return name

        first = context.step("first", lambda: step("first"))
        if context.attempt == 1:
            raise ConnectionError("between the steps")
        return [first, context.step("second", lambda: step("second"))]

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    ledger.worker(app, drain=True, drain_wait_seconds=1).run()
    assert ran == ["first:1", "second:2"]
    assert history(ledger, job_id, bodies=True)[-1].body == b'["first","second"]'


def test_progress_and_log_are_there_while_the_job_runs(app: App, opened: Callable[[], Ledger]) -> None:
    """Whoever looks at a running job sees its progress and its log lines."""
    reported, go_on = threading.Event(), threading.Event()

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        context.log("before")
        context.progress(0.5, "half")
        reported.set()
        go_on.wait(WAIT_SECONDS)

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    heard_of = threading.Event()
    events = ledger.queue_events()
    events.on("progressed", lambda _: heard_of.set())
    events.start()
    with running(ledger.worker(app)) as heard:
        assert reported.wait(WAIT_SECONDS)
        assert heard_of.wait(WAIT_SECONDS)
        assert topics(ledger, job_id) == ["dispatched", "started", "progressed", "logged"]
        go_on.set()
        heard.wait_for(WorkerEventName.PROCESSED, job_id)
    events.close()


def test_a_stop_gives_back_what_does_not_end(app: App, opened: Callable[[], Ledger]) -> None:
    """Stopped at once, a worker gives its jobs back: they are pending again and the attempt does not count."""
    began, never = threading.Event(), threading.Event()

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None:
        began.set()
        never.wait(WAIT_SECONDS)

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    with running(ledger.worker(app)):
        assert began.wait(WAIT_SECONDS)
    never.set()
    state = ledger.jobs.get(job_id, tenant=TENANT).state
    assert (state.status, state.attempts_counted) == (JobStatus.PENDING, 0)
    assert isinstance(history(ledger, job_id)[-1].facts, JobInterrupted)


def test_an_ending_without_the_lease_is_dropped(app: App, opened: Callable[[], Ledger], database: str) -> None:
    """Two workers, one job: when the first one is taken for dead, only the second one's ending is recorded."""
    began, go_on = threading.Semaphore(0), threading.Event()

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> int:
        began.release()
        if context.attempt == 1:
            go_on.wait(WAIT_SECONDS)
        return context.attempt

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    first, second = ledger.worker(app, concurrency=1), ledger.worker(app)
    with running(first) as first_heard:
        assert began.acquire(timeout=WAIT_SECONDS)
        state = ledger.jobs.get(job_id, tenant=TENANT).state
        assert state.worker is not None
        first._handle.ports.queue.goodbye(state.worker)  # as if it had never been heard of
        maintenance = second._maintenance
        assert maintenance is not None
        # the first one's own maintenance may be at it just now: whoever is, rescues
        until(lambda: maintenance.run_once() > 0 or "stalled" in topics(ledger, job_id))
        with running(second) as second_heard:
            second_heard.wait_for(WorkerEventName.PROCESSED, job_id)
            go_on.set()
            first_heard.wait_for(WorkerEventName.LEASE_LOST, job_id)
    assert topics(ledger, job_id) == ["dispatched", "started", "stalled", "started", "completed"]
    assert history(ledger, job_id, bodies=True)[-1].body == b"2"


def test_the_hard_timeout_ends_the_attempt(app: App, opened: Callable[[], Ledger]) -> None:
    """A handler that does not stop in time fails with a timeout while it still hangs."""
    never = threading.Event()

    @app.job("tested.one", effects="none", retry=Retry.never(), timeout_seconds=1)
    def handler(_context: JobContext, _: Payload) -> None:
        never.wait(WAIT_SECONDS)

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    with running(ledger.worker(app)) as heard:
        heard.wait_for(WorkerEventName.ERRORED, job_id)
        failed = history(ledger, job_id)[2].facts
        assert isinstance(failed, JobFailed)
        assert failed.error_type == "Timeout"
        never.set()


@pytest.mark.parametrize("trouble", ["BaseException", "unspeakable", "unserialisable", "surrogates"])
def test_bad_endings_are_recorded_on_both_engines(app: App, opened: Callable[[], Ledger], trouble: str) -> None:
    """Whatever a handler raises or returns, the history has a clear record of it and the worker goes on."""

    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    @app.job("tested.one", effects="none", retry=Retry.never())
    def handler(context: JobContext, _: Payload) -> dict[str, Any]:
        match trouble:
            case "BaseException":
                raise SystemExit(1)
            case "unspeakable":
                raise Unspeakable
            case "surrogates":
                context.log("\udcff\x00")
                raise ValueError("\udcff\x00")
            case _:
                return {"a": object()}

    @app.job("tested.two", effects="none")
    def healthy(_context: JobContext, _: Payload) -> None: ...

    ledger = opened()
    bad = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    good = ledger.dispatch("tested.two", {}, tenant=TENANT).job_id
    ledger.worker(app, drain=True).run()
    assert status(ledger, bad) is JobStatus.DLQ
    assert status(ledger, good) is JobStatus.COMPLETED
    assert "failed" in topics(ledger, bad)


def test_a_suspended_tenants_jobs_never_run(app: App, opened: Callable[[], Ledger]) -> None:
    """Jobs that waited when their tenant was suspended go to the DLQ as unrecoverable."""
    ran: list[str] = []

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        ran.append(context.tenant)

    ledger = opened()
    job_id = ledger.dispatch("tested.one", {}, tenant=TENANT).job_id
    ledger.tenants.suspend(TENANT, reason="did not pay")
    ledger.worker(app, drain=True).run()
    assert ran == []
    assert status(ledger, job_id) is JobStatus.DLQ


def test_children_belong_to_the_flow_of_their_parent(app: App, opened: Callable[[], Ledger]) -> None:
    """A job dispatched by a handler has its parent's correlation id and names the attempt that caused it."""
    children: list[UUID] = []

    @app.job("tested.parent", effects="none")
    def parent(context: JobContext, _: Payload) -> None:
        children.extend(context.dispatch(Dispatch("tested.child", {"number": 1})))

    @app.job("tested.child", effects="none")
    def child(_context: JobContext, _: Payload) -> None: ...

    ledger = opened()
    job_id = ledger.dispatch("tested.parent", {}, tenant=TENANT).job_id
    ledger.worker(app, drain=True).run()
    (child_id,) = children
    dispatched, started = history(ledger, child_id)[0], history(ledger, job_id)[1]
    assert dispatched.metadata.correlation_id == started.metadata.correlation_id
    assert dispatched.metadata.causation_id == started.event_id
    assert status(ledger, child_id) is JobStatus.COMPLETED


def test_a_retry_dispatches_no_child_twice(app: App, opened: Callable[[], Ledger]) -> None:
    """What an attempt dispatched before it failed is the same job in the next one; equal children stay apart."""
    attempts: list[list[UUID]] = []

    @app.job("tested.parent", effects="none", retry=Retry.fixed(max_attempts=2, base_seconds=0))
    def parent(context: JobContext, _: Payload) -> None:
        one, two = Dispatch("tested.child", {"number": 1}), Dispatch("tested.child", {"number": 2})
        order = (one, one, two) if context.attempt == 1 else (two, one, one)
        attempts.append(sorted(context.dispatch(*order)))
        if context.attempt == 1:
            raise ConnectionError("after the children")

    @app.job("tested.child", effects="none")
    def child(_context: JobContext, _: Payload) -> None: ...

    ledger = opened()
    ledger.dispatch("tested.parent", {}, tenant=TENANT)
    ledger.worker(app, drain=True).run()
    first, second = attempts
    assert len(set(first)) == 3
    assert first == second


def test_attempt_and_dispatch_are_one_trace(app: App, opened: Callable[[], Ledger]) -> None:
    """With an SDK, the span of an attempt is a child of the traceparent that the job stored."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    ledger = opened()
    with provider.get_tracer("test").start_as_current_span("request") as span:
        trace_parent = trace_parent_of(span) or ""
        job_id = ledger.dispatch("tested.one", {}, tenant=TENANT, trace_parent=trace_parent).job_id
    handle = ledger._handle
    ports = WorkerPorts(
        handle.ports.writer, handle.ports.reader, handle.ports.queue, handle.wake_up, handle.ports.clock,
        handle.ports.identifiers,
    )  # fmt: skip
    Worker(app.jobs, ports, WorkerOptions(drain=True), code_version="1", telemetry=Telemetry(provider)).run()
    attempt = next(span for span in exporter.get_finished_spans() if span.name == "jobledger.attempt tested.one")
    assert attempt.parent is not None
    assert f"{attempt.parent.trace_id:032x}" == trace_parent.split("-")[1]
    assert attempt.attributes is not None
    assert attempt.attributes["jobledger.job_id"] == str(job_id)


def test_queue_events_tell_what_other_processes_did(app: App, opened: Callable[[], Ledger], database: str) -> None:
    """Who follows the queue hears of jobs in the order of the ledger, whoever ran them."""

    @app.job("tested.one", effects="none")
    def handler(_context: JobContext, _: Payload) -> None: ...

    opened()
    seen: list[tuple[str, UUID]] = []
    done = threading.Event()
    with Ledger.open(database) as follower, Ledger.open(database, app=app) as other:
        events = follower.queue_events("default")
        events.on_any(lambda event: seen.append((event.topic, event.originator_id)))
        events.on("completed", lambda _: done.set())
        events.start()
        job_id = other.dispatch("tested.one", {}, tenant=TENANT).job_id
        other.worker(app, drain=True).run()
        assert done.wait(WAIT_SECONDS)
        events.close()
    assert seen == [("job.dispatched", job_id), ("job.started", job_id), ("job.completed", job_id)]
