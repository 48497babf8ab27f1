"""What workers say of themselves with each heartbeat, and what they are answered."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID


class WorkerReport(NamedTuple):
    """What a worker uses and does, as it sees it."""

    app: str = ""
    host: str = ""
    pid: int = 0
    cpu_seconds: float = 0.0
    """Of the process and its children, since it started."""
    cpu_load: float = 0.0
    """CPU seconds a second, lately: 1.0 is one core busy all the time."""
    rss_bytes: int = 0
    """Of the process and its children."""
    held: int = 0
    """Jobs claimed, running ones included, whose ending is not durable yet."""
    running_by_type: dict[str, int] = {}  # noqa: RUF012 - nobody changes it
    quarantined: int = 0
    """Slots lost to handlers that ignored their hard timeout."""
    clock_skew_seconds: float = 0.0
    """How far its clock is ahead of the database's (below 0: behind), as far as that is certain."""
    tenants: tuple[str, ...] = ()
    """The tenants that it is dedicated to; empty: it works for all."""
    personas: tuple[str, ...] = ()
    """The personas that it is dedicated to; empty: it works for all."""


class WorkerHeartbeat(NamedTuple):
    """What a worker says of itself with each renewal."""

    worker: str
    code_version: str
    queues: tuple[str, ...]
    concurrency: int
    running: int
    lease_seconds: float
    report: WorkerReport = WorkerReport()


class HeldLease(NamedTuple):
    """A lease the database believes a worker holds."""

    job_id: UUID
    attempt: int
    cancel_requested: bool
    tenant: str


class Renewal(NamedTuple):
    """The database's answer to a heartbeat."""

    leases: tuple[HeldLease, ...]
    database_now: datetime


class WorkerRow(NamedTuple):
    """A worker as the installation knows it. `seconds_since_seen` is by the database's clock; a worker whose lease ran
    out is lost."""

    heartbeat: WorkerHeartbeat
    started_at: datetime
    last_seen_at: datetime
    seconds_since_seen: float

    @property
    def is_lost(self) -> bool:
        """Whether its leases have run out."""
        return self.seconds_since_seen > self.heartbeat.lease_seconds
