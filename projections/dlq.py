"""The dead-letter queue: jobs that failed for good and wait for a human, from death to requeue or discard."""

from __future__ import annotations

from jobledger.domain.identifiers import born_at
from jobledger.domain.job import JobDiscarded, JobRequeued, JobSentToDlq

from .job_row import shown
from .projection import Column, Index, Projection, Row, SeenEvent, Value


def key(event: SeenEvent) -> tuple[Value, ...]:
    """A row a dead job."""
    return (event.originator_id,)


def fold(row: Row | None, event: SeenEvent) -> Row | None:
    """A row at `job.sent_to_dlq`, none after `job.requeued` or `job.discarded`. `created_at` is the birth in the id."""
    if event.topic != JobSentToDlq.topic:
        return None
    facts = event.facts
    assert isinstance(facts, JobSentToDlq)
    return {
        "job_id": event.originator_id,
        "tenant_id": event.tenant,
        "persona": facts.persona,
        "job_type": facts.job_type,
        "kind": facts.kind,
        "queue": facts.queue,
        "reason": facts.reason,
        "error_type": shown(facts.error_type),
        "error_message": shown(facts.message),
        "fingerprint": shown(facts.fingerprint),
        "attempt": facts.attempt,
        "created_at": born_at(event.originator_id),
        "dead_at": event.recorded_at,
    }


def _in_order(suffix: str, column: str, *tested: str) -> tuple[Index, Index]:
    """The order of the pages of a filter. What else may be asked for stands behind it, where PostgreSQL tests it
    without visiting rows; SQLite visits them anyway."""
    columns = ("tenant_id", column, "dead_at", "job_id")
    return Index(suffix, (*columns, *tested), engine="postgres"), Index(suffix, columns, engine="sqlite")


def _rarest(column: str, *tested: str) -> Index:
    """The same for what there are few values of, which lanes are made of: only PostgreSQL can tell when, beside another
    filter, this one is rarer."""
    return Index(f"by_{column}", ("tenant_id", column, "dead_at", "job_id", *tested), engine="postgres")


DLQ = Projection(
    name="dlq_jobs",
    topics=frozenset({JobSentToDlq.topic, JobRequeued.topic, JobDiscarded.topic}),
    columns=(
        Column("job_id", "uuid", key=True),
        Column("tenant_id", "text"),
        Column("persona", "text", nullable=True),
        Column("job_type", "text"),
        Column("kind", "text"),
        Column("queue", "text"),
        Column("reason", "text"),
        Column("error_type", "text"),
        Column("error_message", "text"),
        Column("fingerprint", "text"),
        Column("attempt", "integer"),
        Column("created_at", "timestamp"),
        Column("dead_at", "timestamp"),
    ),
    key=key,
    fold=fold,
    births=frozenset({JobSentToDlq.topic}),
    indexes=(
        Index("by_time", ("tenant_id", "dead_at", "job_id")),
        Index("by_lane", ("tenant_id", "reason", "kind", "queue", "dead_at", "job_id")),
        Index("by_type_lane", ("tenant_id", "job_type", "reason", "kind", "queue", "dead_at", "job_id")),
        _rarest("kind", "job_type", "queue", "reason", "persona"),
        _rarest("queue", "job_type", "kind", "reason", "persona"),
        _rarest("reason", "job_type", "kind", "queue", "persona"),
        *_in_order("by_type", "job_type", "kind", "queue", "reason", "persona"),
        *_in_order("by_persona", "persona", "job_type", "kind", "queue", "reason"),
        *_in_order("by_error", "error_type", "job_type", "kind", "queue", "reason", "persona"),
        *_in_order("by_fingerprint", "fingerprint", "job_type", "kind", "queue", "reason", "persona"),
    ),
)
