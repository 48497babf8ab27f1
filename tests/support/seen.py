"""Events as projections see them, random histories of several jobs, and views kept in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

from hypothesis import strategies as st

from jobledger.domain import job as jobs
from jobledger.domain.errors import Refusal
from jobledger.domain.event import Facts
from jobledger.domain.identifiers import uuid7
from jobledger.domain.job import AttemptError, Decision, JobFacts, JobState, Lease, Measured, evolve
from jobledger.domain.retry import Retry
from jobledger.projections.ports import (
    Changes,
    Checkpoint,
    CheckpointMoved,
    Key,
    Parked,
    SeenBatch,
    ViewStore,
    ViewTransaction,
)
from jobledger.projections.projection import KnownFacts, Projection, Row, SeenEvent

from .given import NOW, dispatched

JOB = uuid7(1_760_000_000_000, 1)
BEGINNING = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def seen(facts: Facts, position: int = 1, *, job: UUID = JOB, version: int = 1, tenant: str = "acme") -> SeenEvent:
    """An event at a position, recorded as many seconds after the beginning."""
    recorded_at = BEGINNING + timedelta(seconds=position)
    return SeenEvent(job, version, tenant, position, recorded_at, facts.topic, b"", KnownFacts(facts))


def fold_all(projection: Projection, events: Iterable[SeenEvent]) -> dict[Key, Row]:
    """The whole view, folded event by event: what every batching must come to."""
    rows: dict[Key, Row] = {}
    for event in events:
        if event.topic in projection.topics and (key := projection.key(event)) is not None:
            row = projection.fold(rows.pop(key, None), event)
            if row is not None:
                rows[key] = row
    return rows


def fold_one(projection: Projection, *history: Facts) -> Row | None:
    """The row of one job after these events, at positions 1, 2, 3..."""
    events = [seen(facts, number, version=number) for number, facts in enumerate(history, start=1)]
    return next(iter(fold_all(projection, events).values()), None)


# --- random histories ------------------------------------------------------------------------------------------------

_JOBS = [uuid7(1_760_000_000_000 + number, number) for number in range(6)]
_NAMES = (
    "start", "start", "complete", "fail", "fail", "fail for good", "snooze", "interrupt", "stall", "stop", "progress",
    "release", "reschedule", "cancel", "reject", "requeue", "discard",
)  # fmt: skip
_PERSONAS = (None, "billing-bot", "o'brien")

moves = st.lists(st.tuples(st.integers(0, len(_JOBS) - 1), st.sampled_from(_NAMES), st.floats(0, 1)), max_size=80)
"""Which job, what is decided about it, and a number that the decision uses."""


def histories(
    chosen: Iterable[tuple[int, str, float]], ids: Sequence[UUID] = _JOBS
) -> list[list[tuple[UUID, str, JobFacts]]]:
    """Decisions about six jobs of two tenants: (job, tenant, facts) of each. What is refused leaves nothing."""
    states: dict[int, JobState] = {}
    decisions: list[list[tuple[UUID, str, JobFacts]]] = []
    for which, name, number in chosen:
        if which not in states:
            decided: Decision = (_birth(which),)
        else:
            decided = _decided(states[which], name, number)
        for facts in decided:
            states[which] = evolve(states.get(which), facts)
        if decided:
            decisions.append([(ids[which], f"tenant-{which % 2}", facts) for facts in decided])
    return decisions


def as_seen(decisions: Iterable[Sequence[tuple[UUID, str, JobFacts]]]) -> list[SeenEvent]:
    """Their events, with gaps between positions as a ledger has them."""
    versions: dict[UUID, Iterator[int]] = {}
    events: list[SeenEvent] = []
    for ticket, decision in enumerate(decisions, start=1):
        for ordinal, (job, tenant, facts) in enumerate(decision):
            version = next(versions.setdefault(job, count(1)))
            events.append(seen(facts, ticket * 10 + ordinal, job=job, version=version, tenant=tenant))
    return events


def _birth(which: int) -> jobs.JobDispatched:
    status = ("pending", "delayed", "blocked")[which % 3]
    persona = _PERSONAS[which % len(_PERSONAS)]
    retry = Retry.exponential(max_attempts=which % 3 + 1)
    birth = dispatched(status=status, retry=retry, max_stalled=which % 2, priority=which)
    return birth.model_copy(update={"persona": persona})


def _decided(state: JobState, name: str, number: float) -> Decision:
    lease = Lease("worker-1", state.attempt)
    error = AttemptError("Broken\x00", f"it broke at {number}", "f")
    soon = NOW + timedelta(seconds=60 * number)
    decide: Mapping[str, Callable[[], Decision]] = {
        "start": lambda: jobs.start(state, worker="worker-1", code_version="v1", lease_seconds=30),
        "complete": lambda: jobs.complete(state, lease, Measured()),
        "fail": lambda: jobs.fail(state, lease, error, now=NOW, jitter=number, measured=Measured()),
        "fail for good": lambda: jobs.fail(
            state, lease, error._replace(dlq_reason="unrecoverable"), now=NOW, jitter=number, measured=Measured()
        ),
        "snooze": lambda: jobs.snooze(state, lease, due_at=soon, why="busy"),
        "interrupt": lambda: jobs.interrupt(state, lease, why="shutdown"),
        "stall": lambda: jobs.stall(state, lease, last_seen_at=None),
        "stop": lambda: jobs.stop_cancelled(state, lease),
        "progress": lambda: jobs.progress(state, lease, fraction=number),
        "release": lambda: jobs.release(state, dependency=_JOBS[0]),
        "reschedule": lambda: jobs.reschedule(state, now=NOW, reason="moved", priority=int(number * 10)),
        "cancel": lambda: jobs.cancel(state, reason="not needed"),
        "reject": lambda: jobs.reject(state, reason="unrecoverable", error_type="E", message="m", fingerprint="f"),
        "requeue": lambda: jobs.requeue(state, now=NOW, reason="fixed"),
        "discard": lambda: jobs.discard(state, reason="given up"),
    }
    try:
        return decide[name]()
    except Refusal:
        return ()


# --- views in memory -------------------------------------------------------------------------------------------------


class MemorySource:
    """An event source over a list. `horizon` hides what lies beyond it."""

    def __init__(self, events: Sequence[SeenEvent]) -> None:
        self.events = list(events)
        self.horizon: int | None = None

    def head(self) -> int:
        """The last position, or the horizon."""
        last = self.events[-1].position if self.events else 0
        return last if self.horizon is None else self.horizon

    def read_after(
        self, position: int, *, limit: int, without: frozenset[str] = frozenset(), until: int | None = None
    ) -> SeenBatch:
        """See the port."""
        end = self.head() if until is None else min(until, self.head())
        found = [e for e in self.events if position < e.position <= end and e.topic not in without][:limit]
        if len(found) < limit:
            return SeenBatch(found, end)
        return SeenBatch(found, found[-1].position, more=True)

    def read_at(self, positions: Sequence[int]) -> Sequence[SeenEvent]:
        """See the port."""
        return [event for event in self.events if event.position in set(positions)]


class MemoryStore:
    """A view store that behaves as a database does: a transaction is seen whole or not at all."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[Key, Row]] = {}
        self.stored: dict[str, Checkpoint] = {}
        self.waiting: dict[tuple[str, Key, int], Parked] = {}
        self.owned_elsewhere = False
        self.loaded: list[Key] = []

    def parked(self, projection: str | None = None, *, failed: bool = False, limit: int) -> list[Parked]:
        """See the port."""
        found = sorted(self.waiting.values(), key=lambda one: (one.projection, one.position))
        return [one for one in found if projection in (None, one.projection) and (one.error is not None or not failed)][
            :limit
        ]

    def parked_counts(self) -> Mapping[str, tuple[int, int]]:
        """See the port."""
        found = list(self.waiting.values())
        return {
            name: (
                sum(one.projection == name and one.error is not None for one in found),
                sum(one.projection == name and one.error is None for one in found),
            )
            for name in {one.projection for one in found}
        }

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """See the port."""
        return dict(self.stored)

    @contextmanager
    def begin(self, projections: Sequence[Projection]) -> Iterator[MemoryTransaction | None]:
        """See the port."""
        if self.owned_elsewhere:
            yield None
            return
        transaction = MemoryTransaction(self)
        yield transaction
        transaction.commit()

    def close(self) -> None:
        """Nothing to release."""


class MemoryTransaction:
    """See the port; applied at the end."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._writes: list[Callable[[], None]] = []

    def checkpoint(self, projection: Projection) -> Checkpoint:
        """See the port."""
        return self._store.stored.get(projection.name, Checkpoint(0, projection.version))

    def load(self, projection: Projection, keys: Sequence[Key]) -> Callable[[], Mapping[Key, Row]]:
        """See the port."""
        self._store.loaded += keys
        table = self._store.tables.get(projection.name, {})
        return lambda: {key: dict(table[key]) for key in keys if key in table}

    def save(self, projection: Projection, changes: Changes, before: Checkpoint, after: Checkpoint) -> None:
        """See the port."""
        if self.checkpoint(projection).position != before.position:
            raise CheckpointMoved("moved")
        names = [column.name for column in projection.key_columns]

        def write() -> None:
            table = self._store.tables.setdefault(projection.name, {})
            table.update({tuple(row[name] for name in names): dict(row) for row in changes.begun})
            for row in changes.changed:
                table[tuple(row[name] for name in names)].update(row)
            for key in changes.ended:
                table.pop(key, None)
            self._store.stored[projection.name] = after

        self._writes.append(write)

    def parked_keys(self, projection: Projection) -> frozenset[Key]:
        """See the port."""
        return frozenset(key for name, key, _ in self._store.waiting if name == projection.name)

    def parked(self, projection: Projection, key: Key, *, after: int = 0, limit: int) -> list[Parked]:
        """See the port."""
        found = [one for one in self._store.waiting.values() if (one.projection, one.key) == (projection.name, key)]
        return sorted((one for one in found if one.position > after), key=lambda one: one.position)[:limit]

    def park(self, parked: Sequence[Parked]) -> None:
        """See the port."""

        def write() -> None:
            for one in parked:
                self._store.waiting[one.projection, one.key, one.position] = one

        self._writes.append(write)

    def unpark(self, parked: Sequence[Parked]) -> None:
        """See the port."""
        if any((one.projection, one.key, one.position) not in self._store.waiting for one in parked):
            raise CheckpointMoved("taken")

        def write() -> None:
            for one in parked:
                del self._store.waiting[one.projection, one.key, one.position]

        self._writes.append(write)

    def reset(self, projection: Projection) -> None:
        """See the port."""

        def write() -> None:
            self._store.tables[projection.name] = {}
            self._store.waiting = {at: one for at, one in self._store.waiting.items() if at[0] != projection.name}
            self._store.stored[projection.name] = Checkpoint(0, projection.version)

        self._writes.append(write)

    def commit(self) -> None:
        """Make it visible."""
        for write in self._writes:
            write()


class Cut(BaseException):
    """The process dies here."""


class Cutting:
    """A view store that dies at the n-th call made to it or to its transactions, before or after it was done."""

    def __init__(self, store: ViewStore, at: int, *, after: bool) -> None:
        self._store = store
        self._at = at
        self._after = after
        self.calls = 0

    def checkpoints(self) -> Mapping[str, Checkpoint]:
        """See the port."""
        with self.call():
            return self._store.checkpoints()

    def parked(self, projection: str | None = None, *, failed: bool = False, limit: int) -> list[Parked]:
        """See the port."""
        with self.call():
            return self._store.parked(projection, failed=failed, limit=limit)

    def parked_counts(self) -> Mapping[str, tuple[int, int]]:
        """See the port."""
        with self.call():
            return self._store.parked_counts()

    @contextmanager
    def begin(self, projections: Sequence[Projection]) -> Iterator[ViewTransaction | None]:
        """See the port."""
        with self.call():
            pass
        with self._store.begin(projections) as transaction:
            yield None if transaction is None else CuttingTransaction(transaction, self)
            with self.call():
                pass
        with self.call():
            pass

    def close(self) -> None:
        """See the port."""
        self._store.close()

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call, which may be the one."""
        self.calls += 1
        dies = self.calls == self._at
        if dies and not self._after:
            raise Cut
        yield
        if dies:
            raise Cut


class CuttingTransaction:
    """A transaction of a `Cutting` store."""

    def __init__(self, transaction: ViewTransaction, cutting: Cutting) -> None:
        self._transaction = transaction
        self._cutting = cutting

    def checkpoint(self, projection: Projection) -> Checkpoint:
        """See the port."""
        with self._cutting.call():
            return self._transaction.checkpoint(projection)

    def load(self, projection: Projection, keys: Sequence[Key]) -> Callable[[], Mapping[Key, Row]]:
        """See the port."""
        with self._cutting.call():
            return self._transaction.load(projection, keys)

    def save(self, projection: Projection, changes: Changes, before: Checkpoint, after: Checkpoint) -> None:
        """See the port."""
        with self._cutting.call():
            self._transaction.save(projection, changes, before, after)

    def parked_keys(self, projection: Projection) -> frozenset[Key]:
        """See the port."""
        with self._cutting.call():
            return self._transaction.parked_keys(projection)

    def parked(self, projection: Projection, key: Key, *, after: int = 0, limit: int) -> list[Parked]:
        """See the port."""
        with self._cutting.call():
            return self._transaction.parked(projection, key, after=after, limit=limit)

    def park(self, parked: Sequence[Parked]) -> None:
        """See the port."""
        with self._cutting.call():
            self._transaction.park(parked)

    def unpark(self, parked: Sequence[Parked]) -> None:
        """See the port."""
        with self._cutting.call():
            self._transaction.unpark(parked)

    def reset(self, projection: Projection) -> None:
        """See the port."""
        with self._cutting.call():
            self._transaction.reset(projection)
