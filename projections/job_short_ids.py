"""Where a job is found by the end of its id: one row a job, written once and never again.

It stands apart from the lists because their rows change: there, an index in this random order would take an entry, on
another page, for every version of a row.
"""

from __future__ import annotations

from jobledger.domain.identifiers import short_id
from jobledger.domain.job import JobDispatched

from .projection import Column, Projection, Row, SeenEvent, Value


def key(event: SeenEvent) -> tuple[Value, ...]:
    """Tenant, short id, and the job, because two jobs of a tenant may end alike."""
    return (event.tenant, short_id(event.originator_id), event.originator_id)


def fold(row: Row | None, event: SeenEvent) -> Row:
    """The key is all there is to know."""
    del row
    return {
        "tenant_id": event.tenant, "short_id": short_id(event.originator_id), "job_id": event.originator_id,
    }  # fmt: skip


JOB_SHORT_IDS = Projection(
    name="job_short_ids",
    topics=frozenset({JobDispatched.topic}),
    columns=(
        Column("tenant_id", "text", key=True),
        Column("short_id", "text", key=True),
        Column("job_id", "uuid", key=True),
    ),
    key=key,
    fold=fold,
    births=frozenset({JobDispatched.topic}),
)
