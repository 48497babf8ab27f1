"""What a test can make go wrong: attempts that fail, workers that die, jobs that are delivered twice."""

from __future__ import annotations

from contextlib import suppress

import pytest

from jobledger import App, Dispatch, JobContext, NeverRetry, UnknownJobType
from jobledger.testing import InMemoryLedger

from .shop import Order, World

CRASHED = ["job.dispatched", "job.started", "job.stalled", "job.started"]


def test_the_next_attempts_fail_and_later_ones_do_not(ledger: InMemoryLedger, world: World) -> None:
    """As if the handler had raised it; the handler itself does not run."""
    ledger.fail_next("order.pack", ConnectionError("gone"), times=2)
    receipt = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    ledger.drain(until_idle=True)
    assert ledger.jobs().only.errors == ("ConnectionError: gone",) * 2
    assert (ledger.jobs().only.attempt, world.ran) == (3, ["1"])
    ledger.assert_completed(receipt)


def test_an_error_means_what_it_means_in_production(ledger: InMemoryLedger) -> None:
    """A handler's signals work; coroutines fail alike."""
    ledger.fail_next("order.greet", NeverRetry("closed"))
    ledger.dispatch("order.greet", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    ledger.assert_dead(reason="unrecoverable")


def test_a_type_that_the_app_does_not_have_is_a_mistake_of_the_test(ledger: InMemoryLedger) -> None:
    """A plan for it would never come true."""
    with pytest.raises(UnknownJobType):
        ledger.fail_next("order.unheard", ValueError())
    with pytest.raises(UnknownJobType):
        ledger.crash_next("order.unheard")


def test_a_worker_dies_between_an_effect_and_its_record(ledger: InMemoryLedger, world: World) -> None:
    """The step runs again, with the same key; steps before it do not, and nothing of the dead attempt is recorded."""
    ledger.crash_next("order.charge", after_step="mail")
    receipt = ledger.dispatch("order.charge", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    assert ledger.events(receipt) == ["job.dispatched", "job.started", "job.step_recorded"]
    assert (len(world.charges), world.mails) == (1, ["1"])
    with pytest.raises(AssertionError, match="its worker, worker-1, died: its lease has to end"):
        ledger.assert_completed(receipt)
    ledger.drain(until_idle=True)
    assert (len(world.charges), world.mails) == (1, ["1", "1"])
    assert ledger.events(receipt) == [
        "job.dispatched", "job.started", "job.step_recorded", "job.stalled", "job.started", "job.step_recorded",
        "job.completed",
    ]  # fmt: skip


def test_a_worker_dies_before_the_ending_is_recorded(ledger: InMemoryLedger, world: World) -> None:
    """The job runs a second time; the death counts as stalled, not as an attempt."""
    ledger.crash_next("order.pack")
    receipt = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    ledger.clock.advance(29)
    assert ledger.drain() == 0
    ledger.clock.advance(2)
    assert ledger.drain() == 1
    assert (ledger.events(receipt), world.ran) == ([*CRASHED, "job.completed"], ["1", "1"])
    assert ledger.jobs().only.state.attempts_counted == 1


def test_what_was_recorded_before_the_death_stays(app: App) -> None:
    """Progress reaches the ledger while a handler runs; it dies of its ending alone."""

    @app.job("order.tell", effects="none", timeout_seconds=60)
    def tell(context: JobContext, payload: Order) -> None:
        context.progress(0.5)

    ledger = InMemoryLedger(app)
    ledger.crash_next("order.tell")
    receipt = ledger.dispatch("order.tell", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    assert ledger.events(receipt) == ["job.dispatched", "job.started", "job.progressed"]


def test_coroutines_die_alike(ledger: InMemoryLedger, world: World) -> None:
    """At a step, which is recorded on another thread."""
    ledger.crash_next("order.greet", after_step="greet")
    receipt = ledger.dispatch("order.greet", {"order_id": "1"}, tenant="acme")
    ledger.drain(until_idle=True)
    assert ledger.events(receipt) == [*CRASHED, "job.step_recorded", "job.completed"]
    assert world.ran == ["1", "1"]


def test_a_handler_that_catches_everything_does_not_outlive_its_worker(app: App) -> None:
    """What it reports, records and dispatches after the death is lost, as it would be."""

    @app.job("order.stubborn", effects="steps", timeout_seconds=60)
    def stubborn(context: JobContext, payload: Order) -> str:
        if context.attempt == 1:
            with suppress(BaseException):
                context.step("one", lambda: 1)
            with suppress(BaseException):
                context.step("two", lambda: 2)
            with suppress(BaseException):
                context.dispatch(Dispatch("order.pack", {"order_id": "1"}))
            context.log("still here")
        return "survived"

    ledger = InMemoryLedger(app)
    ledger.crash_next("order.stubborn", after_step="one")
    receipt = ledger.dispatch("order.stubborn", {"order_id": "1"}, tenant="acme")
    ledger.drain(until_idle=True)
    assert ledger.events(receipt) == [*CRASHED, "job.completed"]
    ledger.assert_not_dispatched(type="order.pack")


def test_too_many_deaths_are_the_end_of_a_job(ledger: InMemoryLedger) -> None:
    """A job that kills its workers runs out of its budget for that."""
    for _ in range(4):
        ledger.crash_next("order.pack")
    ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    ledger.drain(until_idle=True)
    ledger.assert_dead(reason="stalled")


# --- idempotency -----------------------------------------------------------------------------------------------------


def test_a_careless_step_is_found(ledger: InMemoryLedger, world: World) -> None:
    """The message names the step, what changed, and what helps."""
    receipt = ledger.dispatch("order.charge", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    with pytest.raises(AssertionError) as caught:
        ledger.assert_idempotent(receipt, effects=lambda: world.mails)
    assert str(caught.value) == (
        "order.charge was delivered again after the record of step 'mail' was lost, and had effects\n"
        "  before: ['1']\n"
        "  after:  ['1', '1']\n"
        "hand context.step_key('mail') to the provider as its idempotency key"
    )
    ledger.assert_idempotent(receipt, effects=lambda: world.charges)


def test_an_effect_outside_of_steps_is_found(ledger: InMemoryLedger, world: World) -> None:
    """It happens with every delivery."""
    receipt = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    with pytest.raises(
        AssertionError, match=r"after its ending was lost, and had effects[\s\S]*wrap it in context\.step"
    ):
        ledger.assert_idempotent(receipt, effects=lambda: world.ran)


def test_children_of_a_second_delivery_are_the_same_jobs(ledger: InMemoryLedger, app: App, world: World) -> None:
    """Those of another key are found."""

    @app.job("order.split", effects="none", timeout_seconds=60)
    def split(context: JobContext, payload: Order) -> None:
        context.dispatch(Dispatch("order.pack", {"order_id": f"{context.attempt}"}))

    ledger = InMemoryLedger(app)
    shipped = ledger.dispatch("order.ship", {"order_id": "1"}, tenant="acme")
    split_up = ledger.dispatch("order.split", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    ledger.assert_idempotent(shipped, effects=lambda: None)
    with pytest.raises(AssertionError, match=r"dispatched jobs of another key[\s\S]*order\.pack  acme  pending"):
        ledger.assert_idempotent(split_up, effects=lambda: None)


def test_a_second_delivery_that_fails_is_found(app: App, world: World) -> None:
    """Say, because a provider refuses what it has done already. Coroutines are delivered again, too."""

    @app.job("order.once", effects="none", timeout_seconds=60)
    async def once(context: JobContext, payload: Order) -> None:
        if world.ran:
            raise FileExistsError("done already")
        world.ran.append("once")

    ledger = InMemoryLedger(app)
    receipt = ledger.dispatch("order.once", {"order_id": "1"}, tenant="acme")
    ledger.drain()
    with pytest.raises(AssertionError, match="and failed: FileExistsError: done already"):
        ledger.assert_idempotent(receipt, effects=lambda: world.ran)


def test_a_second_delivery_leaves_no_trace(ledger: InMemoryLedger, world: World) -> None:
    """The job's history stays as it was."""
    receipt = ledger.dispatch("order.charge", {"order_id": "1"}, tenant="acme")
    with pytest.raises(AssertionError, match="a job is pending, not completed"):
        ledger.assert_idempotent(receipt, effects=lambda: world.charges)
    ledger.drain()
    before = ledger.jobs().only
    ledger.assert_idempotent(receipt, effects=lambda: world.charges)
    assert ledger.jobs().only == before
