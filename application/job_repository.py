"""Jobs by id, from their streams: the `JobRepository` port over reader and writer, the same on every engine."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from jobledger.domain.errors import NotFound
from jobledger.domain.event import Event, RecordedEvent
from jobledger.domain.job import JobDispatched, JobRequeued, JobState, Lease, evolve

from .ports import EventReader, Job, LedgerWriter
from .writes import ChangeJob, Outcome, queue_change


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

    def save(
        self,
        events: Sequence[Event],
        expected_version: int | None,
        *,
        before: Job,
        lease: Lease | None = None,
        payload: bytes | None = None,
    ) -> Outcome:
        """Append what was decided about `before`; see the port."""
        change = job_change(events, expected_version, before=before, lease=lease, payload=payload)
        return self._writer.write([change])[0]


def job_change(
    events: Sequence[Event],
    expected_version: int | None,
    *,
    before: Job,
    lease: Lease | None = None,
    payload: bytes | None = None,
) -> ChangeJob:
    """The write of what was decided about `before`, with what it does to the queue."""
    after = before.state
    for event in events:
        after = evolve(after, event.facts)
    return ChangeJob(
        before.job_id, before.tenant, tuple(events), queue_change(before.state, after, payload=payload),
        expected_version=expected_version, lease=lease,
        cancel_expected=None if lease is None else before.state.cancel_reason is not None,
    )  # fmt: skip


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
