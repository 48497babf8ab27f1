"""Because of what: what caused a job, which jobs it caused, and everything that one request caused."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from jobledger.domain.errors import NotFound
from jobledger.domain.event import RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.refusal import DispatchRefused

from .dispatcher import Dispatcher
from .flow import Flow
from .job_repository import job_from, no_such_job
from .ports import EventReader, Freshness, JobViews, TracedJob, ViewName
from .queries import (
    TRACE_LIMIT_MAX,
    Causes,
    CausingEvent,
    GetCauses,
    RefusedDispatch,
    Trace,
    TraceRequest,
)
from .reading import Reading
from .result import Accepted

REFUSALS_MAX = 100
"""Refused dispatches of a request that are shown."""
_REFUSALS_LOOKED_AT_MAX = 2_000
"""Of all tenants: a correlation id is what its caller says it is."""
_READ = (ViewName.TRACES, ViewName.TENANT_JOBS)


class TracingRequests:
    """The handlers of `GetCauses` and `TraceRequest`."""

    def __init__(self, *, reading: Reading, reader: EventReader, views: JobViews) -> None:
        self._reading = reading
        self._reader = reader
        self._views = views

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the queries of this module."""
        dispatcher.register(GetCauses, self.causes)
        dispatcher.register(TraceRequest, self.trace)

    def causes(self, query: GetCauses, flow: Flow) -> Accepted[Causes]:
        """What caused a job, and what it caused."""
        job_id = self._reading.find(query, query.tenant, query.job)
        first = self._reader.stream(query.tenant, job_id, limit=1)
        if job_from(query.tenant, job_id, first) is None:
            raise no_such_job(query.tenant, query.job)
        self._reading.wait(query, query.tenant, *_READ)
        caused = self._views.caused_jobs(query.tenant, [job_id], limit=query.limit)
        metadata = first[0].metadata
        cause = None if metadata.causation_id is None else self._causing(query, metadata.causation_id)
        jobs = tuple(job for job in caused.jobs if _is_within(query.queues, job))
        return Accepted(Causes(job_id, metadata.correlation_id, cause, jobs, caused.more, caused.freshness))

    def _causing(self, query: GetCauses, causation_id: str) -> CausingEvent:
        """The event; of a queue that may not be seen, and of what is no job of one, its id alone."""
        tenant, place = query.tenant, event_place(causation_id)
        if place is None:
            return CausingEvent(causation_id, None)
        stream, version = place
        if query.queues is not None:
            job = job_from(tenant, stream, self._reader.stream(tenant, stream, limit=1))
            if job is None or job.state.queue not in query.queues:
                return CausingEvent(causation_id, None)
        found = self._reader.stream(tenant, stream, after_version=version - 1, limit=1)
        return CausingEvent(causation_id, found[0] if found else None)

    def trace(self, query: TraceRequest, flow: Flow) -> Accepted[Trace]:
        """A page of what one request caused. Raises `NotFound` where nothing is known of it."""
        self._reading.wait(query, query.tenant, *_READ)
        own = self._views.request_jobs(query.tenant, query.request, after=query.cursor, limit=query.limit)
        further, more = self._descendants(query.tenant, own.jobs)
        refused, more_refused = self._refused(query) if query.cursor is None else ((), False)
        if query.cursor is None and not (own.jobs or refused or more_refused):
            raise _nothing_known(query, own.freshness)
        cursor = str(own.jobs[-1].job_id) if own.more else None
        return Accepted(
            Trace(query.request, (*own.jobs, *further), refused, cursor, more or more_refused, own.freshness)
        )

    def _descendants(self, tenant: str, jobs: Sequence[TracedJob]) -> tuple[tuple[TracedJob, ...], bool]:
        """Jobs that these caused, and what those caused, as far as they belong to other requests: a bounded number."""
        own = {job.correlation_id for job in jobs}
        found: dict[UUID, TracedJob] = {job.job_id: job for job in jobs}
        further: list[TracedJob] = []
        asked: Sequence[UUID] = list(found)
        more = False
        while asked and len(further) < TRACE_LIMIT_MAX:
            page = self._views.caused_jobs(tenant, asked, limit=TRACE_LIMIT_MAX)
            more = more or page.more
            new = [job for job in page.jobs if job.job_id not in found and job.correlation_id not in own]
            found.update((job.job_id, job) for job in new)
            further += new
            asked = [job.job_id for job in new]
        return tuple(further), more

    def _refused(self, query: TraceRequest) -> tuple[tuple[RefusedDispatch, ...], bool]:
        """Dispatches for this tenant that were refused. Their records belong to the installation, because what was
        claimed need not be true; only those that claimed this tenant are shown to it."""
        refused: list[RefusedDispatch] = []
        after: UUID | None = None
        for _ in range(_REFUSALS_LOOKED_AT_MAX // REFUSALS_MAX):
            page = self._views.request_jobs(SYSTEM_TENANT, query.request, after=after, limit=REFUSALS_MAX)
            refused += self._refused_of(query.tenant, page.jobs)
            if len(refused) > REFUSALS_MAX or not page.more:
                return tuple(refused[:REFUSALS_MAX]), len(refused) > REFUSALS_MAX
            after = page.jobs[-1].job_id
        return tuple(refused), True  # whether there is another one of this tenant is not known

    def _refused_of(self, tenant: str, records: Sequence[TracedJob]) -> list[RefusedDispatch]:
        streams = self._reader.streams(SYSTEM_TENANT, [record.job_id for record in records])
        return [
            RefusedDispatch(event, record.caused_by)
            for record in records
            for event in streams.get(record.job_id, ())
            if _concerns(event, tenant)
        ]


def _nothing_known(query: TraceRequest, fresh: Freshness) -> NotFound:
    moment = f"{fresh.recorded_at:%Y-%m-%d %H:%M:%S} UTC, " if fresh.recorded_at is not None else ""
    behind = fresh.head - fresh.position
    wait = f"what was recorded since is not looked at yet ({behind:,} positions): ask again in a moment"
    return NotFound(
        f"nothing is known of a request {query.request!r} in tenant {query.tenant!r}, as of {moment}position "
        f"{fresh.position}", field="request", rule="is the correlation id of a job, or of a refused dispatch",
        hint=wait if behind > 0 else "jobledger jobs show ID names that of a job",
    )  # fmt: skip


def _concerns(event: RecordedEvent, tenant: str) -> bool:
    return isinstance(event.facts, DispatchRefused) and event.facts.tenant_claimed == tenant


def _is_within(queues: frozenset[str] | None, job: TracedJob) -> bool:
    return queues is None or (job.listed is not None and job.listed.queue in queues)


_VERSION_DIGITS_MAX = len(str((1 << 31) - 1))


def event_place(causation_id: str) -> tuple[UUID, int] | None:
    """Stream and version in `<stream>.<version>`; None for the id of a message from elsewhere."""
    stream, dot, version = causation_id.rpartition(".")
    if not dot or not (version.isascii() and version.isdigit() and len(version) <= _VERSION_DIGITS_MAX):
        return None
    if not 1 <= int(version) < 1 << 31:
        return None
    try:
        return UUID(stream), int(version)
    except ValueError:
        return None
