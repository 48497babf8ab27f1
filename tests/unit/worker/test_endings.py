"""What a handler does, and how its attempt then ends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerOptions
from jobledger.domain.errors import JobCancelledError, NeverRetry, RetryAfter, Snooze
from jobledger.domain.job import JobCompleted, JobFailed, JobRetried, JobSentToDlq, JobSnoozed, JobStatus
from jobledger.domain.rate_card import RateCard
from jobledger.domain.retry import Retry
from tests.support.fake_ledger import FakeLedger


class Payload(BaseModel):
    """Something small."""

    number: int = 0


class _Unspeakable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def drain(app: App, ledger: FakeLedger) -> None:
    """Run everything that is ready."""
    Worker(app.jobs, ledger.ports, WorkerOptions(drain=True, concurrency=2), code_version="1").run()


def run_one(ledger: FakeLedger, handler: Callable[[JobContext, Payload], Any], **options: Any) -> UUID:  # noqa: ANN401 - handed on
    """Declare the handler, dispatch one job of it, and drain."""
    app = App("tested", code_version="1")
    app.job("tested.one", effects="none", rate_card=options.pop("rate_card", None))(handler)
    job_id = ledger.dispatch(app, "tested.one", retry=options.pop("retry", Retry.never()), **options)
    drain(app, ledger)
    return job_id


def failure_of(ledger: FakeLedger, job_id: UUID) -> JobFailed:
    """The last failed attempt of the job."""
    return [event.facts for event in ledger.events[job_id] if isinstance(event.facts, JobFailed)][-1]


def test_a_result_is_recorded_with_what_it_took(ledger: FakeLedger) -> None:
    """A handler that returns completes its job: result as the body, usage, cost and the rate card's version."""

    def handler(context: JobContext, _: Payload) -> dict[str, int]:
        context.usage(tokens=10)
        context.usage(tokens=5, pages=1)
        return {"answer": 42}

    card = RateCard(version="v7", per_attempt=1.0, per_unit={"tokens": 0.1})
    job_id = run_one(ledger, handler, rate_card=card)
    event = ledger.events[job_id][-1]
    assert isinstance(event.facts, JobCompleted)
    assert event.body == b'{"answer":42}'
    assert event.facts.usage.units == {"tokens": 15.0, "pages": 1.0}
    assert (event.facts.estimated_cost, event.facts.rate_card_version) == (2.5, "v7")
    assert event.facts.seconds_running >= 0
    assert event.facts.usage.cpu_seconds > 0


def test_a_coroutine_runs_on_the_event_loop(ledger: FakeLedger) -> None:
    """A handler that is a coroutine completes its job like any other."""

    async def handler(_context: JobContext, payload: Payload) -> int:
        await asyncio.sleep(0)
        return payload.number

    assert ledger.topics(run_one(ledger, handler, payload=b'{"number": 5}'))[-1] == "completed"


@pytest.mark.parametrize(
    ("raised", "error_type", "message"),
    [
        (ValueError("wrong"), "ValueError", "wrong"),
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit(), "GeneratorExit", ""),
        (asyncio.CancelledError(), "CancelledError", ""),
        (_Unspeakable(), "_Unspeakable", "<str() of the _Unspeakable raised RuntimeError>"),
        (ValueError("\udc80 \x00"), "ValueError", "\\udc80 \\x00"),
        (ExceptionGroup("several", [ValueError("a"), OSError("b")]), "ExceptionGroup", "several (2 sub-exceptions)"),
        (JobCancelledError("I felt like it"), "JobCancelledError", "I felt like it"),
        (Snooze(float("nan"), "never"), "Snooze", "never"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("is_async", [False, True], ids=["thread", "async"])
def test_whatever_a_handler_raises_is_a_recorded_failure(
    ledger: FakeLedger, raised: BaseException, error_type: str, message: str, is_async: bool
) -> None:
    """Any exception, those outside `Exception` included, fails the attempt with type, text, trace and fingerprint,
    and the worker goes on."""

    def fails(_context: JobContext, _: Payload) -> None:
        raise raised

    async def fails_later(_context: JobContext, _: Payload) -> None:
        raise raised

    job_id = run_one(ledger, fails_later if is_async else fails)
    failed = failure_of(ledger, job_id)
    assert (failed.error_type, failed.message, len(failed.fingerprint)) == (error_type, message, 16)
    assert b"fails" in (ledger.events[job_id][2].body or b"")
    assert ledger.topics(job_id) == ["dispatched", "started", "failed", "sent_to_dlq"]


def test_a_failure_is_retried_until_it_succeeds(ledger: FakeLedger) -> None:
    """A failed attempt is followed by another one while attempts remain."""

    def handler(context: JobContext, _: Payload) -> int:
        if context.attempt < 3:
            raise ConnectionError("not yet")
        return context.max_attempts

    job_id = run_one(ledger, handler, retry=Retry.fixed(max_attempts=3, base_seconds=0))
    assert ledger.topics(job_id) == [
        "dispatched", *["started", "failed", "retried"] * 2, "started", "completed"
    ]  # fmt: skip


def test_attempts_run_out(ledger: FakeLedger) -> None:
    """When no attempts remain the job goes to the DLQ with the last error."""

    def handler(_context: JobContext, _: Payload) -> None:
        raise ConnectionError("never")

    job_id = run_one(ledger, handler, retry=Retry.fixed(max_attempts=2, base_seconds=0))
    dead = ledger.facts(job_id)
    assert isinstance(dead, JobSentToDlq)
    assert (dead.reason, dead.error_type, dead.message) == ("attempts_exhausted", "ConnectionError", "never")
    assert ledger.rows[job_id].state.status is JobStatus.DLQ


def test_never_retry_goes_to_the_dlq_at_once(ledger: FakeLedger) -> None:
    """`NeverRetry` makes the failure unrecoverable, whatever attempts remain."""

    def handler(_context: JobContext, _: Payload) -> None:
        raise NeverRetry("the account is closed")

    job_id = run_one(ledger, handler, retry=Retry.fixed(max_attempts=9, base_seconds=0))
    dead = ledger.facts(job_id)
    assert isinstance(dead, JobSentToDlq)
    assert (dead.reason, dead.attempt) == ("unrecoverable", 1)


def test_retry_after_decides_the_delay(ledger: FakeLedger) -> None:
    """`RetryAfter` sets when the next attempt is due, and the history says that the handler asked for it."""

    def handler(_context: JobContext, _: Payload) -> None:
        raise RetryAfter(120)

    retried = ledger.facts(run_one(ledger, handler, retry=Retry.fixed(max_attempts=2, base_seconds=0)))
    assert isinstance(retried, JobRetried)
    assert (retried.delay_seconds, retried.asked_by_handler) == (120.0, True)


def test_a_snooze_does_not_count(ledger: FakeLedger) -> None:
    """`Snooze` puts the job off without counting the attempt."""

    def handler(_context: JobContext, _: Payload) -> None:
        raise Snooze(60, "the provider is closed")

    job_id = run_one(ledger, handler)
    snoozed = ledger.facts(job_id)
    assert isinstance(snoozed, JobSnoozed)
    assert snoozed.why == "the provider is closed"
    assert ledger.rows[job_id].state.attempts_counted == 0


def test_a_payload_that_fits_no_more_goes_to_the_dlq(ledger: FakeLedger) -> None:
    """A payload is read again before it runs: a misfit never runs and is an integrity violation, told without its
    value."""
    ran: list[int] = []

    def handler(_context: JobContext, _: Payload) -> None:
        ran.append(1)

    job_id = run_one(ledger, handler, payload=b'{"number": "secret-value"}', retry=Retry())
    dead = ledger.facts(job_id)
    assert isinstance(dead, JobSentToDlq)
    assert (dead.reason, dead.error_type) == ("integrity_violation", "PayloadInvalid")
    assert "number" in dead.message
    assert "secret-value" not in dead.message
    assert ran == []


@pytest.mark.parametrize(
    ("result", "text"),
    [({"a": "not a number"}, "result.a"), ({"a": object()}, "result.a"), (None, "result"), ("x" * 300_000, "result")],
    ids=["misfit", "unserialisable", "missing", "wrong type"],
)
def test_a_result_that_does_not_fit_fails_the_attempt(ledger: FakeLedger, result: object, text: str) -> None:
    """What a handler returns is checked against its return annotation; a misfit is a failure that may be retried."""

    def handler(_context: JobContext, _: Payload) -> dict[str, int]:
        return result  # type: ignore[return-value]

    failed = failure_of(ledger, run_one(ledger, handler))
    assert (failed.error_type, failed.recoverable) == ("ResultInvalid", True)
    assert text in failed.message


def test_a_result_that_is_too_large_fails_the_attempt(ledger: FakeLedger) -> None:
    """A result above the type's limit in bytes fails the attempt and says how large it may be."""

    def handler(_context: JobContext, _: Payload) -> str:
        return "x" * 300_000

    failed = failure_of(ledger, run_one(ledger, handler))
    assert failed.error_type == "ResultInvalid"
    assert "256,000" in failed.message


def test_an_ending_the_ledger_refuses_is_recorded_as_a_failure(ledger: FakeLedger) -> None:
    """Where an ending cannot be stored, that becomes the job's failure, and the others of its batch are stored."""

    def handler(_context: JobContext, _: Payload) -> str:
        return "fine"

    app = App("tested", code_version="1")
    app.job("tested.one", effects="none")(handler)
    poisoned = ledger.dispatch(app, "tested.one", retry=Retry.never())
    others = [ledger.dispatch(app, "tested.one") for _ in range(10)]
    ledger.refuse = lambda change: (
        ValueError("cannot be stored")
        if change.job_id == poisoned and isinstance(change.events[0].facts, JobCompleted)
        else None
    )
    drain(app, ledger)
    assert failure_of(ledger, poisoned).error_type == "RecordingFailed"
    assert {ledger.topics(job_id)[-1] for job_id in others} == {"completed"}


def test_a_handler_that_closes_its_stdout_breaks_nothing(ledger: FakeLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that closes stdout has completed its job; the worker goes on with the next one."""
    read, write = os.pipe()
    os.close(read)

    def handler(_context: JobContext, _: Payload) -> None:
        sys.stdout.close()

    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        app = App("tested", code_version="1")
        app.job("tested.one", effects="none")(handler)
        jobs = [ledger.dispatch(app, "tested.one") for _ in range(3)]
        drain(app, ledger)
    assert [ledger.topics(job_id)[-1] for job_id in jobs] == ["completed"] * 3


def test_context_variables_do_not_reach_the_next_job(ledger: FakeLedger) -> None:
    """What a handler leaves in context variables is gone when the next job, perhaps of another tenant, begins."""
    import contextvars

    secret: contextvars.ContextVar[str] = contextvars.ContextVar("secret", default="")
    seen: list[str] = []

    def handler(context: JobContext, _: Payload) -> None:
        seen.append(secret.get())
        secret.set(context.tenant)

    app = App("tested", code_version="1")
    app.job("tested.one", effects="none")(handler)
    for number in range(4):
        ledger.dispatch(app, "tested.one", tenant=f"tenant-{number}")
    Worker(app.jobs, ledger.ports, WorkerOptions(drain=True, concurrency=1), code_version="1").run()
    assert seen == [""] * 4
