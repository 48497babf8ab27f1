"""The jobs of each persona (the agent a job is for), newest first. Jobs without a persona are not in it."""

from __future__ import annotations

from .job_row import JOB_BIRTHS, JOB_COLUMNS, JOB_FILL_PERCENT, JOB_TOPICS, fold_job, job_indexes
from .projection import Projection, SeenEvent, Value


def key(event: SeenEvent) -> tuple[Value, ...] | None:
    """A row a job. Every event repeats the persona, which never changes, so the job id alone is the key."""
    return None if event.persona is None else (event.originator_id,)


PERSONA_JOBS = Projection(
    name="persona_jobs",
    topics=JOB_TOPICS,
    columns=tuple(column._replace(nullable=False) if column.name == "persona" else column for column in JOB_COLUMNS),
    key=key,
    fold=fold_job,
    births=JOB_BIRTHS,
    indexes=job_indexes("tenant_id", "persona"),
    fill_percent=JOB_FILL_PERCENT,
)
