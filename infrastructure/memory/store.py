"""What a ledger in memory holds. Whoever reads or changes it holds its lock; every write is a commit of its own."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import NamedTuple
from uuid import UUID

from jobledger.application.flow_control import covers
from jobledger.application.key_ports import KeyUse
from jobledger.application.ports import OpenJob, WorkerHeartbeat
from jobledger.application.writes import (
    ApiKeyRow,
    AppendEvents,
    CatalogueRow,
    ChangeJob,
    JobTypeRow,
    LimitRow,
    NewJob,
    Outcome,
    QueueChange,
    TenantRow,
    Write,
    WriteStatus,
)
from jobledger.domain.errors import CorruptEvent
from jobledger.domain.event import Event, RecordedEvent
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import FlowState, Target
from jobledger.domain.tenant import TenantStatus

from .. import mapper

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_Key = tuple[str, str, str]
_CONFLICT, _MISSING = Outcome(WriteStatus.CONFLICT), Outcome(WriteStatus.MISSING)


class Stored(NamedTuple):
    """A row of the ledger, in its stored form: what cannot be stored does not pass here either."""

    originator_id: UUID
    originator_version: int
    tenant: str
    position: int
    recorded_at: datetime
    topic: str
    state: bytes
    body: bytes | None

    def read(self, *, bodies: bool) -> RecordedEvent:
        """The event."""
        return mapper.recorded_event(*self[:-1], self.body if bodies else None)


class Seen(NamedTuple):
    """A worker's last heartbeat, and when the first one came."""

    heartbeat: WorkerHeartbeat
    at: datetime
    since: datetime


class Store:
    """Events, queue and catalogue."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.lock = RLock()
        self.now = now
        self.events: list[Stored] = []
        self.streams: dict[UUID, list[Stored]] = {}
        self.open_jobs: dict[UUID, OpenJob] = {}
        self.tenants: dict[str, TenantRow] = {}
        self.job_types: dict[str, JobTypeRow] = {}
        self.limits: dict[Target, FlowState] = {}
        self.api_keys: set[str] = set()
        self.api_key_uses: dict[str, KeyUse] = {}
        self.ended_sessions: dict[str, datetime] = {}
        self.limit_uses: defaultdict[Target, Counter[int]] = defaultdict(Counter)
        """Of each rate: starts by the end of their bucket, in microseconds since 1970."""
        self.workers: dict[str, Seen] = {}
        self._keys: dict[_Key, tuple[UUID, str]] = {}
        self._recorded_at = now()

    def begin(self) -> None:
        """A commit begins: its events are recorded at one moment."""
        self._recorded_at = self.now()

    def write(self, write: Write) -> Outcome:
        """Store a write, or nothing of it where its guard does not hold."""
        if isinstance(write, NewJob):
            return self._dispatch(write)
        if isinstance(write, ChangeJob):
            return self._change(write)
        return self._append_events(write)

    def append(self, event: Event, version: int) -> int:
        """Store an event; its position."""
        position = len(self.events) + 1
        stored = Stored(
            event.originator_id, version, event.tenant, position, self._recorded_at, event.facts.topic,
            mapper.encode_state(event.metadata, event.facts, event.body), mapper.encode_body(event.body),
        )  # fmt: skip
        self.events.append(stored)
        self.streams.setdefault(event.originator_id, []).append(stored)
        return position

    def running(self) -> list[OpenJob]:
        """The jobs in progress."""
        return [job for job in self.open_jobs.values() if job.state.status is JobStatus.IN_PROGRESS]

    def is_active(self, tenant: str) -> bool:
        """Whether jobs of the tenant may run."""
        row = self.tenants.get(tenant)
        return row is not None and row.status is TenantStatus.ACTIVE

    def _dispatch(self, new: NewJob) -> Outcome:
        event, job_id, key = new.event, new.event.originator_id, _key_of(new)
        first = self._keys.get(key) if key is not None else None
        if first is not None:
            return Outcome(WriteStatus.DUPLICATE, job_id=first[0], payload_sha256=first[1])
        if job_id in self.streams:
            return _CONFLICT
        position = self.append(event, 1)
        self.open_jobs[job_id] = OpenJob(
            job_id, event.tenant, 1, new.state, None, event.metadata.correlation_id, event.metadata.trace_parent,
            event.body or b"",
        )  # fmt: skip
        if key is not None and new.idempotency is not None:
            self._keys[key] = (job_id, new.idempotency.payload_sha256)
        return Outcome(WriteStatus.WRITTEN, position, 1, job_id)

    def _change(self, change: ChangeJob) -> Outcome:
        row = self.open_jobs.get(change.job_id)
        if row is None or row.tenant != change.tenant:
            return _MISSING
        if not _holds(change, row):
            return _CONFLICT
        position, version = None, row.version
        for event in change.events:
            version += 1
            position = self.append(event, version)
        changed = row._replace(version=version)
        if change.change is not None and change.change.removes_row:
            del self.open_jobs[change.job_id]
        else:
            self.open_jobs[change.job_id] = changed if change.change is None else _changed(changed, change.change)
        return Outcome(WriteStatus.WRITTEN, position, version, change.job_id)

    def _append_events(self, append: AppendEvents) -> Outcome:
        first = append.events[0]
        stored = self.streams.get(first.originator_id, [])
        tenant = stored[0].tenant if stored else first.tenant
        if any(event.tenant != tenant for event in append.events):
            raise CorruptEvent(
                "events name another tenant than their stream's", field="tenant", rule="one tenant a stream"
            )
        if first.originator_version != len(stored) + 1:
            return _CONFLICT
        position = None
        for version, event in enumerate(append.events, start=first.originator_version):
            position = self.append(event, version)
        self._save_catalogue(append.catalogue)
        return Outcome(WriteStatus.WRITTEN, position, append.events[-1].originator_version, first.originator_id)

    def _save_catalogue(self, row: CatalogueRow | None) -> None:
        match row:
            case TenantRow():
                self.tenants[row.name] = row
            case JobTypeRow():
                self.job_types[row.definition.name] = row
            case ApiKeyRow(key_id):
                self.api_keys.add(key_id)
            case LimitRow(target, state) if state == FlowState():
                self.limits.pop(target, None)
                self._close_buckets(target)
            case LimitRow(target, state):
                self.limits[target] = state
                self._close_buckets(target)
            case None:
                pass

    def _close_buckets(self, limited: Target) -> None:
        """What rates granted was started by now: buckets of another window must not count for longer than that."""
        now = (self.now() - _EPOCH) // timedelta(microseconds=1)
        for target, uses in self.limit_uses.items():
            if covers(limited, target):
                closed = Counter[int]()
                for ends_at, tokens in uses.items():
                    closed[min(ends_at, now)] += tokens
                self.limit_uses[target] = closed


def _key_of(new: NewJob) -> _Key | None:
    if new.idempotency is None:
        return None
    return (new.event.tenant, new.idempotency.job_type, new.idempotency.key)


def _holds(change: ChangeJob, row: OpenJob) -> bool:
    """Whether the guard of a change holds for the row."""
    if change.expected_version is not None:
        return row.version == change.expected_version
    if change.lease is None or (row.state.worker, row.state.attempt) != change.lease:
        return False
    return change.cancel_expected is None or change.cancel_expected == (row.state.cancel_reason is not None)


def _changed(row: OpenJob, change: QueueChange) -> OpenJob:
    state = row.state._replace(
        status=change.status, attempts_counted=change.attempts_counted, attempts_allowed=change.attempts_allowed,
        stalls=change.stalls, cancel_reason=change.cancel_reason,
        priority=row.state.priority if change.priority is None else change.priority,
        due_at=row.state.due_at if change.due_at is None else change.due_at,
        worker=row.state.worker if change.status is JobStatus.IN_PROGRESS else None,
    )  # fmt: skip
    return row._replace(
        state=state,
        started_at=row.started_at if change.status is JobStatus.IN_PROGRESS else None,
        payload=row.payload if change.payload is None else change.payload,
    )
