"""The assertions: what they accept, and what their failures show."""

from __future__ import annotations

import pytest

from jobledger import NeverRetry, NotFound, UnknownTenant
from jobledger.testing import InMemoryLedger

from .shop import Order


@pytest.fixture
def busy(ledger: InMemoryLedger) -> InMemoryLedger:
    """A ledger with a completed, a dead, a delayed and a waiting job, and a refusal."""
    ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme", persona="bot")
    ledger.drain()
    ledger.fail_next("order.pack", NeverRetry("no such order"))
    ledger.dispatch("order.pack", {"order_id": "2"}, tenant="other")
    ledger.drain()
    ledger.fail_next("order.charge", ConnectionError("503"))
    ledger.dispatch("order.charge", {"order_id": "3"}, tenant="acme")
    ledger.drain()
    ledger.dispatch("order.ship", {"order_id": "4"}, tenant="acme")
    with pytest.raises(UnknownTenant):
        ledger.dispatch("order.ship", {"order_id": "5"}, tenant="nobody")
    return ledger


def test_dispatched_jobs_are_found_by_what_is_known_of_them(busy: InMemoryLedger) -> None:
    """Type, tenant, persona, queue, status, and payload by some fields, by a model, or by a predicate."""
    assert busy.assert_dispatched(type="order.pack", tenant="acme", persona="bot").only.result == 1
    assert len(busy.assert_dispatched(type="order.pack", times=2)) == 2
    assert busy.assert_dispatched(queue="billing").only.job_type == "order.charge"
    assert busy.assert_dispatched(status="dlq").only.tenant == "other"
    assert busy.assert_dispatched(payload={"order_id": "3"}).only.job_type == "order.charge"
    assert busy.assert_dispatched(payload=Order(order_id="3")).only.job_type == "order.charge"
    assert busy.assert_dispatched(payload=lambda payload: payload["order_id"] == "3").only.job_type == "order.charge"
    assert len(busy.assert_dispatched(persona=None)) == 3
    busy.assert_not_dispatched(type="order.pack", tenant="acme", persona="other-bot")
    busy.assert_not_dispatched(payload={"order_id": "1", "unheard": 1})
    busy.assert_dispatched(times=0, type="order.greet")


def test_a_job_that_was_not_dispatched_fails_with_those_that_were(busy: InMemoryLedger) -> None:
    """The message lists every job, with the errors of those in trouble, and every refusal."""
    with pytest.raises(AssertionError) as caught:
        busy.assert_dispatched(type="order.greet", tenant="acme")
    assert str(caught.value) == (
        "0 jobs with type='order.greet', tenant='acme', expected at least one\n"
        "what was dispatched:\n"
        "  order.pack  acme/bot  completed  {'order_id': '1', 'copies': 1}\n"
        "  order.pack  other  dlq  {'order_id': '2', 'copies': 1}  (NeverRetry: no such order)\n"
        "  order.charge  acme  delayed  {'order_id': '3', 'copies': 1}  (ConnectionError: 503)\n"
        "  order.ship  acme  pending  {'order_id': '4', 'copies': 1}\n"
        "refused: order.ship for nobody: there is no tenant 'nobody'"
    )


def test_too_many_or_unwanted_jobs_are_listed(busy: InMemoryLedger) -> None:
    """So that nobody has to look for them."""
    with pytest.raises(AssertionError, match=r"2 jobs with type='order\.pack', expected 1"):
        busy.assert_dispatched(type="order.pack", times=1)
    with pytest.raises(AssertionError, match=r"1 job with queue='billing', expected none:\n  order\.charge"):
        busy.assert_not_dispatched(queue="billing")


def test_only_is_the_one_there_is(busy: InMemoryLedger) -> None:
    """None or several are listed."""
    with pytest.raises(AssertionError, match=r"2 jobs with type='order\.pack', not one\n  order\.pack"):
        _ = busy.jobs(type="order.pack").only
    with pytest.raises(AssertionError, match=r"0 jobs with type='order\.greet', not one"):
        _ = busy.jobs(type="order.greet").only
    assert repr(busy.jobs(type="order.greet")) == "<0 jobs with type='order.greet'>"


def test_completed_means_all_that_are_meant_and_at_least_one(busy: InMemoryLedger) -> None:
    """By job, or by what is known of it."""
    busy.assert_completed(type="order.pack", tenant="acme")
    with pytest.raises(AssertionError, match="a job is dlq, not completed"):
        busy.assert_completed(type="order.pack")
    with pytest.raises(AssertionError, match=r"0 jobs with type='order\.greet'\nwhat was dispatched:\n"):
        busy.assert_completed(type="order.greet")


def test_a_job_that_did_not_complete_tells_its_story(busy: InMemoryLedger) -> None:
    """Events, errors, the end of the traceback, and what to do about it."""
    with pytest.raises(AssertionError) as caught:
        busy.assert_completed(type="order.charge")
    message = str(caught.value)
    assert "events: job.dispatched, job.started, job.failed, job.retried" in message
    assert "attempt failed: ConnectionError: 503" in message
    assert "s: move the clock, or drain(until_idle=True)" in message
    assert "| ConnectionError: 503" in message
    with pytest.raises(AssertionError, match=r"nothing holds it: was drain\(\) called\?"):
        busy.assert_completed(type="order.ship")


def test_dead_may_name_the_reason(busy: InMemoryLedger) -> None:
    """A job that lives, or died of something else, fails with its story."""
    assert (
        busy.assert_dead(type="order.pack", tenant="other", reason="unrecoverable").only.dlq_reason == "unrecoverable"
    )
    with pytest.raises(AssertionError, match="a job is dead: unrecoverable, not stalled"):
        busy.assert_dead(type="order.pack", tenant="other", reason="stalled")
    with pytest.raises(AssertionError, match="a job is delayed, not dead"):
        busy.assert_dead(type="order.charge")


def test_a_job_is_named_by_its_receipt_its_id_or_the_end_of_it(busy: InMemoryLedger) -> None:
    """Whatever a test has at hand."""
    receipt = busy.dispatch("order.greet", {"order_id": "9"}, tenant="acme")
    names = (receipt, receipt.job_id, str(receipt.job_id), receipt.job_id.hex[-8:], busy.jobs()[-1])
    assert [busy.events(name) for name in names] == [["job.dispatched"]] * 5
    with pytest.raises(NotFound):
        busy.events("00000000")


def test_a_seen_job_shows_what_its_handler_left(ledger: InMemoryLedger) -> None:
    """Result, steps, logs, progress and errors, in plain values."""
    receipt = ledger.dispatch("order.charge", {"order_id": "1"}, tenant="acme")
    ledger.fail_next("order.charge", ConnectionError("503"))
    ledger.drain(until_idle=True)
    job = ledger.jobs(payload={"order_id": "1"}).only
    assert (job.job_id, job.attempt, job.status) == (receipt.job_id, 2, "completed")
    assert job.steps == {"charge": "1", "mail": None}
    assert job.result == f"{receipt.job_id}/charge"
    assert job.errors == ("ConnectionError: 503",)
    assert job.traceback.endswith("ConnectionError: 503\n")
    assert (job.log_lines, job.progress, job.dlq_reason) == ((), (), None)
