"""Looking at dead jobs: why one is dead, and what was done to many of them at once."""

from __future__ import annotations

from collections.abc import Sequence

from jobledger.domain.dlq import DlqBulkBegun, DlqBulkEnded, DlqBulkProgressed, dlq_stream
from jobledger.domain.errors import InvalidInput, NotFound
from jobledger.domain.event import RecordedEvent, event_id
from jobledger.domain.job import (
    JobFailed,
    JobRequeued,
    JobSentToDlq,
    JobStatus,
)

from .attempts import ATTEMPTS_SHOWN, attempts_of
from .body_reads import BodyReads
from .dispatcher import Dispatcher
from .dlq_messages import BulkActOfDlq, DeadJob, DlqProgress, GetDeadJob, GetDlqAct, ListDlqActs
from .flow import Flow
from .known import KnownTenants
from .ports import EventReader
from .positions import Positions
from .queries import GetJob, JobDetails
from .reading import Reading, body_versions
from .result import Accepted


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
        dispatcher.register(GetDlqAct, self.act)

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
        last = _last_told(events)
        acts = [_act(event, last.get(event.originator_version)) for event in events if _begins(event)]
        return Accepted(tuple(reversed(acts[-query.limit :])))

    def act(self, query: GetDlqAct, flow: Flow) -> Accepted[BulkActOfDlq]:
        """One act on many dead jobs."""
        self._tenants.require_known(query.tenant)
        version = _version_of(query.act, query.tenant)
        events = self._reader.stream(query.tenant, dlq_stream(query.tenant), after_version=max(0, version - 1))
        if version and events and _begins(events[0]):
            found = _act(events[0], _last_told(events).get(version))
            if query.queue is None or found.begun.filter.queue == query.queue:
                return Accepted(found)
        raise NotFound(
            f"there is no operation {query.act[:60]!r}", field="act",
            rule="is the id of requeueing or discarding many dead jobs of the tenant",
        )  # fmt: skip


def _not_dead(job: JobDetails) -> InvalidInput:
    return InvalidInput(
        f"job {job.job_id} is {job.status.value}", field="job", rule="is in the dead-letter queue",
        hint=f"jobledger jobs show {job.job_id} --tenant {job.tenant}",
    )  # fmt: skip


def _begins(event: RecordedEvent) -> bool:
    return isinstance(event.facts, DlqBulkBegun)


def _version_of(act: str, tenant: str) -> int:
    """The version in the stream of the tenant's dead-letter queue that an event id names; 0 for any other id."""
    _, _, version = act.rpartition(".")
    number = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
    return number if act == event_id(dlq_stream(tenant), number) else 0


def _last_told(events: Sequence[RecordedEvent]) -> dict[int, RecordedEvent]:
    """By the version of its beginning: what an act said last, its end if it has one."""
    last: dict[int, RecordedEvent] = {}
    for event in events:
        if isinstance(event.facts, DlqBulkProgressed | DlqBulkEnded):
            before = last.get(event.facts.begun_version)
            if before is None or not isinstance(before.facts, DlqBulkEnded):
                last[event.facts.begun_version] = event
    return last


def _act(begun: RecordedEvent, last: RecordedEvent | None) -> BulkActOfDlq:
    assert isinstance(begun.facts, DlqBulkBegun)
    act = BulkActOfDlq(
        begun.event_id, begun.recorded_at, begun.metadata.actor, begun.facts, None, None, begun.recorded_at
    )
    if last is None:
        return act
    told = last.facts
    assert isinstance(told, DlqBulkProgressed | DlqBulkEnded)
    seen = told.changed + told.skipped + told.refused
    act = act._replace(
        last_seen_at=last.recorded_at, progress=DlqProgress(seen, told.changed, told.skipped, told.refused)
    )
    return act._replace(ended_at=last.recorded_at, ended=told) if isinstance(told, DlqBulkEnded) else act
