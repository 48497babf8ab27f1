"""Jobs that had an idempotency key before: which of them whoever uses it again may know of.

A key is one of a tenant and a job type, in whatever queue. Who may dispatch in some queues only is not told the id of a
job in another one.
"""

from __future__ import annotations

from concurrent.futures import Future
from threading import Thread

from jobledger.domain.event import Facts
from jobledger.domain.job import JobDispatched

from .ports import EventReader
from .writes import Outcome, WriteStatus

Queues = frozenset[str] | None
"""Those that somebody may know of; None for all."""


class Duplicates:
    """Looks at what became of writes, for somebody."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader

    def seen(self, outcomes: list[Outcome], tenant: str, queues: Queues) -> list[Outcome]:
        """The outcomes, without the ids of jobs in other queues."""
        first = [one.job_id for one in outcomes if one.status is WriteStatus.DUPLICATE and one.job_id is not None]
        if queues is None or not first:
            return outcomes
        began = self._reader.beginnings(tenant, first, limit=1)
        seen = {job_id for job_id, (event, *_) in began.items() if _queue_of(event.facts) in queues}
        return [one if one.job_id in seen else one._replace(job_id=None) for one in outcomes]

    def seen_later(self, outcomes: list[Outcome], tenant: str, queues: Queues) -> Future[list[Outcome]]:
        """The same on a thread of its own, for who must not wait while it reads. Rare: keys are mostly new."""
        found: Future[list[Outcome]] = Future()

        def look() -> None:
            try:
                found.set_result(self.seen(outcomes, tenant, queues))
            except Exception as error:  # noqa: BLE001 - whoever waits is told
                found.set_exception(error)

        Thread(target=look, name="jobledger-duplicates", daemon=True).start()
        return found

    def seen_each(self, outcomes: list[Outcome], asked: list[tuple[str, Queues]]) -> list[Outcome]:
        """The same for many, with the tenant and the queues of each."""
        told = list(outcomes)
        for tenant, queues in {one for one in asked if one[1] is not None}:
            numbers = [number for number, one in enumerate(asked) if one == (tenant, queues)]
            seen = self.seen([outcomes[number] for number in numbers], tenant, queues)
            for number, outcome in zip(numbers, seen, strict=True):
                told[number] = outcome
        return told


def _queue_of(facts: Facts) -> str | None:
    return facts.queue if isinstance(facts, JobDispatched) else None
