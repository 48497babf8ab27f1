"""Live events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from .jobs import Answer, JobId


class LiveEvent(Answer):
    """An event of a job, as those are told who listen: facts, never a payload, a result or a log line. One goes on
    after `position`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f.2", "position": "5f0c.12288",
                    "topic": "job.cancelled", "recorded_at": "2026-03-01T09:30:05.250000Z", "tenant": "acme",
                    "job_id": "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f", "version": 2, "type": "invoice.send",
                    "queue": "billing", "persona": None, "actor": "key:ops1", "on_behalf_of": None,
                    "correlation_id": "order-42", "causation_id": "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f.1",
                    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "why": "the customer called",
                    "facts": {"job_type": "invoice.send", "queue": "billing", "persona": None,
                              "reason": "the customer called"},
                }
            ]
        }
    )  # fmt: skip

    event_id: str
    position: str
    topic: str
    recorded_at: datetime
    tenant: str
    job_id: JobId
    version: int
    type: str
    queue: str
    persona: str | None
    actor: str
    on_behalf_of: str | None
    correlation_id: str
    causation_id: str | None
    trace_id: str
    why: str
    facts: dict[str, Any]
