"""The ledger in memory: writer, reader, catalogue, transactions, and all ports together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from uuid import UUID

import structlog

from jobledger.application.ports import (
    EVERY_EVENT,
    SCAN_EVENTS,
    Clock,
    EventBatch,
    EventFilter,
    Identifiers,
    OpenJob,
    StreamPart,
)
from jobledger.application.use_cases import Ports
from jobledger.application.writes import JobTypeRow, LimitRow, NewJob, Outcome, TenantRow, Write, WriteStatus
from jobledger.domain.errors import InvalidInput, LedgerError
from jobledger.domain.event import RecordedEvent

from ..system import RandomIdentifiers, SystemClock, SystemKeyMint
from .keys import MemoryKeyRegister
from .queue import MemoryQueue
from .statistics import MemoryStatistics
from .store import Store, Stored
from .views import MemoryJobViews

Listener = Callable[[Sequence[Write], Sequence[Outcome]], None]

_INCARNATION = "memory"
_log = structlog.get_logger(__name__)


class MemoryWriter:
    """The `LedgerWriter`: durable for as long as the process lives, done when `submit` returns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners: list[Listener] = []
        self.unavailable: LedgerError | None = None
        """Set by a test: what every write raises, as a database that is down would."""

    def submit(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Store the writes; see `LedgerWriter`."""
        written: Future[list[Outcome]] = Future()
        if self.unavailable is not None:
            written.set_exception(self.unavailable)
            return written
        with self._store.lock:
            self._store.begin()
            outcomes = [self._store.write(write) for write in writes]
        for listener in self._listeners:
            try:
                listener(writes, outcomes)
            except Exception:  # noqa: BLE001 - a listener never breaks the writer, as with a database
                _log.exception("ledger.listener_failed")
        written.set_result(outcomes)
        return written

    def submit_at_once(self, writes: Sequence[Write]) -> Future[list[Outcome]]:
        """Store the writes: there is always room."""
        return self.submit(writes)

    def write(self, writes: Sequence[Write]) -> list[Outcome]:
        """`submit(...).result()`."""
        return self.submit(writes).result()

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` after each commit."""
        self._listeners.append(listener)


class MemoryReader:
    """The `EventReader`."""

    scan_events = SCAN_EVENTS

    def __init__(self, store: Store) -> None:
        self._store = store

    def stream(
        self,
        tenant: str,
        originator_id: UUID,
        *,
        after_version: int = 0,
        limit: int | None = None,
        bodies: bool = False,
    ) -> list[RecordedEvent]:
        """The events of a stream in order of version; empty where the tenant has no such stream."""
        with self._store.lock:
            stored = self._store.streams.get(originator_id, [])
            wanted = [event for event in stored if event.tenant == tenant and event.originator_version > after_version]
        return [event.read(bodies=bodies) for event in wanted[:limit]]

    def streams(self, tenant: str, originator_ids: Sequence[UUID]) -> dict[UUID, list[RecordedEvent]]:
        """Several streams at once; ids the tenant does not have are absent."""
        found = {stream: self.stream(tenant, stream) for stream in originator_ids}
        return {stream: events for stream, events in found.items() if events}

    def beginnings(self, tenant: str, originator_ids: Sequence[UUID], *, limit: int) -> dict[UUID, list[RecordedEvent]]:
        """The first events of several streams; see the port."""
        found = {stream: self.stream(tenant, stream, limit=limit) for stream in originator_ids}
        return {stream: events for stream, events in found.items() if events}

    def stream_part(self, tenant: str, originator_id: UUID, part: StreamPart, *, limit: int) -> list[RecordedEvent]:
        """Events of a stream, at most so many; see the port."""
        with self._store.lock:
            stored = list(self._store.streams.get(originator_id, []))
        found = [event for event in stored if event.tenant == tenant and _belongs(event, part)]
        return [event.read(bodies=False) for event in (found[::-1] if part.newest_first else found)[:limit]]

    def topics(self, tenant: str, originator_id: UUID, after_version: int, until_version: int) -> list[str]:
        """What happened in a stream; see the port."""
        part = StreamPart(after_version, until_version)
        with self._store.lock:
            stored = list(self._store.streams.get(originator_id, []))
        return [event.topic for event in stored if event.tenant == tenant and _belongs(event, part)]

    def last_version(self, tenant: str, originator_id: UUID) -> int:
        """The version of a stream's last event; 0 where there is none."""
        with self._store.lock:
            stored = self._store.streams.get(originator_id, [])
            return max((event.originator_version for event in stored if event.tenant == tenant), default=0)

    def read_after(self, position: int, *, limit: int, topics: frozenset[str] | None = None) -> EventBatch:
        """The next events of all tenants; with `topics`, others count as read but are left out."""
        with self._store.lock:
            page = self._store.events[position : position + limit]
        events = tuple(event.read(bodies=False) for event in page if topics is None or event.topic in topics)
        return EventBatch(events, page[-1].position if page else position)

    def read_tenant(
        self,
        tenant: str | None,
        position: int,
        *,
        limit: int,
        until: int | None = None,
        where: EventFilter = EVERY_EVENT,
        bodies: bool = False,
    ) -> EventBatch:
        """The next events of a tenant (None: of all) in order of position, up to `until`."""
        with self._store.lock:
            last = len(self._store.events) if until is None else min(len(self._store.events), until)
            unread = [event for event in self._store.events[position:last] if tenant in {None, event.tenant}]
        if where != EVERY_EVENT and len(unread) >= self.scan_events:
            unread = unread[: self.scan_events]
            last = unread[-1].position
        page = [event for event in unread if _matches(event, where)][:limit]
        read_up_to = page[-1].position if len(page) == limit else max(position, last)
        return EventBatch(tuple(event.read(bodies=bodies) for event in page), read_up_to)

    def head(self) -> int:
        """The last position."""
        with self._store.lock:
            return len(self._store.events)

    def given_out(self) -> int:
        """The same."""
        return self.head()

    def incarnation(self) -> str:
        """Memory is never restored."""
        return _INCARNATION


def _belongs(event: Stored, part: StreamPart) -> bool:
    return (
        event.originator_version > part.after_version
        and (part.until_version is None or event.originator_version <= part.until_version)
        and (part.topics is None or event.topic in part.topics)
        and event.topic not in part.without
        and (part.recorded_after is None or event.recorded_at > part.recorded_after)
    )


def _matches(event: Stored, where: EventFilter) -> bool:
    return (
        (where.topics is None or event.topic in where.topics or event.topic.partition(".")[0] in where.families)
        and event.topic not in where.without
        and (where.marked is None or event.topic != where.marked[0] or where.marked[1].encode() in event.state)
        and (where.recorded_from is None or event.recorded_at >= where.recorded_from)
        and (where.recorded_to is None or event.recorded_at < where.recorded_to)
    )


class MemoryCatalogue:
    """The `Catalogue`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant, or None."""
        with self._store.lock:
            return self._store.tenants.get(name)

    def tenants(self) -> list[TenantRow]:
        """All tenants by name."""
        with self._store.lock:
            return [row for _, row in sorted(self._store.tenants.items())]

    def job_type(self, name: str) -> JobTypeRow | None:
        """A job type, or None."""
        with self._store.lock:
            return self._store.job_types.get(name)

    def job_types(self) -> list[JobTypeRow]:
        """All job types by name."""
        with self._store.lock:
            return [row for _, row in sorted(self._store.job_types.items())]

    def limits(self) -> list[LimitRow]:
        """All targets that are limited or paused: by scope, tenant and subject."""
        with self._store.lock:
            return [LimitRow(target, state) for target, state in sorted(self._store.limits.items())]


class MemoryTransaction:
    """What stands for a caller's own transaction: dispatches on it are stored by `commit`, or not at all."""

    def __init__(self, writer: MemoryWriter) -> None:
        self._writer = writer
        self.pending: list[NewJob] = []

    def commit(self) -> list[Outcome]:
        """Store what was dispatched."""
        pending, self.pending = self.pending, []
        return self._writer.write(pending)

    def rollback(self) -> None:
        """Forget what was dispatched."""
        self.pending = []


class MemoryTransactionWriter:
    """The `TransactionWriter` over `MemoryTransaction`. Conflicts and duplicates only show at the commit."""

    def dispatch(self, connection: object, new_jobs: Sequence[NewJob]) -> list[Outcome]:
        """Dispatch on a `MemoryTransaction`; `InvalidInput` for a connection of another kind."""
        if not isinstance(connection, MemoryTransaction):
            raise InvalidInput(
                f"a {type(connection).__name__} cannot write to a ledger in memory", field="connection",
                rule="is a MemoryTransaction of this ledger",
            )  # fmt: skip
        connection.pending.extend(new_jobs)
        return [_promised(new) for new in new_jobs]


class MemoryWakeUp:
    """The `WakeUp` within a process."""

    def __init__(self) -> None:
        self._hint = threading.Event()

    def notify(self, queues: frozenset[str]) -> None:
        """Say that jobs became ready."""
        self._hint.set()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a hint; True if one came."""
        hinted = self._hint.wait(timeout_seconds)
        self._hint.clear()
        return hinted

    def close(self) -> None:
        """Nothing is held."""


class MemoryLedger:
    """A ledger in memory with all its adapters."""

    def __init__(self, clock: Clock | None = None, identifiers: Identifiers | None = None) -> None:
        self.clock = clock or SystemClock()
        self.identifiers = identifiers or RandomIdentifiers()
        store = self._store = Store(self.clock.now)
        self.writer = MemoryWriter(store)
        self.reader = MemoryReader(store)
        self.queue = MemoryQueue(store)
        self.catalogue = MemoryCatalogue(store)
        self.views = MemoryJobViews(store)
        self.statistics = MemoryStatistics(store)
        self.transaction_writer = MemoryTransactionWriter()
        self.keys = MemoryKeyRegister(store)
        self.wake_up = MemoryWakeUp()

    @property
    def ports(self) -> Ports:
        """What use cases need."""
        return Ports(
            writer=self.writer, writer_at_once=self.writer,
            transaction_writer=self.transaction_writer, reader=self.reader, queue=self.queue,
            catalogue=self.catalogue, views=self.views, statistics=self.statistics, clock=self.clock,
            identifiers=self.identifiers, keys=self.keys, key_mint=SystemKeyMint(),
        )  # fmt: skip

    def unfinished(self) -> list[OpenJob]:
        """All rows of the queue."""
        with self._store.lock:
            return list(self._store.open_jobs.values())

    def transaction(self) -> MemoryTransaction:
        """A caller's own transaction."""
        return MemoryTransaction(self.writer)


def _promised(new: NewJob) -> Outcome:
    return Outcome(WriteStatus.WRITTEN, None, 1, new.event.originator_id)
