"""What stands in a waiting job's way is told as the next claim would find it."""

from __future__ import annotations

import pytest

from jobledger.application.ports import Standing
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import Limits, Rate, Scope, Target

from .limits_support import BOUND, GPT, SCOPES, TARGETS, limit
from .support import LedgerUnderTest

HOURLY = Rate(count=10, seconds=3_600)
BOTH = Limits(concurrency=5, rate=HOURLY)


def standing(ledger: LedgerUnderTest, *targets: Target, limits: Limits = BOTH, lock_key: str | None = None) -> Standing:
    """How far these are from limits."""
    return ledger.queue.standing(dict.fromkeys(targets, limits), tenant="acme", lock_key=lock_key)


@pytest.mark.parametrize("target", TARGETS, ids=SCOPES)
def test_what_runs_and_what_was_started_is_counted(ledger: LedgerUnderTest, target: Target) -> None:
    """What ended runs no more, but was started in the rate's window. What waits is neither."""
    limit(ledger, target, concurrency=5, rate=(10, 3_600))
    for _ in range(3):
        ledger.dispatch(**BOUND)
    first, _ = ledger.claim(limit=2).jobs
    assert standing(ledger, target) == Standing({target: 2}, {target: 2})
    ledger.complete(first)
    assert standing(ledger, target) == Standing({target: 1}, {target: 2})


@pytest.mark.parametrize("target", TARGETS, ids=SCOPES)
def test_what_is_another_targets_is_not_counted(ledger: LedgerUnderTest, target: Target) -> None:
    """Jobs of another queue, tenant, persona and key stand in nobody's way."""
    ledger.dispatch(tenant="other", queue="elsewhere", persona="someone", limit_key="llama")
    assert len(ledger.claimed_ids(queues=("elsewhere",))) == 1
    assert standing(ledger, target) == Standing({target: 0}, {target: 0})


def test_a_key_is_counted_by_itself(ledger: LedgerUnderTest) -> None:
    """Under a prefix, too: the limit is each key's own."""
    limit(ledger, Target(Scope.KEY, "acme", "g*"), rate=(10, 3_600))
    for key in ("gpt", "gpt", "gemini"):
        ledger.dispatch(limit_key=key)
    assert len(ledger.claim().jobs) == 3
    gemini = GPT._replace(subject="gemini")
    assert standing(ledger, GPT, gemini) == Standing({GPT: 2, gemini: 1}, {GPT: 2, gemini: 1})


def test_only_what_is_limited_is_told(ledger: LedgerUnderTest) -> None:
    """A target without a rate has no window, one without a concurrency no jobs at a time."""
    assert standing(ledger, GPT, limits=Limits(concurrency=1)) == Standing({GPT: 0}, {})
    assert standing(ledger, GPT, limits=Limits(rate=HOURLY)) == Standing({}, {GPT: 0})
    assert standing(ledger) == Standing({}, {})


def test_the_holder_of_a_lock_key_is_named(ledger: LedgerUnderTest) -> None:
    """While it runs, to its own tenant; a job that waits for the key holds nothing."""
    ledger.dispatch(tenant="other", lock_key="invoice:42")
    assert standing(ledger, lock_key="invoice:42").lock_holder is None
    mine = ledger.dispatch(lock_key="invoice:42")
    ledger.dispatch(lock_key="invoice:42")
    assert standing(ledger, lock_key="invoice:42").lock_holder is None
    (job,) = (job for job in ledger.claim().jobs if job.tenant == "acme")
    assert (job.job_id, job.state.status) == (mine, JobStatus.IN_PROGRESS)
    assert standing(ledger, lock_key="invoice:42").lock_holder == mine
    assert standing(ledger, lock_key="invoice:43").lock_holder is None
    ledger.complete(job)
    assert standing(ledger, lock_key="invoice:42").lock_holder is None
