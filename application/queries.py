"""What one can ask jobledger. Frozen; a tenant is a required argument of everything that belongs to one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from jobledger.domain.difference import Change, Difference
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobKind, JobState, JobStatus
from jobledger.domain.moment import Moment
from jobledger.domain.tenant import TenantName

from .attempts import Attempt
from .dlq_filtered import DlqFiltered
from .message import NO_NUL, CorrelationId, JobReference, Query
from .past_jobs import VERSION_MAX, AsOf, Past, Version
from .ports import DlqRow, Freshness, JobFilter, JobListRow, TracedJob, WorkerRow
from .writes import JobTypeRow, TenantRow

PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX = 50, 500
HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX = 200, 1_000
TRACE_LIMIT_DEFAULT, TRACE_LIMIT_MAX = 200, 1_000


class JobDetails(NamedTuple):
    """A job, always current. `payload` and `result` are JSON, None where removed, absent or not asked for."""

    job_id: UUID
    tenant: str
    version: int
    state: JobState
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    correlation_id: str
    trace_parent: str
    actor: str
    idempotency_key: str | None
    progress: float | None
    payload: bytes | None
    result: bytes | None
    estimated_cost: float = 0.0
    authenticated: bool = True
    """Whether the actor who dispatched it was authenticated."""
    attempts: tuple[Attempt, ...] = ()
    """The last of them."""
    past: Past | None = None
    """Set where the job is shown as it was at an earlier moment."""

    @property
    def status(self) -> JobStatus:
        """Where the job stands."""
        return self.state.status

    @property
    def failed(self) -> bool:
        """The last attempt failed and the job has not completed since."""
        return self.state.last_attempt_failed


class History(NamedTuple):
    """Events of a job, oldest first. `next_version` is where the next page begins (`after_version`), or None."""

    job_id: UUID
    events: tuple[RecordedEvent, ...]
    next_version: int | None


class JobList(NamedTuple):
    """A page of jobs, newest first; `cursor` opens the next page, None: this is the last."""

    rows: tuple[JobListRow, ...]
    cursor: str | None
    freshness: Freshness


class DlqList(NamedTuple):
    """A page of dead jobs, most recently dead first."""

    rows: tuple[DlqRow, ...]
    cursor: str | None
    freshness: Freshness


class GetJob(Query[JobDetails]):
    """One job, from its stream: as it is or, with `as_of` (a moment, or a version of the job), as it was; with
    `bodies` also its payload and result, and then the look is recorded."""

    tenant: TenantName
    job: JobReference
    bodies: bool = False
    as_of: AsOf | None = None


class GetJobHistory(Query[History]):
    """What happened to a job, and why; with `bodies` also payload, result, tracebacks, logs and step outputs."""

    tenant: TenantName
    job: JobReference
    bodies: bool = False
    after_version: Annotated[int, Field(ge=0, le=VERSION_MAX)] = 0
    limit: Annotated[int, Field(ge=1, le=HISTORY_LIMIT_MAX)] = HISTORY_LIMIT_DEFAULT


Text = Annotated[str, Field(pattern=NO_NUL)]
Persona = Annotated[str, Field(pattern=NO_NUL, min_length=1, max_length=127)]


class _Filters(BaseModel):
    """Filters of a list; what is None does not filter. Times bound the creation (from inclusive, to exclusive)."""

    tenant: TenantName
    status: JobStatus | None = None
    failed: bool | None = None
    job_type: Text | None = None
    kind: JobKind | None = None
    queue: Text | None = None
    created_from: Moment | None = None
    created_to: Moment | None = None
    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT

    @property
    def where(self) -> JobFilter:
        """The filters as the read models take them."""
        return JobFilter(
            self.status, self.failed, self.job_type, self.kind, self.queue, self.created_from, self.created_to
        )


class ListTenantJobs(_Filters, Query[JobList]):
    """The jobs of a tenant."""


class ListPersonaJobs(_Filters, Query[JobList]):
    """The jobs of one persona of a tenant."""

    persona: Persona


class JobListAsOf(NamedTuple):
    """A page of jobs as they were at a moment, newest first. Each job is folded from its stream, so a page looks at a
    bounded number of them: it may hold few rows, or none, and still have a `cursor` that opens the next one."""

    rows: tuple[JobListRow, ...]
    cursor: str | None
    freshness: Freshness
    """How current the list is that the jobs were enumerated from."""
    as_of: datetime
    scanned: int
    """Jobs that this page looked at."""


class ListJobsAsOf(_Filters, Query[JobListAsOf]):
    """The jobs of a tenant (or of one persona of it) as they were at a moment: those dispatched until then, with the
    status they had. Filters are about the jobs as they were."""

    as_of: Moment
    persona: Persona | None = None


class ListDlq(DlqFiltered, Query[DlqList]):
    """The dead jobs of a tenant, most recently dead first."""

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT


class Revision(NamedTuple):
    """A version of a job, and when it was recorded."""

    version: int
    recorded_at: datetime


class FieldChange(NamedTuple):
    """A field of a job that differs between two versions; values as JSON has them."""

    name: str
    before: JsonValue
    after: JsonValue


class PayloadChange(NamedTuple):
    """How the payload differs: the places, without values (None: not known, because a body is not there any more), and
    with them where they were asked for."""

    places: tuple[Change, ...] | None
    differences: tuple[Difference, ...] | None = None


class JobDiff(NamedTuple):
    """What changed from one version of a job to another. `topics` are the events between, oldest first."""

    job_id: UUID
    before: Revision
    after: Revision
    fields: tuple[FieldChange, ...]
    payload: PayloadChange | None
    topics: tuple[str, ...]


class DiffJob(Query[JobDiff]):
    """What changed between two versions of a job (`to_version` None: its last). With `bodies` also what the payload
    had, and has, at the places that differ."""

    tenant: TenantName
    job: JobReference
    from_version: Version
    to_version: Version | None = None
    bodies: bool = False


class CausingEvent(NamedTuple):
    """What directly caused a job: the id of a message and, where that is an event of a job of the tenant, the event."""

    causation_id: str
    event: RecordedEvent | None


class Causes(NamedTuple):
    """Why a job is there, and which jobs are there because of it (in the order of their birth; `more`: not all)."""

    job_id: UUID
    correlation_id: str
    cause: CausingEvent | None
    caused: tuple[TracedJob, ...]
    more: bool
    freshness: Freshness
    """How current the list is that the caused jobs stand in."""


class GetCauses(Query[Causes]):
    """What caused a job, and what it caused; with `queues` only as far as these know: authorization says so."""

    tenant: TenantName
    job: JobReference
    queues: frozenset[str] | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT


class RefusedDispatch(NamedTuple):
    """A dispatch of a request that was refused; the event says why. `caused_by` is the job that asked for it."""

    event: RecordedEvent
    caused_by: UUID | None


class Trace(NamedTuple):
    """A page of what one request caused: jobs in the order of their birth, and dispatches that were refused.

    Jobs that a job of the page caused are among `jobs` even where they are part of another request. `more`: there are
    more of those, or more refusals, than are shown; `cursor` opens the next page of the request's own jobs.
    """

    correlation_id: str
    jobs: tuple[TracedJob, ...]
    refused: tuple[RefusedDispatch, ...]
    cursor: str | None
    more: bool
    freshness: Freshness


class TraceRequest(Query[Trace]):
    """Everything that one request caused, as far as read models know it: jobs with its correlation id, the jobs that
    these caused, and its refused dispatches. Acts on jobs that were there before (a requeue, a pause) are not: they
    stand in the history of what they changed."""

    tenant: TenantName
    request: CorrelationId
    cursor: UUID | None = None
    limit: Annotated[int, Field(ge=1, le=TRACE_LIMIT_MAX)] = TRACE_LIMIT_DEFAULT


class ListWorkers(Query[tuple[WorkerRow, ...]]):
    """The workers that have not said goodbye, the longest running first; with `lost`, also those that were not heard
    of while their lease lasted."""

    lost: bool = False


class ListTenants(Query[tuple[TenantRow, ...]]):
    """All tenants by name."""


class ListJobTypes(Query[tuple[JobTypeRow, ...]]):
    """All job types that the installation knows, by name."""
