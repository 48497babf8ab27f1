"""Which request each job is part of, and which job caused it: one row a job, written once and never again.

A request is known by its correlation id, which its caller may have chosen. A dispatch that was refused left no job,
but is part of its request as well: its record, an event of the installation, has a row under the tenant of the
installation, in which `job_id` is the record's own stream.
"""

from __future__ import annotations

from uuid import UUID

from jobledger.domain.job import JobDispatched
from jobledger.domain.refusal import DispatchRefused

from .projection import Column, Index, Projection, Row, SeenEvent, Value

CORRELATION_ID_LENGTH_MAX = 200
"""What messages may bring; what is longer is cut, so that it fits into a key."""

_UUID_LENGTH, _JOB_ID_VERSION = 36, 7


def key(event: SeenEvent) -> tuple[Value, ...]:
    """Tenant, request and job: the jobs of a request are found together, in the order of their birth."""
    return (event.tenant, _storable(event.cause.correlation_id), event.originator_id)


def fold(row: Row | None, event: SeenEvent) -> Row:
    """Everything is known when a job is dispatched."""
    del row
    correlation_id, causation_id = event.cause
    return {
        "tenant_id": event.tenant,
        "correlation_id": _storable(correlation_id),
        "job_id": event.originator_id,
        "causation_id": None if causation_id is None else _storable(causation_id),
        "caused_by": None if causation_id is None else causing_job(causation_id),
        "created_at": event.recorded_at,
    }


def causing_job(causation_id: str) -> UUID | None:
    """The job in `<job>.<version>`, which is how an event of a job is named; None for the id of anything else."""
    if len(causation_id) <= _UUID_LENGTH or causation_id[_UUID_LENGTH] != ".":
        return None
    version = causation_id[_UUID_LENGTH + 1 :]
    if not (version.isascii() and version.isdigit()):
        return None
    try:
        found = UUID(causation_id[:_UUID_LENGTH])
    except ValueError:
        return None
    return found if found.version == _JOB_ID_VERSION else None


def _storable(text: str) -> str:
    """Bounded, and without what no database holds: NUL, and half of a surrogate pair."""
    short = text[:CORRELATION_ID_LENGTH_MAX]
    if short.isascii() and "\x00" not in short:
        return short
    return short.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


JOB_TRACES = Projection(
    name="job_traces",
    topics=frozenset({JobDispatched.topic, DispatchRefused.topic}),
    columns=(
        Column("tenant_id", "text", key=True),
        Column("correlation_id", "text", key=True),
        Column("job_id", "uuid", key=True),
        Column("causation_id", "text", nullable=True, constant=True),
        Column("caused_by", "uuid", nullable=True, constant=True),
        Column("created_at", "timestamp", constant=True),
    ),
    key=key,
    fold=fold,
    births=frozenset({JobDispatched.topic, DispatchRefused.topic}),
    indexes=(Index("by_cause", ("tenant_id", "caused_by", "job_id"), where="caused_by"),),
)
