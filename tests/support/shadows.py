"""Rebuilds kept in memory, and a process that dies at the n-th thing it asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from typing import Any
from uuid import UUID

from jobledger.domain.errors import LedgerBusy, NotFound, RebuildUnderWay
from jobledger.projections.ports import (
    Checkpoint,
    CheckpointMoved,
    Key,
    LedgerLag,
    SeenBatch,
    StreamBatch,
    StreamRange,
)
from jobledger.projections.projection import Projection, Row, SeenEvent
from jobledger.projections.rebuild import End, RebuildPorts
from jobledger.projections.shadow import (
    SAMPLE_SIZE,
    Comparison,
    Difference,
    Rebuild,
    RebuildState,
    Scope,
    Slice,
    Step,
    Versions,
    shadow_of,
)

from .given import NOW
from .seen import Cut, MemorySource, MemoryStore

_OVER = {RebuildState.COMPARED, RebuildState.CANCELLED, RebuildState.FAILED, RebuildState.SWAPPED}


class MemoryStreams(MemorySource):
    """A stream source over a list."""

    def ranges(self, position: int, count: int) -> list[StreamRange]:
        """A range for each stream or two."""
        streams = sorted({event.originator_id for event in self.events if event.position <= position})
        size = max(1, len(streams) // count)
        ends = [*streams[size - 1 :: size][:-1], streams[-1]] if streams else [UUID(int=2**128 - 1)]
        return [StreamRange(before, end) for before, end in zip([None, *ends], ends, strict=False)]

    def read_streams(
        self, within: StreamRange, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> StreamBatch:
        """Whole streams."""
        found = sorted(
            (
                event
                for event in self.events
                if (within.after is None or event.originator_id > within.after)
                and event.originator_id <= within.until
                and event.position <= position
                and event.topic not in without
            ),
            key=lambda event: (event.originator_id, event.originator_version),
        )
        batch: list[SeenEvent] = []
        for stream, events in groupby(found, key=lambda event: event.originator_id):
            batch += events
            if len(batch) >= limit:
                return StreamBatch(batch, stream, more=stream != found[-1].originator_id)
        return StreamBatch(batch, within.until, more=False)

    def read_tenant(
        self, tenant: str, after: int, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> SeenBatch:
        """Of one tenant."""
        own = MemorySource([event for event in self.events if event.tenant == tenant])
        own.horizon = self.head()
        return own.read_after(after, limit=limit, without=without, until=position)

    def read_stream(self, stream: UUID, *, after_version: int = 0) -> Sequence[SeenEvent]:
        """One stream."""
        found = [event for event in self.events if event.originator_id == stream]
        return [event for event in found if event.originator_version > after_version]

    def lag(self, projections: Sequence[str]) -> LedgerLag:
        """Nobody asks here."""
        raise NotImplementedError


class MemoryRecords:
    """What was recorded."""

    def __init__(self) -> None:
        self.acts: list[str] = []
        self.ends: list[End] = []

    def begun(self, rebuild: Rebuild) -> int:
        """Once."""
        return self._once(f"begun {rebuild.rebuild_id}")

    def ended(self, rebuild: Rebuild, end: End) -> None:
        """Once."""
        if f"ended {rebuild.rebuild_id}" not in self.acts:
            self.ends.append(end)
        self._once(f"ended {rebuild.rebuild_id}")

    def cancelled(self, rebuild: Rebuild, reason: str) -> None:
        """Once."""
        self._once(f"cancelled {rebuild.rebuild_id}: {reason}")

    def _once(self, act: str) -> int:
        if act not in self.acts:
            self.acts.append(act)
        return self.acts.index(act) + 1


class MemoryShadows:
    """Storage of rebuilds beside a `MemoryStore`. `busy` is how often a swap is not let in."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.rebuilds: dict[UUID, Rebuild] = {}
        self.owned: set[int] = set()
        self.previous: dict[str, dict[Key, Row]] = {}
        self.held = 0
        self.busy = 0

    def begin(self, rebuild: Rebuild, projection: Projection) -> Rebuild:
        """See the port."""
        if self.unfinished(projection.name) is not None:
            raise RebuildUnderWay("another is not over")
        self.rebuilds[rebuild.rebuild_id] = rebuild
        self.store.tables[shadow_of(projection).name] = {}
        return rebuild

    def unfinished(self, projection: str) -> Rebuild | None:
        """See the port."""
        return next((one for one in self.rebuilds.values() if one.projection == projection and not one.is_over), None)

    def get(self, rebuild_id: UUID) -> Rebuild:
        """See the port."""
        if rebuild_id not in self.rebuilds:
            raise NotFound("no such rebuild")
        return self.rebuilds[rebuild_id]

    def recent(self, *, limit: int) -> list[Rebuild]:
        """See the port."""
        return list(self.rebuilds.values())[-limit:]

    @contextmanager
    def own_slice(self, rebuild: Rebuild) -> Iterator[Slice | None]:
        """See the port; a `Cut` frees the slice, as the death of a process does."""
        free = [one for one in self.get(rebuild.rebuild_id).slices if not one.done and one.number not in self.owned]
        if not free:
            yield None
            return
        self.owned.add(free[0].number)
        try:
            yield free[0]
        finally:
            self.owned.discard(free[0].number)

    def fill(self, rebuild: Rebuild, projection: Projection, step: Step) -> None:
        """See the port."""
        stored = self.get(rebuild.rebuild_id)
        if stored.state is not RebuildState.FILLING or step.before not in stored.slices:
            raise CheckpointMoved("the slice moved")
        table = self.store.tables[shadow_of(projection).name]
        for row in step.rows:
            key = self._key(projection, row)
            assert key not in table, "a row was stored twice"
            table[key] = dict(row)
        for one in step.parked:
            self.store.waiting[one.projection, one.key, one.position] = one
        slices = tuple(step.after if one == step.before else one for one in stored.slices)
        self.rebuilds[rebuild.rebuild_id] = stored._replace(slices=slices)

    def index(self, rebuild: Rebuild, projection: Projection, *, at_once: int = 1) -> None:
        """See the port."""
        del at_once
        stored = self.get(rebuild.rebuild_id)
        if stored.state is RebuildState.INDEXING:
            name = shadow_of(projection).name
            self.store.stored[name] = Checkpoint(stored.position, projection.version)
            self.rebuilds[rebuild.rebuild_id] = stored._replace(state=RebuildState.CATCHING_UP)

    def note(
        self,
        rebuild: Rebuild,
        state: RebuildState,
        *,
        begun_version: int | None = None,
        error: str | None = None,
        comparison: Comparison | None = None,
    ) -> Rebuild:
        """See the port."""
        stored = self.get(rebuild.rebuild_id)
        if stored.state is not rebuild.state or stored.is_over:
            raise CheckpointMoved("it went on")
        noted = stored._replace(
            state=state, begun_version=stored.begun_version if begun_version is None else begun_version,
            error=error or stored.error, comparison=comparison or stored.comparison,
            ended_at=datetime.now(UTC) if state in _OVER else None,
        )  # fmt: skip
        self.rebuilds[rebuild.rebuild_id] = noted
        if noted.is_over and state is not RebuildState.SWAPPED:
            self._drop_shadow(f"{stored.projection}__new")
        return noted

    def _drop_shadow(self, name: str) -> None:
        self.store.tables.pop(name, None)
        self.store.stored.pop(name, None)
        self.store.waiting = {place: one for place, one in self.store.waiting.items() if one.projection != name}

    @contextmanager
    def hold(self, projection: Projection) -> Iterator[Checkpoint | None]:
        """See the port."""
        self.held += 1
        yield self.store.stored.get(projection.name, Checkpoint(0, projection.version))

    @contextmanager
    def snapshot(self, projection: Projection) -> Iterator[MemorySnapshot]:
        """See the port."""
        position = self._one_position(projection)
        live, fresh = (dict(self.store.tables.get(name, {})) for name in (projection.name, shadow_of(projection).name))
        yield MemorySnapshot(position, live, fresh)

    def _one_position(self, projection: Projection) -> int:
        live, shadow = (self.store.stored.get(name) for name in (projection.name, shadow_of(projection).name))
        if shadow is None or shadow.position != (live.position if live else 0):
            raise CheckpointMoved("they stand apart")
        return shadow.position

    def swap(self, rebuild: Rebuild, projection: Projection) -> None:
        """See the port."""
        if self.busy:
            self.busy -= 1
            raise LedgerBusy("a reader")
        stored = self.get(rebuild.rebuild_id)
        if stored.state is not RebuildState.COMPARING:
            raise CheckpointMoved("it went on")
        position, name = self._one_position(projection), projection.name
        live, fresh = self.store.tables.get(name, {}), self.store.tables[shadow_of(projection).name]
        if stored.scope.is_whole:
            self.previous[name], self.store.tables[name] = live, fresh
        else:
            kept = {key: row for key, row in live.items() if not _in_scope(stored.scope, row)}
            self.store.tables[name] = {**kept, **fresh}
        parked = [one for one in self.store.waiting.values() if one.projection == shadow_of(projection).name]
        self._drop_shadow(shadow_of(projection).name)
        for one in parked:
            self.store.waiting[name, one.key, one.position] = one._replace(projection=name)
        self.store.stored[name] = Checkpoint(position, projection.version)
        self.rebuilds[rebuild.rebuild_id] = stored._replace(state=RebuildState.SWAPPED)

    def previous_rows(self, name: str) -> int | None:
        """See the port."""
        return None if name not in self.previous else len(self.previous[name])

    def drop_previous(self, name: str) -> int | None:
        """See the port."""
        dropped = self.previous.pop(name, None)
        return None if dropped is None else len(dropped)

    def versions(self) -> list[Versions]:
        """See the port."""
        return []

    @staticmethod
    def _key(projection: Projection, row: Row) -> Key:
        return tuple(row[column.name] for column in projection.key_columns)


class MemorySnapshot:
    """See the port."""

    def __init__(self, position: int, live: dict[Key, Row], fresh: dict[Key, Row]) -> None:
        self._position = position
        self._live = live
        self._fresh = fresh

    def compare(self, scope: Scope) -> Comparison:
        """Row by row."""
        live = {key: row for key, row in self._live.items() if _in_scope(scope, row)}
        keys = sorted(live.keys() | self._fresh.keys(), key=str)
        differing = [key for key in keys if live.get(key) != self._fresh.get(key)]
        sample = tuple(Difference(key, live.get(key), self._fresh.get(key)) for key in differing[:SAMPLE_SIZE])
        return Comparison(
            self._position, len(live), len(self._fresh), len(differing), _digest(live), _digest(self._fresh), sample
        )


def _in_scope(scope: Scope, row: Row) -> bool:
    return scope.tenant in (None, row.get("tenant_id")) and scope.job in (None, row.get("job_id"))


def _digest(rows: dict[Key, Row]) -> str:
    return sha256(repr(sorted(rows.items(), key=str)).encode()).hexdigest()


class Dying:
    """Any port whose n-th call is the process's end, before or after it was done. Share `calls` among ports."""

    def __init__(self, port: object, at: int, *, after: bool, calls: list[str]) -> None:
        self._port = port
        self._at = at
        self._after = after
        self._calls = calls

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        found = getattr(self._port, name)
        return self._wrapped(name, found) if callable(found) else found

    def _wrapped(self, name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*values: object, **named: object) -> object:
            self._calls.append(name)
            dies = len(self._calls) == self._at
            if dies and not self._after:
                raise Cut
            answer = function(*values, **named)
            if dies:
                with answer if isinstance(answer, AbstractContextManager) else nullcontext():
                    pass
                raise Cut
            return answer

        return call


def ports_of(shadows: MemoryShadows, source: MemoryStreams, records: MemoryRecords) -> RebuildPorts:
    """All that a rebuild needs, in memory."""
    return RebuildPorts(shadows, shadows.store, source, records, lambda: NOW, lambda _seconds: None)
