"""What the contract tests say of limits: short words for limiting, pausing, ending attempts and counting starts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import reduce
from typing import Any
from uuid import UUID

from jobledger.application.ports import OpenJob
from jobledger.application.writes import AppendEvents, LimitRow, WriteStatus
from jobledger.domain import limit as decisions
from jobledger.domain.event import Event, Facts
from jobledger.domain.job import JobFacts, Lease
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target, evolve, queue_target, tenant_target

from .support import LedgerUnderTest, metadata

_ENDS = {"job.completed", "job.failed", "job.stalled", "job.interrupted", "job.snoozed"}

BOT = Target(Scope.PERSONA, "acme", "bot")
GPT = Target(Scope.KEY, "acme", "gpt")
TARGETS = [queue_target("default"), tenant_target("acme"), BOT, GPT]
"""One of each scope: jobs dispatched with `BOUND` are of all of them."""
BOUND: dict[str, Any] = {"persona": "bot", "limit_key": "gpt"}
SCOPES = [str(target.scope) for target in TARGETS]


def limit(
    ledger: LedgerUnderTest,
    target: Target,
    *,
    concurrency: int | None = None,
    rate: tuple[int, float] | None = None,
    weight: int = 1,
) -> None:
    """These are the target's limits from now on; with nothing given, there are none. `rate`: starts, seconds."""
    rated = None if rate is None else Rate(count=rate[0], seconds=rate[1])
    limits = Limits(concurrency=concurrency, rate=rated, weight=weight)
    _decide(ledger, target, lambda state: decisions.limit(state, target, limits, reason="test"))


def pause(ledger: LedgerUnderTest, target: Target) -> None:
    """Start nothing of the target."""
    _decide(ledger, target, lambda state: decisions.pause(state, target, reason="test"))


def resume(ledger: LedgerUnderTest, target: Target) -> None:
    """Start jobs of the target again."""
    _decide(ledger, target, lambda state: decisions.resume(state, target, reason="test"))


def apply_limits(ledger: LedgerUnderTest) -> None:
    """As maintenance does, until there is nothing left to do."""
    while ledger.queue.apply_limits():
        pass


def end(ledger: LedgerUnderTest, job: OpenJob, decide: Callable[[OpenJob, Lease], tuple[JobFacts, ...]]) -> None:
    """An attempt ends as decided."""
    lease = Lease(job.state.worker or "", job.state.attempt)
    assert ledger.change(job, *decide(job, lease), lease=lease).status is WriteStatus.WRITTEN


def works_off(ledger: LedgerUnderTest, *, limit: int = 10) -> list[UUID]:
    """Claim and complete until nothing is left, waiting where a rate says so; the jobs in the order of their claims."""
    done: list[UUID] = []
    while True:
        claim = ledger.claim(limit)
        for job in claim.jobs:
            ledger.complete(job)
            done.append(job.job_id)
        if not claim.jobs and claim.again_seconds is None:
            return done
        if not claim.jobs:
            ledger.wake_up.wait(claim.again_seconds or 0.0)


def most_starts_in_a_window(ledger: LedgerUnderTest, seconds: float) -> int:
    """The most `job.started` that were recorded in any window of so many seconds."""
    events = ledger.reader.read_after(0, limit=100_000).events
    starts = sorted(event.recorded_at for event in events if event.topic == "job.started")
    return max(sum(1 for start in starts if 0 <= (start - first).total_seconds() <= seconds) for first in starts)


def most_running(ledger: LedgerUnderTest) -> int:
    """The most attempts that were under way at any position of the ledger."""
    running = most = 0
    for event in ledger.reader.read_after(0, limit=100_000).events:
        running += (event.topic == "job.started") - (event.topic in _ENDS)
        most = max(most, running)
    return most


def _decide(ledger: LedgerUnderTest, target: Target, decide: Callable[[FlowState], tuple[Facts, ...]]) -> None:
    past = ledger.reader.stream(target.tenant, target.stream)
    state = reduce(evolve, (event.facts for event in past), FlowState())
    facts = decide(state)
    if not facts:
        return
    about = metadata(time=datetime.now(UTC))
    events = tuple(
        Event(target.stream, version, target.tenant, about, fact) for version, fact in enumerate(facts, len(past) + 1)
    )
    row = LimitRow(target, reduce(evolve, facts, state))
    assert ledger.write(AppendEvents(events, row)).status is WriteStatus.WRITTEN
