"""What the contract tests say of a ledger, whatever its engine: short words for dispatching, claiming and changing."""

# ruff: noqa: ANN401 - options go through to pydantic models, which check them

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any
from uuid import UUID

from jobledger.application.key_ports import KeyStore
from jobledger.application.ports import (
    Catalogue,
    Claim,
    ClaimRequest,
    Clock,
    EventReader,
    JobViews,
    LedgerWriter,
    OpenJob,
    Queue,
    TransactionWriter,
    WakeUp,
    WorkerHeartbeat,
)
from jobledger.application.writes import (
    AppendEvents,
    ChangeJob,
    IdempotencyKey,
    NewJob,
    Outcome,
    TenantRow,
    queue_change,
)
from jobledger.domain.event import Event, Metadata
from jobledger.domain.identifiers import stream_id, uuid7
from jobledger.domain.job import JobDispatched, JobFacts, JobState, Lease, Measured, complete, evolve
from jobledger.domain.tenant import TenantCreated, TenantStatus, TenantSuspended
from jobledger.infrastructure.memory import MemoryLedger

TRACE_PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
PAYLOAD = b'{"invoice":"42"}'


@dataclass
class LedgerUnderTest:
    """An open, empty ledger of one engine, and the few things a test does behind its back."""

    engine: str
    writer: LedgerWriter
    reader: EventReader
    queue: Queue
    catalogue: Catalogue
    wake_up: WakeUp
    transaction_writer: TransactionWriter
    keys: KeyStore
    connect: Callable[[], AbstractContextManager[Any]]
    """A caller's own connection to the same database, as its driver makes it; closed without a commit."""
    purge: Callable[[UUID], None]
    """Delete a stream from the ledger, as retention will."""
    set_checkpoint: Callable[[int], None]
    """Pretend that a projection has read up to a position."""
    query: Callable[[str, UUID, int], bytes]
    """A column (`state`, `leaf`) of a version of a stream, as it is stored."""
    open_again: Callable[[], AbstractContextManager[LedgerUnderTest]]
    """The same ledger, opened a second time, as another process does."""
    job_views: JobViews | None = None
    """How its lists are read, where that is not how its read side does."""
    tenants: set[str] = field(default_factory=set)

    # --- writing -----------------------------------------------------------------------------------------------------

    def create_tenant(self, name: str) -> None:
        """A tenant that is active."""
        event = Event(stream_id(name, "tenant", name), 1, name, metadata(), TenantCreated(name=name))
        self.writer.write([AppendEvents((event,), TenantRow(name, TenantStatus.ACTIVE))])
        self.tenants.add(name)

    def suspend_tenant(self, name: str) -> None:
        """Suspend a tenant that is active."""
        event = Event(stream_id(name, "tenant", name), 2, name, metadata(), TenantSuspended(name=name, reason="unpaid"))
        self.writer.write([AppendEvents((event,), TenantRow(name, TenantStatus.SUSPENDED))])

    def dispatch(self, **options: Any) -> UUID:
        """One job (see `new_job`), of a tenant that is made where there is none; its id."""
        new = new_job(**options)
        if new.event.tenant not in self.tenants:
            self.create_tenant(new.event.tenant)
        assert self.write(new).position is not None
        return new.event.originator_id

    def write(self, write: NewJob | ChangeJob | AppendEvents) -> Outcome:
        """One write, alone."""
        return self.writer.write([write])[0]

    def change(self, job: OpenJob, *facts: JobFacts, **guards: Any) -> Outcome:
        """Append what was decided about a job; see `change_of`."""
        return self.write(change_of(job, facts, **guards))

    def raw_state(self, stream: UUID, version: int) -> bytes:
        """The stored state of an event."""
        return self.query("state", stream, version)

    def raw_leaf(self, stream: UUID, version: int) -> bytes:
        """The stored leaf of an event."""
        return self.query("leaf", stream, version)

    # --- working -----------------------------------------------------------------------------------------------------

    def claim(self, limit: int = 10, **wishes: Any) -> Claim:
        """A claim of worker w1 on queue `default` for jobs of type `invoice.send`, unless wished otherwise."""
        request = {
            "worker": "w1", "queues": ("default",), "job_types": ("invoice.send",), "limit": limit,
            "code_version": "v1", "lease_seconds": 30.0, "now": datetime.now(UTC), **wishes,
        }  # fmt: skip
        return self.queue.claim(ClaimRequest(**request))

    def claim_one(self, **wishes: Any) -> OpenJob:
        """The only job that a claim brings."""
        (job,) = self.claim(limit=1, **wishes).jobs
        return job

    def claimed_ids(self, limit: int = 10, **wishes: Any) -> list[UUID]:
        """The ids of the jobs that a claim brings."""
        return [job.job_id for job in self.claim(limit, **wishes).jobs]

    def complete(self, job: OpenJob) -> Outcome:
        """The attempt of a claimed job succeeded."""
        lease = Lease(job.state.worker or "", job.state.attempt)
        return self.change(job, *complete(job.state, lease, Measured()), lease=lease, body=b"null")

    def open_job(self, job_id: UUID, tenant: str = "acme") -> OpenJob:
        """The job's row in the queue."""
        return self.queue.open_jobs(tenant, [job_id])[job_id]

    def heartbeat(self, worker: str = "w1", lease_seconds: float = 30.0) -> list[UUID]:
        """Renew the leases of a worker; the ids of the jobs that it holds."""
        beat = WorkerHeartbeat(worker, "v1", ("default",), 4, 0, lease_seconds)
        return [held.job_id for held in self.queue.heartbeat(beat).leases]


def in_memory(clock: Clock | None = None) -> LedgerUnderTest:
    """An empty ledger in memory, with a clock of the test's own where one is given."""
    opened = MemoryLedger(clock)

    def not_there(*_: object) -> Any:
        raise AssertionError("memory has no back door: this test wants stored_ledger")

    return LedgerUnderTest(
        "memory", opened.writer, opened.reader, opened.queue, opened.catalogue, opened.wake_up,
        opened.transaction_writer, opened.keys, not_there, not_there, not_there, not_there, not_there,
    )  # fmt: skip


_minted = [0, 0]
"""The millisecond of the last id, and its number within it."""
_minting = Lock()


def job_id() -> UUID:
    """A new UUIDv7. They rise, also within a millisecond: what tests made first comes first in the order of ids."""
    with _minting:
        now, (last, number) = time.time_ns() // 1_000_000, _minted
        _minted[:] = [max(now, last), number + 1 if now <= last else 0]
        milliseconds, number = _minted
    return uuid7(milliseconds, number << 62 | int.from_bytes(os.urandom(7), "big"))


def metadata(**fields: Any) -> Metadata:
    """Some service did it, now."""
    return Metadata.model_validate(
        {
            "correlation_id": "flow-1", "trace_parent": TRACE_PARENT, "actor": "service:test",
            "time": datetime.now(UTC), **fields,
        }
    )  # fmt: skip


def new_job(
    *,
    tenant: str = "acme",
    id: UUID | None = None,  # noqa: A002 - of the job
    payload: bytes = PAYLOAD,
    key: str | None = None,
    payload_sha256: str = "0" * 64,
    due_in_seconds: float = 0.0,
    about: Metadata | None = None,
    **options: Any,
) -> NewJob:
    """A dispatch of an `invoice.send` on queue `default`; `options` are fields of `job.dispatched`."""
    due_at = options.pop("due_at", datetime.now(UTC) + timedelta(seconds=due_in_seconds))
    facts = JobDispatched.model_validate(
        {"job_type": "invoice.send", "queue": "default", "idempotency_key": key, "due_at": due_at, **options}
    )
    event = Event(id or job_id(), 1, tenant, about or metadata(), facts, payload)
    idempotency = None if key is None else IdempotencyKey(facts.job_type, key, payload_sha256)
    return NewJob(event, evolve(None, facts), idempotency)


def change_of(
    job: OpenJob,
    facts: Sequence[JobFacts],
    *,
    lease: Lease | None = None,
    expected_version: int | None = None,
    cancel_expected: bool | None = None,
    body: bytes | None = None,
    payload: bytes | None = None,
    only_version: bool = False,
) -> ChangeJob:
    """The write of a decision about a job, under a guard; by default the version that was read."""
    if lease is None and expected_version is None:
        expected_version = job.version
    state: JobState = job.state
    for fact in facts:
        state = evolve(state, fact)
    bodies = (body, *(None,) * (len(facts) - 1))
    events = tuple(
        Event(job.job_id, 0, job.tenant, metadata(), fact, one) for fact, one in zip(facts, bodies, strict=True)
    )
    change = None if only_version else queue_change(job.state, state, payload=payload)
    return ChangeJob(job.job_id, job.tenant, events, change, expected_version, lease, cancel_expected)
