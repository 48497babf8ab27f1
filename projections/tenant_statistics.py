"""What happened to the jobs of each tenant, hour by hour: counts, how long they waited and ran, what they cost.

A row is an hour (UTC) of one persona ('' for jobs without), job type and queue of a tenant.
"""

from __future__ import annotations

from .job_statistics import COUNTED_COLUMNS, COUNTED_TOPICS, count, hour_of
from .projection import Column, Projection, Row, SeenEvent, Value

_KEY = ("tenant_id", "bucket_at", "persona", "job_type", "queue")


def key(event: SeenEvent) -> tuple[Value, ...]:
    """The hour comes before the rest: what is asked for is a tenant and a time."""
    job_type, queue, persona = event.identity
    return (event.tenant, hour_of(event.recorded_at), persona or "", job_type, queue)


def fold(row: Row | None, event: SeenEvent) -> Row:
    """One more of what the event says."""
    return count(row, event, {} if row is not None else dict(zip(_KEY, key(event), strict=True)))


TENANT_STATISTICS = Projection(
    name="tenant_statistics",
    topics=COUNTED_TOPICS,
    columns=(
        Column("tenant_id", "text", key=True),
        Column("bucket_at", "timestamp", key=True),
        Column("persona", "text", key=True),
        Column("job_type", "text", key=True),
        Column("queue", "text", key=True),
        *COUNTED_COLUMNS,
    ),
    key=key,
    fold=fold,
    by_stream=False,
    fill_percent=50,
)
