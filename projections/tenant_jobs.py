"""All jobs of a tenant, newest first: the list behind `jobs list`."""

from __future__ import annotations

from .job_row import JOB_BIRTHS, JOB_COLUMNS, JOB_FILL_PERCENT, JOB_TOPICS, fold_job, job_indexes
from .projection import Projection, SeenEvent, Value


def key(event: SeenEvent) -> tuple[Value, ...]:
    """A row a job. Job ids are unique across tenants, and a stream has one tenant."""
    return (event.originator_id,)


TENANT_JOBS = Projection(
    name="tenant_jobs",
    topics=JOB_TOPICS,
    columns=JOB_COLUMNS,
    key=key,
    fold=fold_job,
    births=JOB_BIRTHS,
    indexes=job_indexes("tenant_id"),
    fill_percent=JOB_FILL_PERCENT,
)
