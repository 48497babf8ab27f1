"""Reading jobs: one job and its history from its stream (always current), lists from the read models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from jobledger.domain.errors import NotFound
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobCompleted, JobDispatched, JobFailed, JobStarted

from .attempts import ATTEMPTS_SHOWN, attempts_of
from .awaiting import Awaiting
from .body_reads import BodyReads
from .dispatcher import Dispatcher
from .dlq_messages import CountDlq, DlqCount, ListDlqErrors
from .flow import Flow
from .job_finder import JobFinder
from .job_repository import brings_payload, job_from, no_such_job
from .job_streams import JobStreams
from .known import KnownTenants
from .message import Query
from .page_keys import cursor_of, key_of
from .past_jobs import progress_of
from .ports import DlqErrors, EventReader, JobViews, ViewName
from .positions import Positions
from .queries import (
    DlqList,
    GetJob,
    GetJobHistory,
    History,
    JobDetails,
    JobList,
    ListDlq,
    ListPersonaJobs,
    ListTenantJobs,
)
from .result import Accepted

GROUPS_SHOWN = 10
"""A count names so many of the groups it consists of: the largest."""


class JobRead(NamedTuple):
    """A job as it was read, the events that decided, and the versions of the bodies in `details`: not recorded yet."""

    details: JobDetails
    events: Sequence[RecordedEvent]
    body_versions: tuple[int, ...]


class Reading:
    """The handlers of the queries about jobs."""

    def __init__(
        self,
        *,
        reader: EventReader,
        views: JobViews,
        finder: JobFinder,
        tenants: KnownTenants,
        positions: Positions,
        body_reads: BodyReads,
        awaiting: Awaiting,
    ) -> None:
        self._awaiting = awaiting
        self._body_reads = body_reads
        self._reader = reader
        self._streams = JobStreams(reader)
        self._views = views
        self._finder = finder
        self._tenants = tenants
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the queries of this module."""
        dispatcher.register(GetJob, self.get)
        dispatcher.register(GetJobHistory, self.history)
        dispatcher.register(ListTenantJobs, self.tenant_jobs)
        dispatcher.register(ListPersonaJobs, self.persona_jobs)
        dispatcher.register(ListDlq, self.dlq)
        dispatcher.register(CountDlq, self.count_dlq)
        dispatcher.register(ListDlqErrors, self.dlq_errors)

    def get(self, query: GetJob, flow: Flow) -> Accepted[JobDetails]:
        """One job, as it is or as it was. A read of bodies is recorded before they are returned."""
        read = self.look(query)
        self._body_reads.record(query.tenant, read.details.job_id, read.body_versions, flow)
        return Accepted(read.details, self._positions.text(read.events[-1].position))

    def look(self, query: GetJob) -> JobRead:
        """One job, for who records the read of its bodies himself."""
        job_id = self.find(query, query.tenant, query.job)
        events, past = self._streams.then(query.tenant, job_id, query.as_of)
        if not events:
            raise no_such_job(query.tenant, query.job)
        payload = result = None
        if query.bodies:
            payload = self.last_body(query.tenant, [event for event in events if brings_payload(event)])
            result = self.last_body(query.tenant, [event for event in events if isinstance(event.facts, JobCompleted)])
        details = details_of(events)._replace(
            payload=payload.body if payload else None, result=result.body if result else None,
            past=past,
        )  # fmt: skip
        return JobRead(details, events, body_versions([payload, result]))

    def history(self, query: GetJobHistory, flow: Flow) -> Accepted[History]:
        """A page of what happened to a job."""
        job_id = self.find(query, query.tenant, query.job)
        events = self._reader.stream(
            query.tenant, job_id, after_version=query.after_version, limit=query.limit + 1, bodies=query.bodies
        )
        if not events and query.after_version == 0:
            raise no_such_job(query.tenant, query.job)
        page = tuple(events[: query.limit])
        self._body_reads.record(query.tenant, job_id, body_versions(page), flow)
        more = len(events) > query.limit
        return Accepted(History(job_id, page, page[-1].originator_version if more else None))

    def tenant_jobs(self, query: ListTenantJobs, flow: Flow) -> Accepted[JobList]:
        """A page of a tenant's jobs."""
        self.wait(query, query.tenant, ViewName.TENANT_JOBS)
        page = self._views.tenant_jobs(query.tenant, query.where, after=key_of(query.cursor), limit=query.limit)
        return Accepted(JobList(page.rows, cursor_of(page.next), page.freshness))

    def persona_jobs(self, query: ListPersonaJobs, flow: Flow) -> Accepted[JobList]:
        """A page of a persona's jobs."""
        self.wait(query, query.tenant, ViewName.PERSONA_JOBS)
        page = self._views.persona_jobs(
            query.tenant, query.persona, query.where, after=key_of(query.cursor), limit=query.limit
        )
        return Accepted(JobList(page.rows, cursor_of(page.next), page.freshness))

    def dlq(self, query: ListDlq, flow: Flow) -> Accepted[DlqList]:
        """A page of a tenant's dead jobs."""
        self.wait(query, query.tenant, ViewName.DLQ_JOBS)
        page = self._views.dlq(query.tenant, query.where, after=key_of(query.cursor), limit=query.limit)
        return Accepted(DlqList(page.rows, cursor_of(page.next), page.freshness))

    def count_dlq(self, query: CountDlq, flow: Flow) -> Accepted[DlqCount]:
        """How many of a tenant's dead jobs match, and a few of them: of all that was recorded when it was asked."""
        everything = query.after or self._positions.text(self._reader.head())
        self.wait(query.model_copy(update={"after": everything}), query.tenant, ViewName.DLQ_JOBS)
        summary = self._views.dlq_summary(query.tenant, query.where, groups=GROUPS_SHOWN)
        sample = self._views.dlq(query.tenant, query.where, after=None, limit=query.sample).rows if query.sample else ()
        last = summary.last_dead_at
        until = None if last is None else last + timedelta(microseconds=1)
        return Accepted(DlqCount(query.tenant, query.where, summary, sample, until))

    def dlq_errors(self, query: ListDlqErrors, flow: Flow) -> Accepted[DlqErrors]:
        """Of which errors a tenant's dead jobs died."""
        self.wait(query, query.tenant, ViewName.DLQ_JOBS)
        return Accepted(self._views.dlq_errors(query.tenant, query.where, limit=query.limit))

    def find(self, query: Query[Any], tenant: str, reference: UUID | str) -> UUID:
        """The id; streams are always current, so a position is only checked, not waited for."""
        if query.after is not None:
            self._positions.number(query.after)
        try:
            return self._finder.find(tenant, reference)
        except NotFound:
            if query.after is None or isinstance(reference, UUID):
                raise
            self.wait(query, tenant, ViewName.SHORT_IDS)  # that of a job that has ended is found there alone
            return self._finder.find(tenant, reference)

    def wait(self, query: Query[Any], tenant: str, *views: ViewName) -> None:
        """Wait until these show what the caller has written."""
        self._tenants.require_known(tenant)
        if query.after is not None:
            self._awaiting.reach(query.after, query.timeout_seconds, "lists", *views)

    def last_body(self, tenant: str, events: Sequence[RecordedEvent]) -> RecordedEvent | None:
        """The last of these events with its body (not recorded yet), None where it has none: bodies are read one by
        one, most are not wanted."""
        if not events or events[-1].metadata.body_sha256 is None:
            return None
        stream, version = events[-1].originator_id, events[-1].originator_version
        found = self._reader.stream(tenant, stream, after_version=version - 1, limit=1, bodies=True)
        return found[0] if found else None


def body_versions(events: Iterable[RecordedEvent | None]) -> tuple[int, ...]:
    """The versions of those events that were read with a body."""
    return tuple(event.originator_version for event in events if event is not None and event.body is not None)


def details_of(events: Sequence[RecordedEvent]) -> JobDetails:
    """A job from its events, from the first on, without bodies."""
    first, started = events[0], [event for event in events if isinstance(event.facts, JobStarted)]
    job = job_from(first.tenant, first.originator_id, events)
    assert job is not None
    completed = [event for event in events if isinstance(event.facts, JobCompleted)]
    costs = [event.facts.estimated_cost for event in events if isinstance(event.facts, JobCompleted | JobFailed)]
    return JobDetails(
        job_id=job.job_id, tenant=job.tenant, version=job.version, state=job.state, created_at=first.recorded_at,
        updated_at=events[-1].recorded_at, started_at=started[-1].recorded_at if started else None,
        completed_at=completed[-1].recorded_at if completed else None, correlation_id=job.correlation_id,
        trace_parent=job.trace_parent, actor=first.metadata.actor, authenticated=first.metadata.authenticated,
        idempotency_key=first.facts.idempotency_key if isinstance(first.facts, JobDispatched) else None,
        progress=progress_of(events), payload=None, result=None, estimated_cost=round(sum(costs), 6),
        attempts=attempts_of(events)[-ATTEMPTS_SHOWN:],
    )  # fmt: skip
