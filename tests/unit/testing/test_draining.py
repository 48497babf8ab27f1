"""`drain`: what runs, when, and in which order; what `receive` dispatches."""

from __future__ import annotations

import asyncio
import gc
import threading
from contextvars import ContextVar
from datetime import timedelta

import pytest

from jobledger import App, Dispatch, JobContext, Snooze, UnknownJobType, UnknownTenant
from jobledger.testing import InMemoryLedger

from .shop import Order, OrderPaid, World


def test_nothing_runs_before_the_test_says_so(ledger: InMemoryLedger, world: World) -> None:
    """A dispatch alone runs nothing; a drain does, and says how many attempts it ran."""
    receipt = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    assert (ledger.events(receipt), world.ran) == (["job.dispatched"], [])
    assert ledger.drain() == 1
    assert (ledger.events(receipt), world.ran) == (["job.dispatched", "job.started", "job.completed"], ["1"])
    assert ledger.drain() == 0


def test_jobs_run_in_claim_order(ledger: InMemoryLedger, world: World) -> None:
    """Higher priority first, then the order of dispatch; tenants take turns."""
    for order_id, priority, tenant in [("a", 0, "acme"), ("b", 0, "acme"), ("c", 9, "acme"), ("d", 0, "other")]:
        ledger.dispatch("order.pack", {"order_id": order_id}, tenant=tenant, priority=priority)
    ledger.drain()
    assert [order for order in world.ran if order != "d"] == ["c", "a", "b"]
    assert world.ran.index("d") < 2


def test_a_retry_waits_for_the_clock(ledger: InMemoryLedger) -> None:
    """What is due later runs once the test has moved the clock there, and not before."""
    ledger.fail_next("order.pack", ConnectionError("gone"))
    receipt = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    wait_seconds = (ledger.jobs().only.state.due_at - ledger.clock.now()).total_seconds()
    ledger.clock.advance(wait_seconds - 0.001)
    assert ledger.drain() == 0
    ledger.clock.advance(0.001)
    assert ledger.drain() == 1
    ledger.assert_completed(receipt)


def test_until_idle_moves_the_clock_to_whatever_is_due(ledger: InMemoryLedger, world: World) -> None:
    """Retries, delayed and snoozed jobs run at their own time, earliest first."""
    start = ledger.clock.now()
    ledger.dispatch("order.pack", {"order_id": "tomorrow"}, tenant="acme", delay_seconds=86_400)
    ledger.dispatch("order.pack", {"order_id": "soon"}, tenant="acme", run_at=start + timedelta(seconds=30))
    closed = ledger.dispatch("order.wait", {"order_id": "closed"}, tenant="acme")
    assert ledger.drain(until_idle=True) == 5
    assert world.ran == ["soon", "tomorrow"]
    assert ledger.clock.now() == start + timedelta(days=1)
    assert ledger.events(closed) == [
        "job.dispatched",
        *["job.started", "job.snoozed"] * 2,
        "job.started",
        "job.completed",
    ]


def test_a_drain_can_be_limited_to_queues(ledger: InMemoryLedger) -> None:
    """As a worker of some queues: others wait, also for `until_idle`."""
    charged = ledger.dispatch("order.charge", {"order_id": "1"}, tenant="acme")
    packed = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme", delay_seconds=5)
    start = ledger.clock.now()
    assert ledger.drain(queues=["billing"], until_idle=True) == 1
    assert ledger.clock.now() == start
    ledger.assert_completed(charged)
    assert ledger.events(packed) == ["job.dispatched"]


def test_what_a_handler_dispatches_runs_in_the_same_drain(ledger: InMemoryLedger, world: World) -> None:
    """Children run after their parent, in the name of its flow."""
    parent = ledger.dispatch("order.ship", {"order_id": "7"}, tenant="acme")
    assert ledger.drain() == 3
    assert world.ran == ["7/0", "7/1"]
    flow = ledger.jobs.get(parent.job_id, tenant="acme").correlation_id
    children = ledger.jobs(type="order.pack")
    assert {ledger.jobs.get(child.job_id, tenant="acme").correlation_id for child in children} == {flow}


def test_coroutines_run_in_a_test_that_has_no_loop_and_in_one_that_has(ledger: InMemoryLedger, world: World) -> None:
    """`drain` may be called by a coroutine, too."""
    ledger.dispatch("order.greet", {"order_id": "1"}, tenant="acme")
    ledger.drain()

    async def inside_of_a_loop() -> None:
        ledger.dispatch("order.greet", {"order_id": "2"}, tenant="acme")
        ledger.drain()

    asyncio.run(inside_of_a_loop())
    assert [job.result for job in ledger.assert_completed(type="order.greet")] == ["hello", "hello"]
    assert [dict(job.steps) for job in ledger.jobs()] == [{"greet": "hello"}] * 2


@pytest.mark.parametrize("job_type", ["order.set", "order.set_async"])
def test_what_a_handler_leaves_in_context_variables_is_gone(app: App, world: World, job_type: str) -> None:
    """Every attempt begins with none, as in production."""
    seen: ContextVar[str] = ContextVar("seen")

    @app.job("order.set", effects="none", timeout_seconds=60)
    def leave(context: JobContext, payload: Order) -> None:
        world.ran.append(seen.get("nothing"))
        seen.set(payload.order_id)

    @app.job("order.set_async", effects="none", timeout_seconds=60)
    async def leave_async(context: JobContext, payload: Order) -> None:
        leave(context, payload)

    ledger = InMemoryLedger(app)
    seen.set("the test")
    for order_id in ("1", "2"):
        ledger.dispatch(job_type, {"order_id": order_id}, tenant="acme")
    ledger.drain()
    assert (world.ran, seen.get()) == (["nothing", "nothing"], "the test")


def test_a_suspended_tenants_jobs_die_without_running(ledger: InMemoryLedger, world: World) -> None:
    """Those of others run."""
    for tenant in ("acme", "other"):
        ledger.dispatch("order.pack", {"order_id": tenant}, tenant=tenant)
    ledger.tenants.suspend("acme", reason="did not pay")
    ledger.drain()
    ledger.assert_dead(tenant="acme", reason="unrecoverable")
    ledger.assert_completed(tenant="other")
    assert world.ran == ["other"]


def test_types_that_ask_for_a_process_run_here(app: App, world: World) -> None:
    """A test sees what its handler does, whatever isolation the type declares."""

    @app.job("order.render", effects="none", timeout_seconds=60, isolation="process")
    def render(context: JobContext, payload: Order) -> None:
        world.ran.append("here")

    ledger = InMemoryLedger(app)
    ledger.dispatch("order.render", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    assert world.ran == ["here"]


@pytest.mark.filterwarnings("error")
def test_no_file_no_thread_and_no_loop_is_left_behind(app: App) -> None:
    """A ledger needs not be closed: nothing warns of what was left open."""
    threads = set(threading.enumerate())
    ledger = InMemoryLedger(app)
    ledger.dispatch("order.greet", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    del ledger
    gc.collect()
    assert set(threading.enumerate()) == threads


def test_a_handler_cannot_drain(app: App) -> None:
    """The attempt that calls it fails; the drain goes on."""

    @app.job("order.drain", effects="none", timeout_seconds=60)
    def drain(context: JobContext, payload: Order) -> None:
        ledger.drain()

    ledger = InMemoryLedger(app)
    ledger.dispatch("order.drain", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    assert "a handler called drain()" in ledger.jobs().only.errors[0]


def test_a_handler_that_always_snoozes_does_not_hang_the_test(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drain that comes to no end says so."""
    monkeypatch.setattr("jobledger.infrastructure.testing.inline_work.ROUNDS_MAX", 50)

    @app.job("order.never", effects="none", timeout_seconds=60)
    def never(context: JobContext, payload: Order) -> None:
        raise Snooze(1, "not yet")

    ledger = InMemoryLedger(app)
    ledger.dispatch("order.never", {"order_id": "1"}, tenant="acme")
    with pytest.raises(AssertionError, match="did not come to an end within 50"):
        ledger.drain(until_idle=True)


def test_ctrl_c_ends_the_test_and_not_the_job_alone(app: App) -> None:
    """A worker survives what a handler raises; a test has to be able to stop."""

    @app.job("order.stop", effects="none", timeout_seconds=60)
    def stop(context: JobContext, payload: Order) -> None:
        raise KeyboardInterrupt

    @app.job("order.fail", effects="none", timeout_seconds=60)
    async def fail(context: JobContext, payload: Order) -> None:
        pytest.fail("from a fake")

    ledger = InMemoryLedger(app)
    ledger.dispatch("order.stop", {"order_id": "1"}, tenant="acme")
    with pytest.raises(KeyboardInterrupt):
        ledger.drain()
    ledger = InMemoryLedger(app)
    ledger.dispatch("order.fail", {"order_id": "1"}, tenant="acme")
    with pytest.raises(pytest.fail.Exception, match="from a fake"):
        ledger.drain()


# --- the client ----------------------------------------------------------------------------------------------------


def test_the_client_is_that_of_production(ledger: InMemoryLedger) -> None:
    """Refusals, idempotency, lists and manual acts are the same."""
    with pytest.raises(UnknownTenant):
        ledger.dispatch("order.pack", {"order_id": "1"}, tenant="nobody")
    with pytest.raises(UnknownJobType):
        ledger.dispatch("order.unheard", {"order_id": "1"}, tenant="acme")
    first = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme", idempotency_key="1")
    assert ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme", idempotency_key="1").duplicate
    results = ledger.dispatch_many([Dispatch("order.pack", {"order_id": "2"}, "acme"), Dispatch("order.pack", {})])
    assert [result.is_accepted for result in results] == [True, False]
    ledger.jobs.cancel(first.job_id, tenant="acme", reason="not wanted")
    assert {row.status.value for row in ledger.jobs.list(tenant="acme").rows} == {"cancelled", "pending"}
    assert [tenant.name for tenant in ledger.tenants.list()] == ["acme", "other"]
    assert ledger.of("acme").jobs.get(first.job_id).status == "cancelled"


def test_a_job_out_of_the_dlq_runs_again(ledger: InMemoryLedger) -> None:
    """The dead-letter queue works as in production."""
    ledger.fail_next("order.pack", ConnectionError("gone"), times=3)
    receipt = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    ledger.drain(until_idle=True)
    ledger.assert_dead(receipt, reason="attempts_exhausted")
    ledger.jobs.requeue(receipt.job_id, tenant="acme", reason="it answers again")
    ledger.drain()
    ledger.assert_completed(receipt)


def test_a_stand_in_for_a_transaction_commits_or_vanishes(ledger: InMemoryLedger) -> None:
    """Code that dispatches in its own transaction can be tested without a database."""
    with ledger.transaction() as connection:
        ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme", connection=connection)
        ledger.assert_not_dispatched()
    ledger.assert_dispatched(times=1)

    def fails(connection: object) -> None:
        ledger.dispatch("order.pack", {"order_id": "2"}, tenant="acme", connection=connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ledger.transaction() as connection:
        fails(connection)
    ledger.assert_dispatched(times=1)


# --- events --------------------------------------------------------------------------------------------------------


def test_an_event_leads_to_what_the_reactions_ask_for(ledger: InMemoryLedger) -> None:
    """A receipt for each dispatch of each reaction."""
    receipts = ledger.receive(OrderPaid("e1", "1"))
    assert [receipt.job_id for receipt in receipts] == [job.job_id for job in ledger.jobs(tenant="acme")]
    assert [job.job_type for job in ledger.jobs()] == ["order.pack", "order.ship"]


def test_an_event_leads_to_it_once(ledger: InMemoryLedger) -> None:
    """The same source and id again are a duplicate; another source's id is another event."""
    first = ledger.receive(OrderPaid("e1", "1"))
    again = ledger.receive(OrderPaid("e1", "1"))
    assert [receipt.job_id for receipt in again] == [receipt.job_id for receipt in first]
    assert all(receipt.duplicate for receipt in again)
    ledger.receive(OrderPaid("e1", "1", source="/elsewhere"))
    assert len(ledger.jobs()) == 4


def test_an_event_that_was_refused_may_come_again(ledger: InMemoryLedger) -> None:
    """A refusal is raised; it does not use the event up."""
    with pytest.raises(UnknownTenant):
        ledger.receive(OrderPaid("e1", "1", tenant="late"))
    ledger.tenants.create("late")
    ledger.receive(OrderPaid("e1", "1", tenant="late"))
    assert len(ledger.jobs(tenant="late")) == 2
