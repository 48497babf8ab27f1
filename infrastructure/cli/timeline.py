"""A job's history in words: for every event what happened, and why it was decided so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from jobledger.domain.event import Facts, RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobDiscarded,
    JobDispatched,
    JobFailed,
    JobInterrupted,
    JobLogged,
    JobProgressed,
    JobReleased,
    JobRequeued,
    JobRescheduled,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
    JobStepRecorded,
)
from jobledger.domain.retry import Retry

from .output import duration_text, first_line, time_text

F = TypeVar("F", bound=Facts)

_PLACES_SHOWN = 5
_SIGNS = {"add": "+", "remove": "-", "replace": ""}


class Entry(NamedTuple):
    """One line of a timeline. `seconds` since the event before it; None for the first."""

    event: RecordedEvent
    what: str
    why: str
    seconds: float | None


def timeline(events: Sequence[RecordedEvent]) -> list[Entry]:
    """The events of one job, oldest first, in words."""
    return entries(events, what=lambda event: event.topic.removeprefix("job."), why=lambda event: why(event.facts))


def entries(
    events: Sequence[RecordedEvent], *, what: Callable[[RecordedEvent], str], why: Callable[[RecordedEvent], str]
) -> list[Entry]:
    """The events of one stream, oldest first, in words."""
    told: list[Entry] = []
    for event in events:
        before = told[-1].event.recorded_at if told else None
        seconds = None if before is None else (event.recorded_at - before).total_seconds()
        told.append(Entry(event, what(event), why(event), seconds))
    return told


def why(facts: Facts) -> str:
    """The reasons and inputs of a decision, in one sentence or two."""
    explain = _EXPLAIN.get(type(facts))
    return explain(facts) if explain else ""


def policy_text(retry: Retry) -> str:
    """`exponential, 2 s doubling to 1 h 0 min, full jitter`."""
    base, cap = duration_text(retry.base_seconds), duration_text(retry.cap_seconds)
    match retry.kind:
        case "exponential":
            text = f"exponential, {base} doubling to {cap}"
        case "linear":
            text = f"linear, {base} more each time up to {cap}"
        case "fixed":
            text = f"fixed, {base}"
        case "list":
            text = f"list, {', '.join(duration_text(delay) for delay in retry.delays_seconds)}"
    return f"{text}, {'full' if retry.jitter == 'full' else 'no'} jitter"


def _dispatched(facts: JobDispatched) -> str:
    parts = [f"queue {facts.queue}", f"priority {facts.priority}", f"{facts.retry.max_attempts} attempts at most"]
    if facts.persona:
        parts.insert(0, f"for {facts.persona}")
    if facts.status == "delayed":
        parts.append(f"not before {time_text(facts.due_at)}")
    if facts.depends_on:
        parts.append(f"after {len(facts.depends_on)} other jobs")
    if facts.idempotency_key:
        parts.append(f"key {facts.idempotency_key}")
    if facts.lock_key:
        parts.append(f"lock {facts.lock_key}")
    if facts.limit_key:
        parts.append(f"limit key {facts.limit_key}")
    if facts.manual:
        parts.append(f"by hand: {facts.reason}")
    return ", ".join(parts)


def _started(facts: JobStarted) -> str:
    return f"attempt {facts.attempt}, code {facts.code_version}, lease {facts.lease_seconds:g} s"


def _completed(facts: JobCompleted) -> str:
    return f"attempt {facts.attempt}; {_spent(facts)}"


def _failed(facts: JobFailed) -> str:
    hopeless = "" if facts.recoverable else " (no retry can help)"
    return f"attempt {facts.attempt}: {facts.error_type}: {first_line(facts.message)}{hopeless}; {_spent(facts)}"


def _spent(facts: JobCompleted | JobFailed) -> str:
    text = f"waited {duration_text(facts.seconds_in_queue)}, ran {duration_text(facts.seconds_running)}"
    return f"{text}, cost {facts.estimated_cost:g} (rates {facts.rate_card_version})" if facts.estimated_cost else text


def _retried(facts: JobRetried) -> str:
    used = f"{facts.attempts_counted} of {facts.policy.max_attempts} attempts used"
    decided = "asked for by the handler" if facts.asked_by_handler else policy_text(facts.policy)
    if not facts.asked_by_handler and facts.policy.jitter == "full":
        decided = f"{decided} {facts.jitter:.2f}"
    delay = duration_text(facts.delay_seconds)
    return f"attempt {facts.next_attempt} in {delay}, at {time_text(facts.due_at)}: {decided}; {used}"


def _stalled(facts: JobStalled) -> str:
    seen = f", last seen {time_text(facts.last_seen_at)}" if facts.last_seen_at else ""
    return f"attempt {facts.attempt} on {facts.worker}: {facts.why}{seen}; the attempt does not count"


def _rescheduled(facts: JobRescheduled) -> str:
    return f"priority {facts.priority}, due {time_text(facts.due_at)}: {facts.reason}"


def _sent_to_dlq(facts: JobSentToDlq) -> str:
    error = f"{facts.error_type}: {first_line(facts.message)}"
    return f"{facts.reason.replace('_', ' ')} after attempt {facts.attempt}: {error}"


def _requeued(facts: JobRequeued) -> str:
    edited = f", payload edited{_places(facts)}" if facts.payload_edited else ""
    return f"{facts.attempts_granted} more attempts{edited}: {_with_ticket(facts.reason, facts.ticket)}"


def _places(facts: JobRequeued) -> str:
    """` (/note, -/lines/0)`: where, as far as that is on record."""
    if not facts.payload_changes:
        return ""
    places = [f"{_SIGNS[change.op]}{change.path or 'all of it'}" for change in facts.payload_changes]
    more = f" and {len(places) - _PLACES_SHOWN} more" if len(places) > _PLACES_SHOWN else ""
    return f" ({', '.join(places[:_PLACES_SHOWN])}{more})"


def _with_ticket(reason: str, ticket: str | None) -> str:
    return f"{reason} ({ticket})" if ticket else reason


def _entry(facts_type: type[F], explain: Callable[[F], str]) -> tuple[type[Facts], Callable[[Facts], str]]:
    def checked(facts: Facts) -> str:
        assert isinstance(facts, facts_type)
        return explain(facts)

    return facts_type, checked


_EXPLAIN: dict[type[Facts], Callable[[Facts], str]] = dict(
    (
        _entry(JobDispatched, _dispatched),
        _entry(JobReleased, lambda facts: f"by job {facts.dependency}"),
        _entry(JobStarted, _started),
        _entry(JobProgressed, lambda facts: f"{facts.fraction:.0%} {facts.note}".rstrip()),
        _entry(
            JobLogged, lambda facts: f"{facts.line_count} {'line' if facts.line_count == 1 else 'lines'}, {facts.level}"
        ),
        _entry(JobStepRecorded, lambda facts: f"step {facts.step}; it never runs again"),
        _entry(JobCancelRequested, lambda facts: facts.reason),
        _entry(JobCompleted, _completed),
        _entry(JobFailed, _failed),
        _entry(JobRetried, _retried),
        _entry(JobStalled, _stalled),
        _entry(JobInterrupted, lambda facts: f"attempt {facts.attempt} given back, it does not count: {facts.why}"),
        _entry(JobSnoozed, lambda facts: f"until {time_text(facts.due_at)}, the attempt does not count: {facts.why}"),
        _entry(JobRescheduled, _rescheduled),
        _entry(JobCancelled, lambda facts: facts.reason),
        _entry(JobSentToDlq, _sent_to_dlq),
        _entry(JobRequeued, _requeued),
        _entry(JobDiscarded, lambda facts: _with_ticket(facts.reason, facts.ticket)),
    )
)
