"""What attempts are estimated to cost, by the rate card of their type (R4.8)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobledger.application.app import App
from jobledger.application.job_context import JobContext
from jobledger.application.worker import Worker, WorkerOptions
from jobledger.domain.job import JobCompleted, JobFailed
from jobledger.domain.rate_card import RateCard
from jobledger.domain.retry import Retry
from tests.support.fake_ledger import FakeLedger

CPU_SECONDS = 2.0
"""What each attempt uses, by the clock of these tests."""


class Payload(BaseModel):
    """Nothing."""


def _run(ledger: FakeLedger, handler: Callable[[JobContext, Payload], None], card: RateCard) -> UUID:
    app = App("tested", code_version="1")
    app.job("tested.one", effects="none", rate_card=card, retry=Retry.fixed(max_attempts=3, base_seconds=0))(handler)
    job_id = ledger.dispatch(app, "tested.one", retry=Retry.fixed(max_attempts=3, base_seconds=0))
    ticks = count(0)
    options = WorkerOptions(drain=True, concurrency=1)
    worker = Worker(
        app.jobs, ledger.ports, options, code_version="1", cpu_seconds=lambda: next(ticks) * CPU_SECONDS
    )  # fmt: skip
    worker.run()
    return job_id


def _costs(ledger: FakeLedger, job_id: UUID) -> list[tuple[str, float, str]]:
    """Each ending of an attempt with its cost and the version of the card."""
    facts = [event.facts for event in ledger.events[job_id]]
    return [
        (type(fact).__name__, fact.estimated_cost, fact.rate_card_version)
        for fact in facts
        if isinstance(fact, JobCompleted | JobFailed)
    ]


@pytest.mark.parametrize(
    ("card", "cost"),
    [
        (RateCard(version="v1", per_attempt=0.25), 0.25),
        (RateCard(version="v1", per_cpu_second=0.1), 0.2),
        (RateCard(version="v1", per_unit={"tokens": 0.001}), 1.2),
        (RateCard(version="v1", per_unit={"pages": 7.0}), 0.0),
        (RateCard(version="v1", per_attempt=0.25, per_cpu_second=0.1, per_unit={"tokens": 0.001}), 1.65),
    ],
    ids=["an attempt", "a CPU second", "a unit", "a unit that was not used", "all of them"],
)
def test_each_price_is_charged(ledger: FakeLedger, card: RateCard, cost: float) -> None:
    """An attempt, each CPU second, each unit that was reported, however often it was."""

    def handler(context: JobContext, _: Payload) -> None:
        context.usage("tokens", 800)
        context.usage(tokens=400)

    assert _costs(ledger, _run(ledger, handler, card)) == [("JobCompleted", cost, "v1")]


def test_failed_attempts_cost_too(ledger: FakeLedger) -> None:
    """The provider was called, whatever became of its answer: each attempt has its own cost."""
    card = RateCard(version="v2", per_attempt=1.0, per_cpu_second=0.5, per_unit={"tokens": 0.01})

    def handler(context: JobContext, _: Payload) -> None:
        context.usage("tokens", 100 * context.attempt)
        if context.attempt < 3:
            raise RuntimeError("the provider hung up")

    assert _costs(ledger, _run(ledger, handler, card)) == [
        ("JobFailed", 3.0, "v2"), ("JobFailed", 4.0, "v2"), ("JobCompleted", 5.0, "v2"),
    ]  # fmt: skip


def test_a_card_without_a_version_is_charged_as_well(ledger: FakeLedger) -> None:
    """Prices are prices; that nobody named their version must not make them nothing."""

    def handler(context: JobContext, _: Payload) -> None:
        """Do nothing."""

    job_id = _run(ledger, handler, RateCard(per_attempt=0.5))
    assert _costs(ledger, job_id) == [("JobCompleted", 0.5, "none")]
