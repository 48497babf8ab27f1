"""All jobs of a tenant, newest first: the list behind `jobs list`, and the place where short ids are looked up."""

from __future__ import annotations

from jobledger.domain.identifiers import short_id

from .job_row import JOB_BIRTHS, JOB_COLUMNS, JOB_TOPICS, fold_job
from .projection import Column, Projection, Row, SeenEvent, Value


def key(event: SeenEvent) -> tuple[Value, ...]:
    """A row a job. Job ids are unique across tenants, and a stream has one tenant."""
    return (event.originator_id,)


def fold(row: Row | None, event: SeenEvent) -> Row:
    """The job's row, which keeps its short id from its first event on."""
    after = fold_job(row, event)
    if row is None:
        after["short_id"] = short_id(event.originator_id)
    return after


TENANT_JOBS = Projection(
    name="tenant_jobs",
    topics=JOB_TOPICS,
    columns=(*JOB_COLUMNS, Column("short_id", "text", constant=True)),
    key=key,
    fold=fold,
    births=JOB_BIRTHS,
)
