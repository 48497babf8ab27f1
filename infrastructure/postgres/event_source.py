"""The ledger as projections read it on PostgreSQL: binary tuples in order, only below the horizon."""

from __future__ import annotations

from collections.abc import Sequence

from jobledger.projections.ports import LAG_EVENTS_MAX, LedgerLag, ProjectionLag, SeenBatch

from ..seen_events import LazyFacts, seen_batch
from ..sql_blocks import load
from .connections import Connections, Role
from .reader import Horizon
from .session import Session

SQL = load("jobledger.infrastructure.postgres", "sql/views.sql")

INDEXES_ONLY = {
    "enable_seqscan": "off", "enable_bitmapscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
    "plan_cache_mode": "force_custom_plan",
}  # fmt: skip
"""Plans are made while tables are small and kept while they grow: never one that reads a whole table."""


class PostgresEventSource:
    """Reads as `jobledger_projector` on a connection of its own, below the horizon of this process."""

    def __init__(self, connections: Connections, horizon: Horizon | None = None) -> None:
        self.session = Session(lambda: connections.connect(Role.PROJECTOR), INDEXES_ONLY)
        self._facts = LazyFacts()
        self._connections = connections
        self._horizon = horizon or Horizon(connections)

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
        with self.session.use() as connection, connection.cursor(binary=True) as cursor:
            cursor.execute(SQL["read_events"], (position, readable_to, sorted(without), limit), prepare=True)
            rows = cursor.fetchall()
        return seen_batch(rows, self._facts, after=position, limit=limit, readable_to=readable_to)

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
        """Close the connection."""
        self.session.close()
