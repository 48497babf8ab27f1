"""What `ledger.jobs` tells: one job, as it is or was, what happened to it and why, what it caused."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict, Unpack
from uuid import UUID

from jobledger.domain.job import JobKind, JobStatus

from .client_part import ClientPart
from .limit_messages import ExplainJob, Explanation
from .queries import (
    Causes,
    DiffJob,
    GetCauses,
    GetJob,
    GetJobHistory,
    History,
    JobDetails,
    JobDiff,
    JobListAsOf,
    ListJobsAsOf,
    Trace,
    TraceRequest,
)

Job = UUID | str
"""A job's id, or at least its last eight characters."""


class ListOptions(TypedDict, total=False):
    """Filters and paging of a job list; `cursor` is that of the page before."""

    status: JobStatus | str
    failed: bool
    job_type: str
    kind: JobKind
    queue: str
    created_from: datetime
    created_to: datetime
    cursor: str
    limit: int
    after: str


class PastOfJobs(ClientPart):
    """Questions about jobs. With `after`, a position that a command returned, an answer shows what that wrote."""

    def get(
        self,
        job: Job,
        *,
        tenant: str | None = None,
        after: str | None = None,
        bodies: bool = False,
        as_of: int | datetime | None = None,
    ) -> JobDetails:
        """A job, always current or, with `as_of` (a version of it, or a moment), as it was; with `bodies` its payload
        and result, too, and that somebody looked is recorded. Raises `NotFound`, also for a moment before its
        dispatch, and `InvalidInput` for a version that it does not have."""
        return self._ask(GetJob, tenant=self._tenant_or(tenant), job=job, after=after, bodies=bodies, as_of=as_of)

    def history(
        self,
        job: Job,
        *,
        tenant: str | None = None,
        bodies: bool = False,
        after_version: int | None = None,
        limit: int | None = None,
    ) -> History:
        """What happened to a job and why, oldest first; with `bodies` also tracebacks, logs ..., recorded."""
        return self._ask(
            GetJobHistory, tenant=self._tenant_or(tenant), job=job, bodies=bodies, after_version=after_version,
            limit=limit,
        )  # fmt: skip

    def diff(
        self,
        job: Job,
        from_version: int,
        to_version: int | None = None,
        *,
        tenant: str | None = None,
        bodies: bool = False,
    ) -> JobDiff:
        """What changed between two versions of a job (default: until its last); with `bodies` also the values that
        differ in the payload, and that somebody looked is recorded."""
        return self._ask(
            DiffJob, tenant=self._tenant_or(tenant), job=job, from_version=from_version, to_version=to_version,
            bodies=bodies,
        )  # fmt: skip

    def causes(
        self, job: Job, *, tenant: str | None = None, limit: int | None = None, after: str | None = None
    ) -> Causes:
        """What caused a job, and which jobs it caused."""
        return self._ask(GetCauses, tenant=self._tenant_or(tenant), job=job, limit=limit, after=after)

    def trace(
        self,
        correlation_id: str,
        *,
        tenant: str | None = None,
        cursor: UUID | str | None = None,
        limit: int | None = None,
        after: str | None = None,
    ) -> Trace:
        """Everything that one request caused: its jobs, the jobs that these caused, and what was refused. Raises
        `NotFound` where nothing is known of it (yet: it is read from a view)."""
        return self._ask(
            TraceRequest, tenant=self._tenant_or(tenant), request=correlation_id, cursor=cursor, limit=limit,
            after=after,
        )  # fmt: skip

    def explain(self, job: Job, *, tenant: str | None = None) -> Explanation:
        """Where a job stands at this moment, since when and why; of one that waits, each thing that holds it back."""
        return self._ask(ExplainJob, tenant=self._tenant_or(tenant), job=job)

    def list_as_of(
        self, as_of: datetime, *, tenant: str | None = None, persona: str | None = None, **options: Unpack[ListOptions]
    ) -> JobListAsOf:
        """A page of the jobs of a tenant, or of one persona of it, as they were at a moment, newest first. A page looks
        at a bounded number of jobs: it may be empty and still have a `cursor`."""
        return self._ask(ListJobsAsOf, tenant=self._tenant_or(tenant), persona=persona, as_of=as_of, **options)
