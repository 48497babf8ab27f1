"""Jobs by id, from their streams: the `JobRepository` port over reader and writer, the same on every engine."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from jobledger.domain.errors import NotFound
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobDispatched, JobRequeued, JobState, evolve

from .ports import EventReader, Job, LedgerWriter
from .writes import ChangeJob, Outcome


class LedgerJobRepository:
    """Reads and changes jobs. What is read is always current; no read model is involved."""

    def __init__(self, reader: EventReader, writer: LedgerWriter) -> None:
        self._reader = reader
        self._writer = writer

    def get(self, tenant: str, job_id: UUID) -> Job:
        """The job; `NotFound` where the tenant has none of that id."""
        job = job_from(tenant, job_id, self._reader.stream(tenant, job_id))
        if job is None:
            raise no_such_job(tenant, job_id)
        return job

    def get_many(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, Job]:
        """Those jobs of the tenant that exist."""
        streams = self._reader.streams(tenant, job_ids)
        found = {job_id: job_from(tenant, job_id, events) for job_id, events in streams.items()}
        return {job_id: job for job_id, job in found.items() if job is not None}

    def save(self, change: ChangeJob) -> Outcome:
        """Append what was decided, under its guard (`expected_version` or `lease`)."""
        return self._writer.write([change])[0]


def job_from(tenant: str, job_id: UUID, events: Sequence[RecordedEvent]) -> Job | None:
    """A job from its stream; None where this is not the stream of a job."""
    if not events or not isinstance(events[0].facts, JobDispatched):
        return None
    state: JobState | None = None
    payload_sha256 = None
    for event in events:
        state = evolve(state, event.facts)
        if isinstance(event.facts, JobDispatched) or (
            isinstance(event.facts, JobRequeued) and event.facts.payload_edited
        ):
            payload_sha256 = event.metadata.body_sha256
    assert state is not None
    flow = events[0].metadata
    return Job(
        job_id, tenant, events[-1].originator_version, state, flow.correlation_id, flow.trace_parent, payload_sha256
    )


def brings_payload(event: RecordedEvent) -> bool:
    """Whether the body of the event is the job's payload from then on."""
    facts = event.facts
    return isinstance(facts, JobDispatched) or (isinstance(facts, JobRequeued) and facts.payload_edited)


def no_such_job(tenant: str, reference: object) -> NotFound:
    """The same answer whether there is no such job, or it is another tenant's."""
    return NotFound(f"tenant {tenant!r} has no job {reference}", field="job", rule="is a job of the tenant")
