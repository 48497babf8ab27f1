"""What auditors ask."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from .jobs import Answer

Format = Literal["jsonl", "csv", "cloudevents"]

_ACT: JsonDict = {
    "event_id": "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f.4", "position": "5f0c.8192",
    "recorded_at": "2026-03-01T09:30:05.250000Z", "tenant": "acme", "actor": "key:4k2m9xq7ta", "authenticated": True,
    "topic": "job.requeued", "act": "requeued", "subject": "job 0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f",
    "reason": "gateway fixed", "ticket": "OPS-12", "job_id": "0199d5a2-7c10-7cc1-9f0e-3d2b1a0c9e8f", "cause": None,
}  # fmt: skip


class AuditEvent(Answer):
    """An event as it was recorded: a line of a replay in `jsonl`. Where bodies were asked for: `body` as text, or
    `body_base64` where it is no UTF-8; both null where it has none, or where it was removed."""

    position: str
    id: str
    recorded_at: datetime
    tenant: str
    topic: str
    schema_version: int
    stream_id: UUID
    version: int
    actor: str
    authenticated: bool
    on_behalf_of: str | None
    address: str | None
    request_id: str | None
    time: datetime
    correlation_id: str
    causation_id: str | None
    trace_parent: str
    facts: dict[str, Any]
    body_sha256: str | None
    body_length: int | None
    body: str | None = Field(default=None, repr=False)
    body_base64: str | None = Field(default=None, repr=False)


class Action(Answer):
    """What somebody did by hand: who, when, what, on what, why. `cause`: the event that it was part of, an act on many
    jobs."""

    event_id: str
    position: str
    recorded_at: datetime
    tenant: str
    actor: str
    authenticated: bool
    topic: str
    act: str
    subject: str
    reason: str
    ticket: str | None
    job_id: UUID | None
    cause: str | None


class Actions(Answer):
    """A page of manual acts, oldest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"acts": [_ACT], "next_cursor": None}]})

    acts: list[Action]
    next_cursor: str | None


class ExportQuery(Answer):
    """Which events were asked for."""

    model_config = ConfigDict(populate_by_name=True, extra="allow")

    topics: list[str]
    actor: str | None


class ExportEnd(Answer):
    """What was handed out; `sha256` is that of the bytes, before any compression on the way."""

    events: int
    first_position: str | None
    last_position: str | None
    sha256: str


class ExportRecord(Answer):
    """What the ledger says of an export. `ended` null: it goes on, or broke off."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "export_id": "ff3c0d1e-2b4a-8c6d-9e8f-0a1b2c3d4e5f", "tenant": "acme", "actor": "key:4k2m9xq7ta",
                    "begun_at": "2026-03-01T09:30:05.250000Z", "format": "jsonl", "bodies": False, "reason": "audit",
                    "query": {"from": None, "to": None, "topics": ["job.*"], "actor": None},
                    "ended": {
                        "events": 12, "first_position": "5f0c.4096", "last_position": "5f0c.49152",
                        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                    },
                }
            ]
        }
    )  # fmt: skip

    export_id: UUID
    tenant: str
    actor: str
    begun_at: datetime
    format: str
    bodies: bool
    reason: str
    query: ExportQuery
    ended: ExportEnd | None
