"""Wakes workers when a commit made jobs ready."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobledger.domain.job import JobFacts, JobStatus
from jobledger.domain.limit import Scope

from .ports import WakeUp
from .writes import AppendEvents, LimitRow, NewJob, Outcome, Write, WriteStatus

ANY_QUEUE = "*"
"""Stands for all queues in a hint: jobs of a tenant, a persona or a key may wait in any of them."""


def waking(wake_up: WakeUp) -> Callable[[Sequence[Write], Sequence[Outcome]], None]:
    """A listener for the ledger's writer: names the queues that have ready jobs now."""

    def committed(writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        queues = {
            queue
            for write, outcome in zip(writes, outcomes, strict=True)
            if outcome.status is WriteStatus.WRITTEN and (queue := _made_ready(write)) is not None
        }
        if queues:
            wake_up.notify(frozenset(queues))

    return committed


def _made_ready(write: Write) -> str | None:
    if isinstance(write, NewJob):
        return write.state.queue if write.state.status is JobStatus.PENDING else None
    if isinstance(write, AppendEvents):
        return _let_go(write.catalogue) if isinstance(write.catalogue, LimitRow) else None
    if write.change is None or write.change.status is not JobStatus.PENDING:
        return None
    facts = write.events[-1].facts
    return facts.queue if isinstance(facts, JobFacts) else None


def _let_go(row: LimitRow) -> str | None:
    """The queue whose jobs may start now that a target was limited otherwise, or resumed."""
    if row.state.paused:
        return None
    return row.target.subject if row.target.scope is Scope.QUEUE else ANY_QUEUE
