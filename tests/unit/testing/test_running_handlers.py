"""What reaches a handler while it runs, although nothing runs beside it: timeouts, and requests to cancel."""

from __future__ import annotations

import asyncio

import pytest

from jobledger import App, JobContext, Retry
from jobledger.testing import InMemoryLedger

from .shop import Order, World

ONCE = Retry.fixed(max_attempts=1, base_seconds=1)


def run_one(app: App, job_type: str) -> InMemoryLedger:
    """A ledger in which this job was dispatched; it runs with `drain`."""
    ledger = InMemoryLedger(app)
    ledger.dispatch(job_type, {"order_id": "1"}, tenant="acme")
    return ledger


def test_a_handler_takes_as_long_as_the_clock_is_moved(app: App) -> None:
    """What it reports meanwhile is recorded at most once a second, as always."""

    @app.job("order.slow", effects="none", timeout_seconds=60)
    def slow(context: JobContext, payload: Order) -> None:
        for number in range(4):
            context.progress(number / 4)
            ledger.clock.advance(0.5)

    ledger = run_one(app, "order.slow")
    ledger.drain()
    assert [fraction for fraction, _ in ledger.assert_completed().only.progress] == [0.0, 0.25, 0.75]
    (completed,) = ledger.jobs.history(ledger.jobs().only.job_id, tenant="acme").events[-1:]
    assert getattr(completed.facts, "seconds_running", None) == 2.0


def test_the_soft_timeout_is_told(app: App, world: World) -> None:
    """A handler that looks at `cancelled` or calls `check_cancelled` learns of it."""

    @app.job("order.slow", effects="none", timeout_seconds=60, soft_timeout_seconds=10, retry=ONCE)
    def slow(context: JobContext, payload: Order) -> None:
        for _ in range(3):
            world.ran.append(f"cancelled: {context.cancelled}")
            context.check_cancelled()
            ledger.clock.advance(9)

    ledger = run_one(app, "order.slow")
    ledger.drain()
    assert world.ran == ["cancelled: False", "cancelled: False", "cancelled: True"]
    assert ledger.assert_dead(reason="attempts_exhausted").only.errors == (
        "SoftTimeout: the handler ran longer than its soft timeout of 10 seconds",
    )


def test_the_hard_timeout_ends_the_attempt_whatever_the_handler_returns(app: App, world: World) -> None:
    """What it does later is refused, and its result is not recorded."""

    @app.job("order.slow", effects="steps", timeout_seconds=60, retry=ONCE)
    def slow(context: JobContext, payload: Order) -> str:
        ledger.clock.advance(61)
        world.ran.extend(ledger.jobs().only.events)
        try:
            context.step("late", lambda: "late")
        except Exception as error:
            world.ran.append(type(error).__name__)
            raise
        return "too late"

    ledger = run_one(app, "order.slow")
    ledger.drain()
    job = ledger.assert_dead().only
    assert world.ran == ["job.dispatched", "job.started", "job.failed", "job.sent_to_dlq", "LeaseLost"]
    assert job.errors == ("Timeout: the handler ran longer than 60 seconds",)
    assert (job.steps, job.result) == ({}, None)


@pytest.mark.parametrize("waits", [True, False])
def test_a_coroutine_is_cancelled_at_its_hard_timeout(app: App, world: World, waits: bool) -> None:
    """At the next time it waits for something; one that does not wait any more ends by itself."""

    @app.job("order.slow", effects="none", timeout_seconds=60, retry=ONCE)
    async def slow(context: JobContext, payload: Order) -> None:
        ledger.clock.advance(61)
        if waits:
            await asyncio.sleep(0)
            world.ran.append("went on")

    ledger = run_one(app, "order.slow")
    ledger.drain()
    assert ledger.assert_dead().only.errors == ("Timeout: the handler ran longer than 60 seconds",)
    assert world.ran == []


def test_a_request_to_cancel_reaches_the_running_handler_at_once(app: App, world: World) -> None:
    """As it does within a second in production."""

    @app.job("order.slow", effects="none", timeout_seconds=60)
    def slow(context: JobContext, payload: Order) -> None:
        world.ran.append(f"cancelled: {context.cancelled}")
        ledger.jobs.cancel(context.job_id, tenant="acme", reason="not wanted")
        world.ran.append(f"cancelled: {context.cancelled}")
        context.check_cancelled()

    ledger = run_one(app, "order.slow")
    ledger.drain()
    assert world.ran == ["cancelled: False", "cancelled: True"]
    assert ledger.events(ledger.jobs().only)[-2:] == ["job.cancel_requested", "job.cancelled"]


def test_a_request_to_cancel_interrupts_a_coroutine(app: App, world: World) -> None:
    """Where it waits: it need not look."""

    @app.job("order.slow", effects="none", timeout_seconds=60)
    async def slow(context: JobContext, payload: Order) -> None:
        ledger.jobs.cancel(context.job_id, tenant="acme", reason="not wanted")
        await asyncio.sleep(0)
        world.ran.append("went on")

    ledger = run_one(app, "order.slow")
    ledger.drain()
    assert (ledger.jobs().only.status, world.ran) == ("cancelled", [])


def test_a_long_handler_keeps_its_lease(app: App) -> None:
    """Leases are renewed while it runs: no other worker takes the job."""

    @app.job("order.slow", effects="none", timeout_seconds=3_600)
    def slow(context: JobContext, payload: Order) -> None:
        ledger.clock.advance(minutes=30)

    ledger = run_one(app, "order.slow")
    ledger.drain(until_idle=True)
    assert ledger.events(ledger.jobs().only) == ["job.dispatched", "job.started", "job.completed"]
