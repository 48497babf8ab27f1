"""Dispatching from an event loop: the same answers and records as on a thread, without waiting for anything else."""

from __future__ import annotations

import asyncio

import pytest

from jobledger.application.commands import DispatchJob, Receipt
from jobledger.application.dispatch_item import Dispatch
from jobledger.application.queries import GetJob
from jobledger.application.result import Accepted, Refused, Result
from jobledger.domain.errors import IdempotencyConflict, InvalidInput, LedgerUnavailable
from tests.support.use_cases import ACTOR, UseCases, item


@pytest.fixture
def cases() -> UseCases:
    """A ledger in memory that knows the type and the tenant already."""
    cases = UseCases()
    cases.dispatch(invoice_id="0")
    return cases


def dispatch(cases: UseCases, one: Dispatch) -> Result[Receipt]:
    """Dispatch it in an event loop."""
    return asyncio.run(cases.dispatcher.execute_async(DispatchJob(actor=ACTOR, item=one)))


def test_what_has_to_be_asked_for_may_wait(cases: UseCases) -> None:
    """The first item of a kind asks for tenant and type; later ones do not, until that is two seconds old."""
    fresh = UseCases()
    command = DispatchJob(actor=ACTOR, item=item())
    assert fresh.dispatcher.may_wait(command)
    assert not cases.dispatcher.may_wait(command)
    assert cases.dispatcher.may_wait(DispatchJob(actor=ACTOR, item=item(), connection=object()))
    assert cases.dispatcher.may_wait(DispatchJob(actor=ACTOR, item=item(queue="keyed")))
    cases.clock.advance(3)
    assert cases.dispatcher.may_wait(command)


def test_messages_that_nobody_begins_may_wait(cases: UseCases) -> None:
    """Only dispatches are begun; everything else belongs on a thread."""
    job_id = cases.dispatch(invoice_id="1").job_id
    assert cases.dispatcher.may_wait(GetJob(actor=ACTOR, tenant="acme", job=job_id))


def test_a_job_is_dispatched(cases: UseCases) -> None:
    """It is durable once answered, with its position."""
    result = dispatch(cases, item())
    assert isinstance(result, Accepted)
    assert cases.topics(result.value.job_id) == ["job.dispatched"]
    assert result.position == result.value.position is not None


def test_the_same_key_gives_the_first_job_back(cases: UseCases) -> None:
    """And with another payload it is refused, which is recorded."""
    first, again = dispatch(cases, item(idempotency_key="k")), dispatch(cases, item(idempotency_key="k"))
    assert isinstance(first, Accepted)
    assert isinstance(again, Accepted)
    assert (again.value.job_id, again.value.duplicate) == (first.value.job_id, True)
    other = dispatch(cases, item(invoice_id="other", idempotency_key="k"))
    assert isinstance(other, Refused)
    assert type(other.error) is IdempotencyConflict
    assert [refusal.code for refusal in cases.refusals()] == ["idempotency_conflict"]


def test_a_payload_that_breaks_a_rule_is_refused_and_recorded(cases: UseCases) -> None:
    """As on a thread: the record is durable before the answer."""
    result = dispatch(cases, item(payload={"invoice_id": 7, "x": 1}))
    assert isinstance(result, Refused)
    assert isinstance(result.error, InvalidInput)
    assert [refusal.code for refusal in cases.refusals()] == [result.error.code]


def test_trouble_of_the_ledger_is_raised(cases: UseCases) -> None:
    """Nothing is acknowledged that is not durable."""
    cases.ledger.writer.unavailable = LedgerUnavailable("away")
    with pytest.raises(LedgerUnavailable):
        dispatch(cases, item())
