"""What is shown while the demo runs, folded from the ledger's events: a small read model that lives in memory.

It sees what any subscriber sees, whichever process did the work.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobDiscarded,
    JobDispatched,
    JobFacts,
    JobFailed,
    JobInterrupted,
    JobRequeued,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
)
from jobledger.domain.refusal import DispatchRefused


class Place(StrEnum):
    """Where a job is, as far as somebody who watches cares."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead"
    GONE = "gone"


_MOVES: dict[type[JobFacts], Place] = {
    JobDispatched: Place.WAITING,
    JobStarted: Place.RUNNING,
    JobRetried: Place.WAITING,
    JobSnoozed: Place.WAITING,
    JobInterrupted: Place.WAITING,
    JobStalled: Place.WAITING,
    JobRequeued: Place.WAITING,
    JobCompleted: Place.DONE,
    JobSentToDlq: Place.DEAD,
    JobCancelled: Place.GONE,
    JobDiscarded: Place.GONE,
}


class Tally(NamedTuple):
    """The jobs of one type: how many are where, and how often one was retried."""

    waiting: int
    running: int
    done: int
    dead: int
    retries: int

    @property
    def all(self) -> int:
        """All jobs."""
        return self.waiting + self.running + self.done + self.dead

    @property
    def ended(self) -> int:
        """Those that need no worker any more."""
        return self.done + self.dead


@dataclass(slots=True)
class Watched:
    """One job as the board knows it."""

    job_id: UUID
    tenant: str
    job_type: str
    place: Place
    retries: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Board:
    """The state of all jobs. `take` each event once, in the order of the ledger."""

    jobs: dict[UUID, Watched] = field(default_factory=dict)
    events: int = 0
    refused: int = 0
    cost: float = 0.0

    def take(self, event: RecordedEvent) -> None:
        """Move what the event moves."""
        self.events += 1
        facts = event.facts
        if isinstance(facts, DispatchRefused):
            self.refused += 1
        if not isinstance(facts, JobFacts):
            return
        place = _MOVES.get(type(facts))
        job = self.jobs.setdefault(
            event.originator_id, Watched(event.originator_id, event.tenant, facts.job_type, Place.WAITING)
        )
        job.place = place or job.place
        if isinstance(facts, JobRetried):
            job.retries += 1
        if isinstance(facts, JobFailed):
            job.errors.append(facts.message)
        if isinstance(facts, JobFailed | JobCompleted):
            self.cost += facts.estimated_cost

    def tally(self, job_type: str | None = None) -> Tally:
        """The jobs of one type, or of all."""
        jobs = [job for job in self.jobs.values() if job_type in (None, job.job_type)]
        places = Counter(job.place for job in jobs)
        return Tally(
            places[Place.WAITING], places[Place.RUNNING], places[Place.DONE], places[Place.DEAD],
            sum(job.retries for job in jobs),
        )  # fmt: skip

    def job_types(self) -> list[str]:
        """The types that were seen, in the order of their first job."""
        return list(dict.fromkeys(job.job_type for job in self.jobs.values()))

    def is_drained(self, dispatched: int) -> bool:
        """Whether this many jobs were dispatched, and none of them waits or runs."""
        tally = self.tally()
        return tally.all >= dispatched and tally.ended == tally.all

    def most_retried(self) -> Watched | None:
        """The job that was retried most often and made it in the end."""
        done = [job for job in self.jobs.values() if job.place is Place.DONE and job.retries]
        return max(done, key=lambda job: job.retries, default=None)
