"""A job's history in words: for every event what happened, and why it was decided so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from jobledger.application.account import DEATHS
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
    JobState,
    JobStepRecorded,
    evolve,
)
from jobledger.domain.retry import Retry

from .texts import duration_text, first_line, utc_text

F = TypeVar("F", bound=Facts)

_PLACES_SHOWN = 5
_RUN_MIN = 2
_NOISE = (JobProgressed, JobLogged)
_ENDINGS = (JobCompleted, JobFailed, JobStalled, JobInterrupted, JobSnoozed, JobCancelled)
_SIGNS = {"add": "+", "remove": "-", "replace": ""}


class Entry(NamedTuple):
    """One line of a timeline. `seconds` since the event before it, None for the first; `attempt_seconds` from the
    start of the attempt that it ended. With `run`, it stands for several events, of which `event` is the first."""

    event: RecordedEvent
    what: str
    why: str
    seconds: float | None
    attempt_seconds: float | None = None
    run: tuple[RecordedEvent, ...] = ()

    @property
    def last(self) -> RecordedEvent:
        """The last of its events."""
        return self.run[-1] if self.run else self.event


def timeline(events: Sequence[RecordedEvent], *, before: Sequence[RecordedEvent] = ()) -> list[Entry]:
    """The events of one job, oldest first, in words; `before` are some of those in front of them."""
    everything = [*before, *events]
    attempts, allowed = _attempt_seconds(everything), _attempts_allowed(everything)
    told = entries(everything, what=lambda event: event.topic.removeprefix("job."), why=lambda event: why(event.facts))
    return [_of_attempt(entry, attempts, allowed) for entry in told[len(before) :]]


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


def folded(told: Sequence[Entry]) -> list[Entry]:
    """The same lines, but progress reports and logs that follow each other are one."""
    lines: list[Entry] = []
    run: list[Entry] = []
    for entry in told:
        if isinstance(entry.event.facts, _NOISE):
            run.append(entry)
            continue
        lines += _as_one(run)
        run = []
        lines.append(entry)
    return lines + _as_one(run)


def folded_count(events: Sequence[RecordedEvent]) -> int:
    """How many lines `folded` makes of events, without putting them into words."""
    noise = [isinstance(event.facts, _NOISE) for event in events]
    runs = sum(is_noise and not was_noise for was_noise, is_noise in zip([False, *noise], noise, strict=False))
    return len(noise) - sum(noise) + runs


def _as_one(run: Sequence[Entry]) -> list[Entry]:
    if len(run) < _RUN_MIN:
        return list(run)
    events = tuple(entry.event for entry in run)
    reports = [event.facts for event in events if isinstance(event.facts, JobProgressed)]
    lines = sum(event.facts.line_count for event in events if isinstance(event.facts, JobLogged))
    said = []
    if reports:
        many = "report" if len(reports) == 1 else "reports"
        said.append(f"{len(reports):,} progress {many}, the last {_progressed(reports[-1])}")
    if lines:
        said.append(f"{lines:,} log {'line' if lines == 1 else 'lines'}")
    took = (events[-1].recorded_at - events[0].recorded_at).total_seconds()
    versions = f"versions {events[0].originator_version} to {events[-1].originator_version}"
    words = f"{'; '.join(said)}; in {duration_text(took)} ({versions})"
    what = "progressed" if reports else "logged"
    return [run[0]._replace(what=f"{what} x{len(run):,}", why=words, run=events)]


def _of_attempt(entry: Entry, attempts: Mapping[int, float], allowed: Mapping[int, int]) -> Entry:
    version, facts = entry.event.originator_version, entry.event.facts
    words = entry.why
    if version in allowed and isinstance(facts, JobRetried):
        words = why_retried(facts, allowed[version])
    seconds = attempts.get(version)
    if seconds is not None and not isinstance(facts, JobCompleted | JobFailed):  # these say it themselves
        words = f"{words}; the attempt took {duration_text(seconds)}"
    return entry._replace(why=words, attempt_seconds=seconds)


def _attempt_seconds(events: Sequence[RecordedEvent]) -> dict[int, float]:
    """By the version that ended it: how long an attempt took, as far as its start is among the events."""
    took: dict[int, float] = {}
    started_at: datetime | None = None
    for event in events:
        if isinstance(event.facts, JobStarted):
            started_at = event.recorded_at
        elif isinstance(event.facts, _ENDINGS) and started_at is not None:
            took[event.originator_version] = (event.recorded_at - started_at).total_seconds()
            started_at = None
    return took


def _attempts_allowed(events: Sequence[RecordedEvent]) -> dict[int, int]:
    """By the version of each retry: how many attempts the job had then, where the events begin with its dispatch."""
    allowed: dict[int, int] = {}
    state: JobState | None = None
    for event in events:
        if state is not None or isinstance(event.facts, JobDispatched):
            state = evolve(state, event.facts)
            if isinstance(event.facts, JobRetried):
                allowed[event.originator_version] = state.attempts_allowed
    return allowed


def why(facts: Facts) -> str:
    """The reasons and inputs of a decision, in one sentence or two."""
    explain = _EXPLAIN.get(type(facts))
    return explain(facts) if explain else ""


def policy_text(retry: Retry) -> str:
    """`exponential, 2 s doubling to 1 h, full jitter`."""
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
        parts.append(f"not before {utc_text(facts.due_at)}")
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
    code = f", code {facts.code_version}" if facts.code_version else ""  # remote workers need not tell
    return f"attempt {facts.attempt}{code}, lease {facts.lease_seconds:g} s"


def _completed(facts: JobCompleted) -> str:
    return f"attempt {facts.attempt}; {_spent(facts)}"


def _failed(facts: JobFailed) -> str:
    hopeless = "" if facts.recoverable else " (no retry can help)"
    return f"attempt {facts.attempt}: {facts.error_type}: {first_line(facts.message)}{hopeless}; {_spent(facts)}"


def _spent(facts: JobCompleted | JobFailed) -> str:
    text = f"waited {duration_text(facts.seconds_in_queue)}, ran {duration_text(facts.seconds_running)}"
    return f"{text}, cost {facts.estimated_cost:g} (rates {facts.rate_card_version})" if facts.estimated_cost else text


def why_retried(facts: JobRetried, allowed: int | None = None) -> str:
    """The inputs of the decision; `allowed`: attempts that the job had, where that is known (a requeue grants more)."""
    granted = facts.policy.max_attempts if allowed is None else allowed
    used = f"{facts.attempts_counted} of {granted} attempts used"
    decided = "asked for by the handler" if facts.asked_by_handler else policy_text(facts.policy)
    if not facts.asked_by_handler and facts.policy.jitter == "full":
        decided = f"{decided} {facts.jitter:.2f}"
    delay = duration_text(facts.delay_seconds)
    return f"attempt {facts.next_attempt} in {delay}, at {utc_text(facts.due_at)}: {decided}; {used}"


def _progressed(facts: JobProgressed) -> str:
    return f"{facts.fraction:.0%} {facts.note}".rstrip()


def _stalled(facts: JobStalled) -> str:
    seen = f", last seen {utc_text(facts.last_seen_at)}" if facts.last_seen_at else ""
    return f"attempt {facts.attempt} on {facts.worker}: {facts.why}{seen}; the attempt does not count"


def _rescheduled(facts: JobRescheduled) -> str:
    return f"priority {facts.priority}, due {utc_text(facts.due_at)}: {facts.reason}"


def _sent_to_dlq(facts: JobSentToDlq) -> str:
    error = f"{facts.error_type}: {first_line(facts.message)}"
    return f"{DEATHS[facts.reason]}, after attempt {facts.attempt}: {error}"


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
        _entry(JobProgressed, _progressed),
        _entry(
            JobLogged, lambda facts: f"{facts.line_count} {'line' if facts.line_count == 1 else 'lines'}, {facts.level}"
        ),
        _entry(JobStepRecorded, lambda facts: f"step {facts.step}; it never runs again"),
        _entry(JobCancelRequested, lambda facts: facts.reason),
        _entry(JobCompleted, _completed),
        _entry(JobFailed, _failed),
        _entry(JobRetried, why_retried),
        _entry(JobStalled, _stalled),
        _entry(JobInterrupted, lambda facts: f"attempt {facts.attempt} given back, it does not count: {facts.why}"),
        _entry(JobSnoozed, lambda facts: f"until {utc_text(facts.due_at)}, the attempt does not count: {facts.why}"),
        _entry(JobRescheduled, _rescheduled),
        _entry(JobCancelled, lambda facts: facts.reason),
        _entry(JobSentToDlq, _sent_to_dlq),
        _entry(JobRequeued, _requeued),
        _entry(JobDiscarded, lambda facts: _with_ticket(facts.reason, facts.ticket)),
    )
)
