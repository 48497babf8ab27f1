"""How an attempt ended, and what that means for the job: from an ending to a guarded change of the ledger. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from jobledger.domain import job as jobs
from jobledger.domain.errors import LeaseLost
from jobledger.domain.event import Event, Metadata
from jobledger.domain.job import AttemptError, Decision, JobFacts, JobState, JobStatus, Lease, Measured

from ..ports import OpenJob
from ..writes import ChangeJob, QueueChange, queue_change


class Succeeded(NamedTuple):
    """The handler returned; `result` is JSON."""

    result: bytes


class Failed(NamedTuple):
    """The attempt failed; `trace` is the traceback as UTF-8."""

    error: AttemptError
    trace: bytes | None = None


class PutOff(NamedTuple):
    """The handler said "not now"."""

    delay_seconds: float
    why: str


class GivenBack(NamedTuple):
    """The worker gives the attempt back: it does not count."""

    why: str


class Stopped(NamedTuple):
    """The handler stopped because it was asked to. Whether somebody did ask, the job's row knows."""


class Committed(NamedTuple):
    """The handler's own transaction recorded that it succeeded: there is nothing left to write."""


Ending = Succeeded | Failed | PutOff | GivenBack | Stopped | Committed


class Report(NamedTuple):
    """Progress or log lines that are recorded along with the ending; `body` belongs to the fact."""

    facts: JobFacts
    body: bytes | None = None


def decide(
    ending: Ending, state: JobState, lease: Lease, measured: Measured, *, now: datetime, jitter: float
) -> tuple[Decision, bytes | None]:
    """The events that follow from an ending, and the body of the first one. `LeaseLost` where the attempt is over."""
    match ending:
        case Succeeded(result):
            return jobs.complete(state, lease, measured), result
        case Failed(error, trace):
            return jobs.fail(state, lease, error, now=now, jitter=jitter, measured=measured), trace
        case PutOff(delay_seconds, why):
            due_at = now + timedelta(seconds=delay_seconds)
            return jobs.snooze(state, lease, due_at=due_at, why=why), None
        case GivenBack(why):
            return jobs.interrupt(state, lease, why=why), None
        case Stopped():
            return jobs.stop_cancelled(state, lease), None
        case Committed():
            raise LeaseLost("the attempt ended with its transaction", field="lease", rule="one ending an attempt")


def change_of(
    job: OpenJob,
    lease: Lease,
    ending: Ending,
    measured: Measured,
    reports: tuple[Report, ...],
    *,
    metadata: Metadata,
    jitter: float,
) -> ChangeJob:
    """The write that records an ending, guarded by the lease and by what was assumed about a cancellation."""
    state = job.state
    decision, body = decide(ending, state, lease, measured, now=metadata.time, jitter=jitter)
    events = (
        *[Event(job.job_id, 0, job.tenant, metadata, report.facts, report.body) for report in reports],
        Event(job.job_id, 0, job.tenant, metadata, decision[0], body),
        *[Event(job.job_id, 0, job.tenant, metadata, facts) for facts in decision[1:]],
    )
    return ChangeJob(
        job.job_id, job.tenant, events, _queue_change(state, decision), lease=lease,
        cancel_expected=None if isinstance(ending, Succeeded) else state.cancel_reason is not None,
    )  # fmt: skip


def _queue_change(state: JobState, decision: Decision) -> QueueChange:
    if len(decision) == 1 and isinstance(decision[0], jobs.JobCompleted):
        # Most jobs end here: what `evolve` would say of a completed job, without folding.
        return QueueChange(JobStatus.COMPLETED, state.attempts_counted, state.attempts_allowed, state.stalls, None)
    after = state
    for facts in decision:
        after = jobs.evolve(after, facts)
    return queue_change(state, after)


def report_change(job: OpenJob, lease: Lease, reports: tuple[Report, ...], metadata: Metadata) -> ChangeJob:
    """The write that records progress, log lines or a step while the attempt runs."""
    events = tuple(Event(job.job_id, 0, job.tenant, metadata, report.facts, report.body) for report in reports)
    return ChangeJob(job.job_id, job.tenant, events, None, lease=lease)
