"""What one can ask jobledger. Frozen; a tenant is a required argument of everything that belongs to one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NamedTuple
from uuid import UUID

from pydantic import Field

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobKind, JobState, JobStatus
from jobledger.domain.moment import Moment
from jobledger.domain.tenant import TenantName

from .dlq_filtered import DlqFiltered
from .message import JobReference, Query
from .ports import DlqRow, Freshness, JobFilter, JobListRow, WorkerRow
from .writes import JobTypeRow, TenantRow

PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX = 50, 500
HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX = 200, 1_000


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
    """One job, from its stream."""

    tenant: TenantName
    job: JobReference
    bodies: bool = True


class GetJobHistory(Query[History]):
    """What happened to a job, and why; with `bodies` also payload, result, tracebacks, logs and step outputs."""

    tenant: TenantName
    job: JobReference
    bodies: bool = False
    after_version: Annotated[int, Field(ge=0)] = 0
    limit: Annotated[int, Field(ge=1, le=HISTORY_LIMIT_MAX)] = HISTORY_LIMIT_DEFAULT


class _Filtered(Query[JobList]):
    """Filters of a list; what is None does not filter. Times bound the creation (from inclusive, to exclusive)."""

    tenant: TenantName
    status: JobStatus | None = None
    failed: bool | None = None
    job_type: str | None = None
    kind: JobKind | None = None
    queue: str | None = None
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


class ListTenantJobs(_Filtered):
    """The jobs of a tenant."""


class ListPersonaJobs(_Filtered):
    """The jobs of one persona of a tenant."""

    persona: Annotated[str, Field(min_length=1, max_length=127)]


class ListDlq(DlqFiltered, Query[DlqList]):
    """The dead jobs of a tenant, most recently dead first."""

    cursor: str | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_LIMIT_MAX)] = PAGE_LIMIT_DEFAULT


class ListWorkers(Query[tuple[WorkerRow, ...]]):
    """The workers that have not said goodbye, the longest running first; with `lost`, also those that were not heard
    of while their lease lasted."""

    lost: bool = False


class ListTenants(Query[tuple[TenantRow, ...]]):
    """All tenants by name."""


class ListJobTypes(Query[tuple[JobTypeRow, ...]]):
    """All job types that the installation knows, by name."""
