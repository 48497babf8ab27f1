"""Where a job stands and since when, in a sentence, from its events (and, of one that runs, from its worker's row)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    DlqReason,
    JobCancelled,
    JobCompleted,
    JobDiscarded,
    JobDispatched,
    JobFacts,
    JobFailed,
    JobInterrupted,
    JobReleased,
    JobRequeued,
    JobRescheduled,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
    JobState,
    JobStatus,
)

from .ports import WorkerRow

_TURNS = (
    JobDispatched, JobReleased, JobStarted, JobCompleted, JobRetried, JobStalled, JobInterrupted, JobSnoozed,
    JobRescheduled, JobCancelled, JobSentToDlq, JobRequeued, JobDiscarded,
)  # fmt: skip
"""Events that decide where a job stands."""

DEATHS: Final[dict[DlqReason, str]] = {
    "attempts_exhausted": "all attempts are used up", "unrecoverable": "no retry can help",
    "integrity_violation": "its payload does not fit its type",
    "stalled": "too many workers vanished while they ran it",
}  # fmt: skip
"""Why jobs are in the dead-letter queue, in words for people."""


class Account(NamedTuple):
    """Where a job stands, and since when."""

    text: str
    since: datetime


def account_of(events: Sequence[RecordedEvent], state: JobState, worker: WorkerRow | None, now: datetime) -> Account:
    """The account of a job with these events, all of them, which come to this state; `worker` is the one that holds
    it, as the installation knows it."""
    turn = next(event for event in reversed(events) if isinstance(event.facts, _TURNS))
    if state.status is JobStatus.IN_PROGRESS:
        started = next(event for event in reversed(events) if isinstance(event.facts, JobStarted))
        return Account(_running(started, state, worker, now), started.recorded_at)
    return Account(_told(turn, events), turn.recorded_at)


def _running(started: RecordedEvent, state: JobState, worker: WorkerRow | None, now: datetime) -> str:
    seconds = max(0.0, (now - started.recorded_at).total_seconds())
    text = f"runs for {seconds:,.0f} s (of {state.timeout_seconds:,.0f} s): attempt {state.attempt} on {state.worker}"
    if worker is None:
        text += ", of which nothing is known any more: its lease runs out, then maintenance takes the job back"
    else:
        text += f", last heard of {max(0.0, worker.seconds_since_seen):,.0f} s ago"
        if worker.is_lost:
            text += ": its lease has run out, maintenance takes the job back"
    if state.cancel_reason is not None:
        text += f"; it has been asked to stop: {state.cancel_reason}"
    return text


def _told(turn: RecordedEvent, events: Sequence[RecordedEvent]) -> str:
    facts, actor = turn.facts, turn.metadata.actor
    match facts:
        case JobDispatched():
            return f"was dispatched by {actor} and never ran"
        case JobReleased():
            return f"was let go by job {facts.dependency} and has not started since"
        case JobRetried():
            return f"waits for attempt {facts.next_attempt}, {_seconds(facts.delay_seconds)} after {_error(events)}"
        case JobSnoozed():
            return f"was put off in attempt {facts.attempt}: {facts.why}"
        case JobInterrupted():
            return f"was given back in attempt {facts.attempt}, which does not count: {facts.why}"
        case JobStalled():
            return f"stalled in attempt {facts.attempt} on {facts.worker}, which does not count: {facts.why}"
        case JobRescheduled():
            return f"was rescheduled by {actor}: {facts.reason}"
        case JobRequeued():
            return f"was taken out of the DLQ by {actor}: {_with_ticket(facts.reason, facts.ticket)}"
        case JobSentToDlq():
            why = f"{DEATHS[facts.reason]}: {facts.error_type}: {first_line(facts.message)}"
            return f"is dead, {why} (attempt {facts.attempt}); only a person gets it out of the DLQ"
        case JobCompleted():
            return (
                f"completed in attempt {facts.attempt} on {facts.worker}, which ran {_seconds(facts.seconds_running)}"
            )
        case JobCancelled():
            return f"was cancelled by {actor}: {facts.reason}"
        case JobDiscarded():
            return f"was given up by {actor}: {_with_ticket(facts.reason, facts.ticket)}"
        case _:
            assert isinstance(facts, JobFacts)
            return facts.topic


def first_line(text: str) -> str:
    """The first line of a message that may have many."""
    return text.strip().partition("\n")[0].rstrip()


def _error(events: Sequence[RecordedEvent]) -> str:
    for event in reversed(events):
        if isinstance(event.facts, JobFailed):
            return f"{event.facts.error_type}: {first_line(event.facts.message)}"
    return "a failure"


def _with_ticket(reason: str, ticket: str | None) -> str:
    return f"{reason} ({ticket})" if ticket else reason


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3g} s" if seconds < 1_000 else f"{seconds:,.0f} s"
