"""Reading jobs: one job and its history from its stream (always current), lists from the read models."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from jobledger.domain.errors import InvalidInput, NotFound, NotYetVisible
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobCompleted, JobDispatched, JobFailed, JobProgressed, JobStarted

from .dispatcher import Dispatcher
from .dlq_messages import CountDlq, DlqCount
from .flow import Flow
from .job_finder import JobFinder
from .job_repository import brings_payload, job_from, no_such_job
from .known import KnownTenants
from .message import Query
from .ports import EventReader, Job, JobViews, PageKey
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


class Reading:
    """The handlers of the queries about jobs."""

    def __init__(
        self, *, reader: EventReader, views: JobViews, finder: JobFinder, tenants: KnownTenants, positions: Positions
    ) -> None:
        self._reader = reader
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

    def get(self, query: GetJob, flow: Flow) -> Accepted[JobDetails]:
        """One job."""
        job_id = self._find(query, query.tenant, query.job)
        events = self._reader.stream(query.tenant, job_id)
        job = job_from(query.tenant, job_id, events)
        if job is None:
            raise no_such_job(query.tenant, query.job)
        payload = result = None
        if query.bodies:
            payload = self._body_of(query.tenant, [event for event in events if brings_payload(event)])
            result = self._body_of(query.tenant, [event for event in events if isinstance(event.facts, JobCompleted)])
        return Accepted(_details(job, events, payload, result), self._positions.text(events[-1].position))

    def history(self, query: GetJobHistory, flow: Flow) -> Accepted[History]:
        """A page of what happened to a job."""
        job_id = self._find(query, query.tenant, query.job)
        events = self._reader.stream(
            query.tenant, job_id, after_version=query.after_version, limit=query.limit + 1, bodies=query.bodies
        )
        if not events and query.after_version == 0:
            raise no_such_job(query.tenant, query.job)
        page = tuple(events[: query.limit])
        more = len(events) > query.limit
        return Accepted(History(job_id, page, page[-1].originator_version if more else None))

    def tenant_jobs(self, query: ListTenantJobs, flow: Flow) -> Accepted[JobList]:
        """A page of a tenant's jobs."""
        self._wait(query, query.tenant)
        page = self._views.tenant_jobs(query.tenant, query.where, after=_key(query.cursor), limit=query.limit)
        return Accepted(JobList(page.rows, _cursor(page.next), page.freshness))

    def persona_jobs(self, query: ListPersonaJobs, flow: Flow) -> Accepted[JobList]:
        """A page of a persona's jobs."""
        self._wait(query, query.tenant)
        page = self._views.persona_jobs(
            query.tenant, query.persona, query.where, after=_key(query.cursor), limit=query.limit
        )
        return Accepted(JobList(page.rows, _cursor(page.next), page.freshness))

    def dlq(self, query: ListDlq, flow: Flow) -> Accepted[DlqList]:
        """A page of a tenant's dead jobs."""
        self._wait(query, query.tenant)
        page = self._views.dlq(query.tenant, query.where, after=_key(query.cursor), limit=query.limit)
        return Accepted(DlqList(page.rows, _cursor(page.next), page.freshness))

    def count_dlq(self, query: CountDlq, flow: Flow) -> Accepted[DlqCount]:
        """How many of a tenant's dead jobs match, and a few of them: of all that was recorded when it was asked."""
        everything = query.after or self._positions.text(self._reader.head())
        self._wait(query.model_copy(update={"after": everything}), query.tenant)
        summary = self._views.dlq_summary(query.tenant, query.where, groups=GROUPS_SHOWN)
        sample = self._views.dlq(query.tenant, query.where, after=None, limit=query.sample).rows if query.sample else ()
        last = summary.last_dead_at
        until = None if last is None else last + timedelta(microseconds=1)
        return Accepted(DlqCount(query.tenant, query.where, summary, sample, until))

    def _find(self, query: Query[Any], tenant: str, reference: UUID | str) -> UUID:
        """The id; streams are always current, so a position is only checked, not waited for."""
        if query.after is not None:
            self._positions.number(query.after)
        try:
            return self._finder.find(tenant, reference)
        except NotFound:
            if query.after is None or isinstance(reference, UUID):
                raise
            self._wait(query, tenant)  # the short id of a job that has ended is found in the lists alone
            return self._finder.find(tenant, reference)

    def _wait(self, query: Query[Any], tenant: str) -> None:
        """Wait until the lists show what the caller has written."""
        self._tenants.require_known(tenant)
        if query.after is None:
            return
        position = self._positions.number(query.after)
        if not self._views.wait_for(position, query.timeout_seconds):
            raise NotYetVisible(
                f"the lists did not reach {query.after} within {query.timeout_seconds:g} s", field="after",
                rule="reached in time", hint="is a worker running? projections run with `jobledger up` and `work`",
            )  # fmt: skip

    def _body_of(self, tenant: str, events: Sequence[RecordedEvent]) -> bytes | None:
        """The body of the last of these events: bodies are read one by one, most are not wanted."""
        if not events or events[-1].metadata.body_sha256 is None:
            return None
        stream, version = events[-1].originator_id, events[-1].originator_version
        found = self._reader.stream(tenant, stream, after_version=version - 1, limit=1, bodies=True)
        return found[0].body if found else None


def _details(job: Job, events: Sequence[RecordedEvent], payload: bytes | None, result: bytes | None) -> JobDetails:
    first, started = events[0], [event for event in events if isinstance(event.facts, JobStarted)]
    completed = [event for event in events if isinstance(event.facts, JobCompleted)]
    progress = [event.facts for event in events if isinstance(event.facts, JobProgressed)]
    costs = [event.facts.estimated_cost for event in events if isinstance(event.facts, JobCompleted | JobFailed)]
    current = bool(progress) and progress[-1].attempt == job.state.attempt
    return JobDetails(
        job_id=job.job_id, tenant=job.tenant, version=job.version, state=job.state, created_at=first.recorded_at,
        updated_at=events[-1].recorded_at, started_at=started[-1].recorded_at if started else None,
        completed_at=completed[-1].recorded_at if completed else None, correlation_id=job.correlation_id,
        trace_parent=job.trace_parent, actor=first.metadata.actor, authenticated=first.metadata.authenticated,
        idempotency_key=first.facts.idempotency_key if isinstance(first.facts, JobDispatched) else None,
        progress=progress[-1].fraction if current else None, payload=payload, result=result,
        estimated_cost=round(sum(costs), 6),
    )  # fmt: skip


def _cursor(key: PageKey | None) -> str | None:
    """A page key as an opaque string."""
    if key is None:
        return None
    return base64.urlsafe_b64encode(f"{key.created_at.isoformat()}|{key.job_id.hex}".encode()).decode().rstrip("=")


def _key(cursor: str | None) -> PageKey | None:
    """The page key in a cursor. Raises `InvalidInput` for what no list has given out."""
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, job_id = text.partition("|")
        key = PageKey(datetime.fromisoformat(moment), UUID(job_id))
        if key.created_at.tzinfo is None:
            raise ValueError("naive")
    except (ValueError, binascii.Error) as error:
        raise InvalidInput("not a cursor", field="cursor", rule="is the cursor of a page before") from error
    return key
