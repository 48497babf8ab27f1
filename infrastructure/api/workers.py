"""Workers and job types."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict
from pydantic.config import JsonDict

from .jobs import Answer

_WORKER: JsonDict = {
    "worker": "host-1:4711:a1b2", "app": "billing", "host": "host-1", "pid": 4711, "code_version": "1.4.0",
    "queues": ["billing"], "tenants": [], "personas": [], "slots": 10, "slots_used": 3, "slots_quarantined": 0,
    "held": 0, "running_by_type": {"invoice.send": 3}, "cpu_seconds": 12.5, "cpu_load": 0.2, "rss_bytes": 118000000,
    "clock_skew_seconds": 0.01, "lost": False, "started_at": "2026-03-01T09:30:05.250000Z",
    "last_seen_at": "2026-03-01T09:40:05.250000Z", "seconds_since_seen": 1.2, "lease_seconds": 30.0,
}  # fmt: skip


class Worker(Answer):
    """A worker: what it runs, holds and uses, when it was last heard of. `running_by_type` counts jobs whose handler
    runs, `held` those whose ending is not durable yet."""

    worker: str
    app: str
    host: str
    pid: int
    code_version: str
    queues: list[str]
    tenants: list[str]
    personas: list[str]
    slots: int
    slots_used: int
    slots_quarantined: int
    held: int
    running_by_type: dict[str, int]
    cpu_seconds: float
    cpu_load: float
    rss_bytes: int
    clock_skew_seconds: float
    lost: bool
    started_at: datetime
    last_seen_at: datetime
    seconds_since_seen: float
    lease_seconds: float


class Workers(Answer):
    """The workers, the longest running first. `lost` counts those that were not heard of while their lease lasted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"workers": [_WORKER], "lost": 0}]})

    workers: list[Worker]
    lost: int


_TYPE: dict[str, Any] = {
    "name": "invoice.send", "kind": "work", "options": {"queue": "billing", "timeout_seconds": 60.0},
    "isolation": "thread", "idempotency_key_fields": ["invoice_id"], "idempotency_key_computed": False,
    "lock_key_computed": False, "effects": "steps", "payload_schema": {"type": "object"}, "result_schema": {},
    "rate_card": {"version": "0"}, "payload_limit_bytes": 256000, "result_limit_bytes": 256000, "providers": [],
    "description": "Send an invoice.", "fingerprint": "0f1e2d3c4b5a6978", "code_version": "1.4.0", "app": "billing",
}  # fmt: skip


class JobType(Answer):
    """A job type as a program registered it: its schemas (JSON Schema), its options, how it is safe to run again."""

    name: str
    kind: str
    options: dict[str, Any]
    isolation: str
    idempotency_key_fields: list[str]
    idempotency_key_computed: bool
    lock_key_computed: bool
    effects: str | None
    payload_schema: dict[str, Any]
    result_schema: dict[str, Any]
    rate_card: dict[str, Any]
    payload_limit_bytes: int
    result_limit_bytes: int
    providers: list[str]
    description: str
    fingerprint: str
    code_version: str
    app: str


class JobTypes(Answer):
    """All job types that the installation knows, by name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"types": [_TYPE]}]})

    types: list[JobType]
