"""What must be true of a ledger after workers were killed, frozen and restarted at random: a pure check of its events.

`violations` says what is wrong, job by job; nothing in it knows of processes, clocks or databases.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobDispatched,
    JobFacts,
    JobFailed,
    JobInterrupted,
    JobLogged,
    JobProgressed,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
    JobStepRecorded,
    Lease,
)

_ENDINGS = (JobCompleted, JobFailed, JobStalled, JobInterrupted, JobSnoozed, JobCancelled)
_REPORTS = (JobProgressed, JobLogged, JobStepRecorded)
_LAST = (JobCompleted, JobSentToDlq, JobCancelled)
_CRASHES = frozenset({"ChildCrashed", "Timeout"})
"""Failures that come from outside: the handler may have been anywhere."""


class Effect(NamedTuple):
    """Something that a step did in the world outside, as the world saw it."""

    job_id: UUID
    attempt: int
    step: str


class Violation(NamedTuple):
    """A promise that was broken."""

    rule: str
    job_id: UUID
    detail: str


@dataclass
class _Job:
    """What has been seen of a job so far."""

    job_id: UUID
    version: int = 0
    tenant: str = ""
    lock_key: str | None = None
    attempts: int = 0
    holder: Lease | None = None
    endings: dict[int, JobFacts] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    """The attempt that recorded each step."""
    last: JobFacts | None = None


def violations(events: Iterable[RecordedEvent], effects: Iterable[Effect]) -> list[Violation]:
    """Every broken promise. `events` are those of jobs, in the order of the ledger."""
    jobs: dict[UUID, _Job] = {}
    keys: dict[tuple[str, str], UUID] = {}
    found: list[Violation] = []
    for event in events:
        job = jobs.setdefault(event.originator_id, _Job(event.originator_id))
        found += [Violation(rule, job.job_id, detail) for rule, detail in _see(job, event, keys)]
    for job in jobs.values():
        found += [Violation(rule, job.job_id, detail) for rule, detail in _at_the_end(job)]
    return found + list(_effects_out_of_place(jobs, effects))


def _see(job: _Job, event: RecordedEvent, keys: dict[tuple[str, str], UUID]) -> Iterator[tuple[str, str]]:
    facts = event.facts
    assert isinstance(facts, JobFacts)
    if event.originator_version != job.version + 1:
        yield "versions have no gaps", f"{event.originator_version} after {job.version}"
    job.version = event.originator_version
    if isinstance(job.last, _LAST):
        yield "a job ends once", f"{facts.topic} after {job.last.topic}"
    if isinstance(facts, JobDispatched):
        job.tenant, job.lock_key = event.tenant, facts.lock_key
    elif isinstance(facts, JobStarted):
        yield from _started(job, facts, keys)
    elif isinstance(facts, _ENDINGS):
        yield from _ended(job, facts, event.metadata.actor, keys)
    elif isinstance(facts, _REPORTS):
        yield from _reported(job, facts, event.metadata.actor)
    elif isinstance(facts, (JobRetried, JobSentToDlq)) and job.holder is not None:
        yield "what follows an attempt comes after its ending", f"{facts.topic} while {job.holder} runs"
    job.last = facts


def _started(job: _Job, facts: JobStarted, keys: dict[tuple[str, str], UUID]) -> Iterator[tuple[str, str]]:
    if facts.attempt != job.attempts + 1:
        yield "attempts have no gaps", f"{facts.attempt} after {job.attempts}"
    if job.holder is not None:
        yield "an attempt ends before the next begins", f"{job.holder} still runs when {facts.attempt} starts"
    job.attempts, job.holder = facts.attempt, Lease(facts.worker, facts.attempt)
    if job.lock_key is not None:
        other = keys.setdefault((job.tenant, job.lock_key), job.job_id)
        if other != job.job_id:
            yield "a lock key is held by one running job", f"{job.lock_key!r} by {other} already"


def _ended(job: _Job, facts: JobFacts, actor: str, keys: dict[tuple[str, str], UUID]) -> Iterator[tuple[str, str]]:
    attempt: int | None = getattr(facts, "attempt", None)
    if attempt is None:
        return  # a cancellation of a job that waits, or one that follows an ending
    if attempt in job.endings:
        yield "an attempt has one ending", f"{facts.topic} of {attempt} after {job.endings[attempt].topic}"
    worker: str = getattr(facts, "worker", None) or actor.removeprefix("worker:")
    if job.holder != Lease(worker, attempt):
        yield "only the holder of the lease ends an attempt", f"{facts.topic} by {worker} of {attempt}: {job.holder}"
    job.endings.setdefault(attempt, facts)
    if job.lock_key is not None and keys.get((job.tenant, job.lock_key)) == job.job_id:
        del keys[(job.tenant, job.lock_key)]
    job.holder = None


def _reported(job: _Job, facts: JobFacts, actor: str) -> Iterator[tuple[str, str]]:
    attempt: int = getattr(facts, "attempt", 0)
    if job.holder != Lease(actor.removeprefix("worker:"), attempt):
        yield "only the holder of the lease reports", f"{facts.topic} by {actor} of {attempt}: {job.holder}"
    if isinstance(facts, JobStepRecorded):
        if facts.step in job.steps:
            yield "a step is recorded once", f"{facts.step!r} by {job.steps[facts.step]} and by {attempt}"
        job.steps.setdefault(facts.step, attempt)


def _at_the_end(job: _Job) -> Iterator[tuple[str, str]]:
    if not isinstance(job.last, _LAST):
        yield "a job ends", f"the last is {job.last.topic if job.last else None}"
    if missing := set(range(1, job.attempts + 1)) - set(job.endings):
        yield "an attempt has one ending", f"none of {sorted(missing)}"


def _effects_out_of_place(jobs: dict[UUID, _Job], effects: Iterable[Effect]) -> Iterator[Violation]:
    """An effect belongs to the attempt that recorded its step, or to one that was cut off before it could."""
    counted = Counter(effects)
    for effect, times in counted.items():
        job = jobs.get(effect.job_id)
        if job is None:
            yield Violation("an effect belongs to a job", effect.job_id, str(effect))
            continue
        if times > 1:
            yield Violation("an attempt does a step once", job.job_id, f"{effect} {times} times")
        recorded_by = job.steps.get(effect.step)
        if recorded_by is not None and effect.attempt > recorded_by:
            yield Violation("a recorded step never runs again", job.job_id, f"{effect} after {recorded_by}")
        elif recorded_by != effect.attempt and not _was_cut(job.endings.get(effect.attempt)):
            yield Violation("an effect is recorded unless it was cut off", job.job_id, str(effect))
    for job in jobs.values():
        for step, attempt in job.steps.items():
            if Effect(job.job_id, attempt, step) not in counted:
                yield Violation("a recorded step had its effect", job.job_id, f"{step!r} of {attempt}")


def _was_cut(ending: JobFacts | None) -> bool:
    if isinstance(ending, JobFailed):
        return ending.error_type in _CRASHES
    return isinstance(ending, (JobStalled, JobInterrupted))


class Tally(NamedTuple):
    """What happened to the jobs, in numbers."""

    jobs: int
    completed: int
    dead: Counter[str]
    """By reason."""
    endings: Counter[str]
    steps: int
    effects: int
    repeated: int
    """Effects of attempts that were cut off before their record: the step ran again."""


def tally(events: Iterable[RecordedEvent], effects: Sequence[Effect]) -> Tally:
    """Count what `violations` judges."""
    topics: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    recorded: dict[tuple[UUID, str], int] = {}
    for event in events:
        topics[event.topic.removeprefix("job.")] += 1
        if isinstance(event.facts, JobSentToDlq):
            dead[event.facts.reason] += 1
        elif isinstance(event.facts, JobStepRecorded):
            recorded[event.originator_id, event.facts.step] = event.facts.attempt
    steps_of: defaultdict[tuple[UUID, str], set[int]] = defaultdict(set)
    for effect in effects:
        steps_of[effect.job_id, effect.step].add(effect.attempt)
    ended = ("completed", "failed", "stalled", "interrupted", "snoozed", "cancelled")
    return Tally(
        topics["dispatched"], topics["completed"], dead, Counter({name: topics[name] for name in ended}),
        len(recorded), len(effects), sum(len(attempts) - 1 for attempts in steps_of.values()),
    )  # fmt: skip
