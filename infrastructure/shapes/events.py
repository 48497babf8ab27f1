"""An event of a job as those see it who listen: facts, never a body."""

from __future__ import annotations

from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobFacts

from .jobs import Shape
from .texts import iso
from .timeline import why


def live_event(event: RecordedEvent, position: str) -> Shape:
    """What happened, to which job, by whom and why. `position` is what one goes on after."""
    facts, metadata = event.facts, event.metadata
    assert isinstance(facts, JobFacts)
    return {
        "event_id": event.event_id, "position": position, "topic": event.topic, "recorded_at": iso(event.recorded_at),
        "tenant": event.tenant, "job_id": str(event.originator_id), "version": event.originator_version,
        "type": facts.job_type, "queue": facts.queue, "persona": facts.persona, "actor": metadata.actor,
        "on_behalf_of": metadata.on_behalf_of, "correlation_id": metadata.correlation_id,
        "causation_id": event.causation_id, "trace_id": metadata.trace_id, "why": why(facts),
        "facts": facts.model_dump(mode="json"),
    }  # fmt: skip
