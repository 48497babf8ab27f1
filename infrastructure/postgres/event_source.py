"""The ledger as projections read it on PostgreSQL: binary tuples in order, only below the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from jobledger.projections.ports import (
    LAG_EVENTS_MAX,
    LedgerLag,
    ProjectionLag,
    SeenBatch,
    StreamBatch,
    StreamRange,
)
from jobledger.projections.projection import SeenEvent

from ..seen_events import LazyFacts, LedgerRow, seen_batch, seen_streams
from ..sql_blocks import load
from .connections import Connections, Role
from .large_results import fetch_all
from .reader import Horizon
from .session import open_session

SQL = load("jobledger.infrastructure.postgres", "sql/views.sql")

INDEXES_ONLY = {
    "enable_seqscan": "off", "enable_bitmapscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
    "plan_cache_mode": "force_custom_plan",
}  # fmt: skip
"""Plans are made while tables are small and kept while they grow: never one that reads a whole table."""

IN_ORDER = {**INDEXES_ONLY, "enable_sort": "off", "plan_cache_mode": "force_generic_plan"}
"""The ledger's end is read again and again, mostly a few events: planning over all partitions would cost five times as
much as reading. There is one good plan, whatever is asked for: the index of positions of each, merged."""
STREAM_BY_STREAM = {**INDEXES_ONLY, "enable_sort": "off", "enable_incremental_sort": "off"}
"""Whole streams come from the primary key, in its order, however few of them the planner thinks there are."""
SAMPLED_PAGES = 2_000
"""Pages of the ledger that are looked at to divide it into ranges."""

_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)
_NOTHING: list[str] = []


class PostgresEventSource:
    """Reads as `jobledger_projector` on a connection of its own, below a horizon that no list has to be waited for."""

    def __init__(self, connections: Connections, horizon: Horizon | None = None) -> None:
        self.session = open_session(connections, Role.PROJECTOR, INDEXES_ONLY)
        self.tail = open_session(connections, Role.PROJECTOR, IN_ORDER)
        self._streams = open_session(connections, Role.PROJECTOR, STREAM_BY_STREAM)
        self._facts = LazyFacts()
        self._connections = connections
        self._horizon = horizon or Horizon(connections, role=Role.PROJECTOR)

    def head(self) -> int:
        """The position up to which the ledger can be read now."""
        return self._horizon.position()

    def read_after(
        self, position: int, *, limit: int, without: frozenset[str] = frozenset(), until: int | None = None
    ) -> SeenBatch:
        """At most `limit` events after `position`; see the port."""
        # asked in a statement of its own, before the one that reads: that is what makes the horizon true
        readable_to = self._horizon.position()
        if until is not None:
            readable_to = min(readable_to, until)
        with self.tail.use() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(SQL["read_events"], (position, readable_to, sorted(without), limit), prepare=True)
            rows = cursor.fetchall()
        return seen_batch(rows, self._facts, after=position, limit=limit, readable_to=readable_to)

    def read_at(self, positions: Sequence[int]) -> Sequence[SeenEvent]:
        """The events at these positions; see the port."""
        with self.session.use() as connection:
            cursor = connection.execute(SQL["read_at"], (list(positions),), binary=True)
            return seen_streams(cursor.fetchall(), self._facts)

    # --- for rebuilds --------------------------------------------------------------------------------------------

    def ranges(self, position: int, count: int) -> list[StreamRange]:
        """About `count` ranges of streams with about as many events each, by a sample; see the port."""
        fractions = [number / count for number in range(1, count)]
        with self._streams.use() as connection:
            row = connection.execute(SQL["ledger_pages"]).fetchone()
            percent = min(100.0, 100.0 * SAMPLED_PAGES / max(1, row[0] if row else 1))
            row = connection.execute(SQL["stream_borders"], (fractions, percent, position)).fetchone()
        borders = sorted({border for border in (row[0] if row else None) or () if border is not None})
        begins = [None, *borders]
        ends = [*borders, _LAST]
        return [StreamRange(begin, end) for begin, end in zip(begins, ends, strict=True) if begin != end]

    def read_streams(
        self, within: StreamRange, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> StreamBatch:
        """Whole streams of the range; see the port. The one in which the batch ends is read to its end."""
        up_to, left_out = min(position, self._horizon.position()), sorted(without)
        after = _FIRST if within.after is None else within.after
        with self._streams.use() as connection, connection.cursor(binary=True) as cursor:
            wanted = (after, within.until, up_to, left_out, limit)
            rows: list[LedgerRow] = fetch_all(connection, SQL["read_streams"], wanted)
            if len(rows) < limit:
                return StreamBatch(seen_streams(rows, self._facts), within.until, more=False)
            stream, version = rows[-1][:2]
            cursor.execute(SQL["read_stream"], (stream, version, up_to, left_out), prepare=True)
            rows += cursor.fetchall()
        return StreamBatch(seen_streams(rows, self._facts), stream, more=stream < within.until)

    def read_tenant(
        self, tenant: str, after: int, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> SeenBatch:
        """A tenant's events up to a position; see the port."""
        readable_to = min(position, self._horizon.position())
        wanted = (tenant, after, readable_to, sorted(without), limit)
        with self.session.use() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(SQL["read_tenant"], wanted, prepare=True)
            rows = cursor.fetchall()
        return seen_batch(rows, self._facts, after=after, limit=limit, readable_to=readable_to)

    def read_stream(self, stream: UUID, *, after_version: int = 0) -> Sequence[SeenEvent]:
        """A stream's events below the horizon; see the port."""
        readable_to = self._horizon.position()
        with self._streams.use() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(SQL["read_stream"], (stream, after_version, readable_to, _NOTHING), prepare=True)
            return seen_streams(cursor.fetchall(), self._facts)

    # --- for people ----------------------------------------------------------------------------------------------

    def lag(self, projections: Sequence[str]) -> LedgerLag:
        """How far these projections are behind; see the port."""
        readable_to = self._horizon.position()
        with self._connections.transaction(Role.PROJECTOR) as connection:
            connection.execute(SQL["give_up_soon"])
            rows = connection.execute(SQL["lag"], (list(projections), readable_to, LAG_EVENTS_MAX)).fetchall()
            waiting = connection.execute(SQL["unreadable_seconds"], (readable_to,)).fetchone()
        lags = tuple(ProjectionLag(name, events, max(0.0, seconds)) for name, events, seconds in rows)
        return LedgerLag(lags, 0.0 if waiting is None else max(0.0, waiting[0]))

    def close(self) -> None:
        """Close the connections."""
        self.session.close()
        self.tail.close()
        self._streams.close()
