"""What a handler can do with its context while it runs."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.dispatch_item import Dispatch
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerOptions
from jobledger.application.worker.reporting import LOG_LIMIT_BYTES
from jobledger.domain import job as jobs
from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import event_id
from jobledger.domain.job import JobFailed, JobLogged, JobProgressed, JobStepRecorded
from jobledger.domain.retry import Retry
from tests.support.fake_ledger import FakeLedger
from tests.support.watched_worker import WAIT_SECONDS, working


class Payload(BaseModel):
    """Nothing."""


def drain(app: App, ledger: FakeLedger) -> None:
    """Run everything that is ready."""
    Worker(app.jobs, ledger.ports, WorkerOptions(drain=True, concurrency=4), code_version="1").run()


def test_progress_is_persisted_while_the_handler_runs(app: App, ledger: FakeLedger) -> None:
    """The first progress is recorded at once, not when the attempt ends."""
    reported, go_on = threading.Event(), threading.Event()

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        context.progress(0.25, "a quarter")
        context.log("still here")
        reported.set()
        go_on.wait(WAIT_SECONDS)

    job_id = ledger.dispatch(app, "tested.one")
    with working(Worker(app.jobs, ledger.ports, code_version="1")) as watched:
        assert reported.wait(WAIT_SECONDS)
        progressed = ledger.facts(job_id)
        assert isinstance(progressed, JobProgressed)
        assert (progressed.fraction, progressed.note, progressed.attempt) == (0.25, "a quarter", 1)
        go_on.set()
        watched.wait_for("processed")
    assert ledger.topics(job_id) == ["dispatched", "started", "progressed", "logged", "completed"]


def test_waiting_reports_are_flushed_while_the_handler_runs(app: App, ledger: FakeLedger) -> None:
    """Log lines and the last progress wait about a second, however long the handler runs on."""
    flushed = threading.Event()

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        context.progress(0.1)
        context.progress(0.2)
        context.progress(0.3, "last")
        context.log("a line", level="warning", number=1)
        while not flushed.wait(0.01):
            if any(event.topic == "job.logged" for event in ledger.events[job_id]):
                flushed.set()

    job_id = ledger.dispatch(app, "tested.one")
    drain(app, ledger)
    facts = [event.facts for event in ledger.events[job_id]]
    assert [fact.fraction for fact in facts if isinstance(fact, JobProgressed)] == [0.1, 0.3]
    logged = next(event for event in ledger.events[job_id] if isinstance(event.facts, JobLogged))
    assert isinstance(logged.facts, JobLogged)
    assert (logged.facts.level, logged.facts.line_count) == ("warning", 1)
    assert logged.body is not None
    assert logged.body.endswith(b" warning a line number=1")


def test_what_was_not_sent_is_recorded_with_the_ending(app: App, ledger: FakeLedger) -> None:
    """Log lines and last progress of an attempt that fails stand before the failure, in the same write."""

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        context.progress(0.5)
        context.progress(0.75)
        context.log("first\nsecond")
        raise ValueError("then this")

    job_id = ledger.dispatch(app, "tested.one", retry=Retry.never())
    drain(app, ledger)
    assert ledger.topics(job_id) == [
        "dispatched", "started", "progressed", "progressed", "logged", "failed", "sent_to_dlq"
    ]  # fmt: skip
    logged = ledger.events[job_id][4].facts
    assert isinstance(logged, JobLogged)
    assert logged.line_count == 2


@pytest.mark.parametrize("fraction", [math.nan, 2.0, -0.1, "half", True])
def test_progress_out_of_range_is_refused(app: App, ledger: FakeLedger, fraction: float) -> None:
    """Progress that is no number from 0 to 1 is refused where it is reported, and says what it takes."""

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> str:
        try:
            context.progress(fraction)
        except InvalidInput as error:
            return f"{error.field}: {error.rule}"
        return "taken"

    job_id = ledger.dispatch(app, "tested.one")
    drain(app, ledger)
    assert ledger.events[job_id][-1].body == b'"fraction: a number from 0 to 1"'


def test_the_log_of_a_job_is_capped_over_all_attempts(app: App, ledger: FakeLedger) -> None:
    """A job logs one megabyte at most, all attempts together; the last line says that more was dropped."""

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        for _number in range(150):
            context.log("x" * 8_000)
        raise ValueError("again")

    job_id = ledger.dispatch(app, "tested.one", retry=Retry.fixed(max_attempts=3, base_seconds=0))
    drain(app, ledger)
    bodies = [event.body or b"" for event in ledger.events[job_id] if isinstance(event.facts, JobLogged)]
    total = sum(map(len, bodies))
    assert LOG_LIMIT_BYTES * 0.9 < total <= LOG_LIMIT_BYTES + 1_000
    assert b"further lines are dropped" in bodies[-1]


def test_a_recorded_step_never_runs_again(app: App, ledger: FakeLedger) -> None:
    """After a retry a recorded step gives back its output, the same as the first time, without running."""
    ran: list[str] = []
    outputs: list[object] = []

    def charge() -> dict[str, tuple[int, int]]:
        ran.append("charge")
        return {"amount": (1, 2)}

    @app.job("tested.one", effects="steps")
    def handler(context: JobContext, _: Payload) -> None:
        outputs.append(context.step("charge", charge))
        if context.attempt == 1:
            raise ConnectionError("after the effect")

    job_id = ledger.dispatch(app, "tested.one")
    drain(app, ledger)
    assert ran == ["charge"]
    assert outputs == [{"amount": [1, 2]}] * 2
    recorded = [event.facts for event in ledger.events[job_id] if isinstance(event.facts, JobStepRecorded)]
    assert [(step.step, step.key) for step in recorded] == [("charge", f"{job_id}/charge")]


def test_a_coroutine_has_steps_too(app: App, ledger: FakeLedger) -> None:
    """`step_async` records the output of an awaited step once."""
    ran: list[int] = []

    async def effect() -> int:
        ran.append(1)
        return 7

    @app.job("tested.one", effects="steps")
    async def handler(context: JobContext, _: Payload) -> int:
        output = await context.step_async("effect", effect)
        if context.attempt == 1:
            raise ConnectionError("after the effect")
        return output

    job_id = ledger.dispatch(app, "tested.one")
    drain(app, ledger)
    assert ran == [1]
    assert ledger.events[job_id][-1].body == b"7"


@pytest.mark.parametrize(
    ("name", "output", "told"),
    [("a", object(), "cannot be recorded as JSON"), ("", 1, "does not name a step"), ("b", "x" * 4_100_000, "bytes")],
)
def test_a_step_that_cannot_be_recorded_says_why(
    app: App, ledger: FakeLedger, name: str, output: object, told: str
) -> None:
    """A step without a name, or with an output that is no JSON or too large, fails the attempt with the reason."""

    @app.job("tested.one", effects="steps")
    def handler(context: JobContext, _: Payload) -> None:
        context.step(name, lambda: output)

    job_id = ledger.dispatch(app, "tested.one", retry=Retry.never())
    drain(app, ledger)
    failed = next(event.facts for event in ledger.events[job_id] if isinstance(event.facts, JobFailed))
    assert told in failed.message


def test_a_step_is_recorded_although_the_ledger_is_away_for_a_while(app: App, ledger: FakeLedger) -> None:
    """When the ledger does not answer after an effect, the step is recorded as soon as it does."""

    @app.job("tested.one", effects="steps")
    def handler(context: JobContext, _: Payload) -> int:
        def effect() -> int:
            ledger.unavailable = True
            threading.Timer(0.15, lambda: setattr(ledger, "unavailable", False)).start()
            return 1

        return context.step("effect", effect)

    job_id = ledger.dispatch(app, "tested.one")
    drain(app, ledger)
    assert ledger.topics(job_id) == ["dispatched", "started", "step_recorded", "completed"]


def test_children_carry_correlation_and_causation(app: App, ledger: FakeLedger) -> None:
    """A job that a handler dispatches belongs to the same tenant and flow, and names the attempt as its cause."""
    asked: list[Dispatch] = []

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        context.dispatch(Dispatch("tested.child", {}), Dispatch("tested.child", {}, tenant=context.tenant))

    job_id = ledger.dispatch(app, "tested.one")

    def dispatch(children: Sequence[Dispatch]) -> list[UUID]:
        asked.extend(children)
        return []

    Worker(
        app.jobs, ledger.ports, WorkerOptions(drain=True), code_version="1", dispatch_children=dispatch
    ).run()  # fmt: skip
    first = ledger.events[job_id][0].metadata
    assert [child.tenant for child in asked] == ["acme", "acme"]
    assert {child.correlation_id for child in asked} == {first.correlation_id}
    assert {child.trace_parent for child in asked} == {first.trace_parent}
    assert {child.causation_id for child in asked} == {event_id(job_id, 2)}


def test_a_child_of_another_tenant_is_refused(app: App, ledger: FakeLedger) -> None:
    """A handler cannot dispatch for a tenant other than its own."""

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        context.dispatch(Dispatch("tested.child", {}, tenant="globex"))

    job_id = ledger.dispatch(app, "tested.one", retry=Retry.never())
    drain(app, ledger)
    failed = next(event.facts for event in ledger.events[job_id] if isinstance(event.facts, JobFailed))
    assert (failed.error_type, "own tenant" in failed.message) == ("InvalidInput", True)


def test_a_context_knows_its_job(app: App, ledger: FakeLedger) -> None:
    """Tenant, id, type, attempt and a deadline in the future are there to be read."""
    seen: list[object] = []

    @app.job("tested.one", effects="none")
    def handler(context: JobContext, _: Payload) -> None:
        remaining = (context.deadline - ledger.clock.now()).total_seconds()
        seen.extend([
            context.tenant, context.persona, context.job_id, context.job_type, context.attempt, context.max_attempts,
            context.cancelled, 80 < remaining <= 90,
        ])  # fmt: skip

    job_id = ledger.dispatch(app, "tested.one", timeout_seconds=100)
    drain(app, ledger)
    assert seen == ["acme", None, job_id, "tested.one", 1, 3, False, True]


def test_a_step_of_a_lost_attempt_is_refused(app: App, ledger: FakeLedger, tmp_path: Path) -> None:
    """Once the attempt belongs to somebody else its handler can record nothing more, and its ending is dropped."""

    @app.job("tested.one", effects="steps")
    def handler(context: JobContext, _: Payload) -> None:
        state = ledger.rows[job_id].state
        lease = jobs.Lease(state.worker or "", state.attempt)
        ledger.change(job_id, jobs.stall(state, lease, last_seen_at=None))
        context.step("too late", (tmp_path / "ran").touch)

    job_id = ledger.dispatch(app, "tested.one", delay_seconds=0, max_stalled=0)
    worker = Worker(app.jobs, ledger.ports, WorkerOptions(drain=True), code_version="1")
    worker.run()
    assert ledger.topics(job_id) == ["dispatched", "started", "stalled", "sent_to_dlq"]
    assert worker.counts["lease_lost"] == 1  # type: ignore[index]
