"""The attempts of a job: when each began, where it ran, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobInterrupted,
    JobSnoozed,
    JobStalled,
    JobStarted,
)

ATTEMPTS_SHOWN = 20
"""The last attempts of a job that are told one by one."""

_ENDINGS = (JobCompleted, JobFailed, JobStalled, JobInterrupted, JobSnoozed, JobCancelled)


class Attempt(NamedTuple):
    """One attempt of a job, and how it ended (None: it runs). `error` is that of one that failed or stalled."""

    number: int
    worker: str
    started_at: datetime
    ended_at: datetime | None
    ending: str | None
    error: str


def attempts_of(events: Sequence[RecordedEvent]) -> tuple[Attempt, ...]:
    """The attempts of a job, in order, and how each ended."""
    attempts: list[Attempt] = []
    for event in events:
        facts = event.facts
        if isinstance(facts, JobStarted):
            attempts.append(Attempt(facts.attempt, facts.worker, event.recorded_at, None, None, ""))
        elif isinstance(facts, _ENDINGS) and attempts and attempts[-1].ended_at is None:
            ending = event.topic.removeprefix("job.")
            attempts[-1] = attempts[-1]._replace(ended_at=event.recorded_at, ending=ending, error=_error(event))
    return tuple(attempts)


def _error(event: RecordedEvent) -> str:
    facts = event.facts
    if isinstance(facts, JobFailed):
        return f"{facts.error_type}: {facts.message}"
    return facts.why if isinstance(facts, JobStalled | JobInterrupted | JobSnoozed) else ""
