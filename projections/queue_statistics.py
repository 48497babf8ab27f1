"""What happened in each queue, minute by minute, of all tenants together: for operators.

It has no tenant, so no role that acts for one may read it.
"""

from __future__ import annotations

from .job_statistics import COUNTED_COLUMNS, COUNTED_TOPICS, count, minute_of
from .projection import Column, Projection, Row, SeenEvent, Value


def key(event: SeenEvent) -> tuple[Value, ...]:
    """The minute comes first: what is asked for is a time, of all queues."""
    return (minute_of(event.recorded_at), event.identity.queue)


def fold(row: Row | None, event: SeenEvent) -> Row:
    """One more of what the event says."""
    if row is not None:
        return count(row, event, {})
    bucket_at, queue = key(event)
    return count(None, event, {"bucket_at": bucket_at, "queue": queue})


QUEUE_STATISTICS = Projection(
    name="queue_statistics",
    topics=COUNTED_TOPICS,
    columns=(Column("bucket_at", "timestamp", key=True), Column("queue", "text", key=True), *COUNTED_COLUMNS),
    key=key,
    fold=fold,
    by_stream=False,
    fill_percent=50,
)
