"""Looking at dead jobs: why one is dead, and what was done to many of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobledger.domain.dlq import DlqBulkBegun, DlqBulkEnded, dlq_stream
from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobInterrupted,
    JobRequeued,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
    JobStarted,
    JobStatus,
)

from .body_reads import BodyReads
from .dispatcher import Dispatcher
from .dlq_messages import Attempt, BulkActOfDlq, DeadJob, GetDeadJob, ListDlqActs
from .flow import Flow
from .known import KnownTenants
from .ports import EventReader
from .positions import Positions
from .queries import GetJob, JobDetails
from .reading import Reading, body_versions
from .result import Accepted

ATTEMPTS_SHOWN = 20
"""The last attempts of a job that are told one by one."""

_ENDINGS = (JobCompleted, JobFailed, JobStalled, JobInterrupted, JobSnoozed, JobCancelled)


class DeadJobs:
    """The handlers of the queries about single dead jobs and about acts on many."""

    def __init__(
        self,
        *,
        reading: Reading,
        reader: EventReader,
        tenants: KnownTenants,
        positions: Positions,
        body_reads: BodyReads,
    ) -> None:
        self._positions = positions
        self._body_reads = body_reads
        self._reading = reading
        self._reader = reader
        self._tenants = tenants

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the queries of this module."""
        dispatcher.register(GetDeadJob, self.get)
        dispatcher.register(ListDlqActs, self.acts)

    def get(self, query: GetDeadJob, flow: Flow) -> Accepted[DeadJob]:
        """Why a job is dead."""
        wanted = GetJob(
            actor=query.actor, tenant=query.tenant, job=query.job, bodies=query.bodies, after=query.after,
            timeout_seconds=query.timeout_seconds,
        )  # fmt: skip
        read = self._reading.look(wanted)
        job, events = read.details, read.events
        if job.status is not JobStatus.DLQ:
            raise _not_dead(job)
        deaths = [event for event in events if isinstance(event.facts, JobSentToDlq)]
        death = deaths[-1].facts
        assert isinstance(death, JobSentToDlq)
        failed = [event for event in events if isinstance(event.facts, JobFailed)] if query.bodies else []
        traceback = self._reading.last_body(query.tenant, failed)
        self._body_reads.record(query.tenant, job.job_id, (*read.body_versions, *body_versions([traceback])), flow)
        dead = DeadJob(
            job, deaths[-1].recorded_at, death, attempts_of(events)[-ATTEMPTS_SHOWN:],
            sum(isinstance(event.facts, JobRequeued) for event in events),
            traceback.body if traceback else None,
        )  # fmt: skip
        return Accepted(dead, self._positions.text(events[-1].position))

    def acts(self, query: ListDlqActs, flow: Flow) -> Accepted[tuple[BulkActOfDlq, ...]]:
        """The last acts on many dead jobs, the latest first."""
        self._tenants.require_known(query.tenant)
        events = self._reader.stream(query.tenant, dlq_stream(query.tenant))
        endings = {event.facts.begun_version: event for event in events if isinstance(event.facts, DlqBulkEnded)}
        acts = [_act(event, endings.get(event.originator_version)) for event in events if _begins(event)]
        return Accepted(tuple(reversed(acts[-query.limit :])))


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


def _not_dead(job: JobDetails) -> InvalidInput:
    return InvalidInput(
        f"job {job.job_id} is {job.status.value}", field="job", rule="is in the dead-letter queue",
        hint=f"jobledger jobs show {job.job_id} --tenant {job.tenant}",
    )  # fmt: skip


def _begins(event: RecordedEvent) -> bool:
    return isinstance(event.facts, DlqBulkBegun)


def _act(begun: RecordedEvent, ended: RecordedEvent | None) -> BulkActOfDlq:
    facts, ending = begun.facts, None if ended is None else ended.facts
    assert isinstance(facts, DlqBulkBegun) and (ending is None or isinstance(ending, DlqBulkEnded))
    ended_at: datetime | None = None if ended is None else ended.recorded_at
    return BulkActOfDlq(begun.event_id, begun.recorded_at, begun.metadata.actor, facts, ended_at, ending)
