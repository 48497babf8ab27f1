"""The ledger as projections read it on SQLite: what is visible has everything before it visible too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from jobledger.projections.ports import LAG_EVENTS_MAX, LedgerLag, ProjectionLag, SeenBatch

from ..seen_events import LazyFacts, LedgerRow, seen_batch
from ..sql_blocks import load
from .database import Database
from .types import database_now, moment

SQL = load("jobledger.infrastructure.sqlite", "sql/views.sql", "sql/reading.sql")

_LAG_SECONDS_MAX = 2.0
_StoredRow = tuple[bytes, int, str, int, int, str, bytes]


class SqliteEventSource:
    """Reads on this process's readers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._facts = LazyFacts()

    def head(self) -> int:
        """The last position that was given out; it never falls."""
        with self._database.read() as connection:
            head: int = connection.execute(SQL["head"]).fetchone()[0]
        return head

    def read_after(
        self, position: int, *, limit: int, without: frozenset[str] = frozenset(), until: int | None = None
    ) -> SeenBatch:
        """At most `limit` events after `position`; see the port."""
        with self._database.read() as connection:
            readable_to: int = connection.execute(SQL["head"]).fetchone()[0]
            if until is not None:
                readable_to = min(readable_to, until)
            wanted = (position, readable_to, json.dumps(sorted(without)), limit)
            rows: list[_StoredRow] = connection.execute(SQL["read_events"], wanted).fetchall()
        return seen_batch(_ledger_rows(rows), self._facts, after=position, limit=limit, readable_to=readable_to)

    def lag(self, projections: Sequence[str]) -> LedgerLag:
        """How far these projections are behind; see the port. What is committed can be read at once."""
        now = database_now()
        with self._database.read(at_most_seconds=_LAG_SECONDS_MAX) as connection:
            rows = connection.execute(SQL["lag"], (json.dumps(list(projections)), LAG_EVENTS_MAX)).fetchall()
        lags = (
            ProjectionLag(name, events, 0.0 if oldest is None else max(0.0, (now - oldest) / 1_000_000))
            for name, events, oldest in rows
        )
        return LedgerLag(tuple(lags), 0.0)


def _ledger_rows(rows: Sequence[_StoredRow]) -> list[LedgerRow]:
    times = {row[4]: moment(row[4]) for row in rows}  # events of one commit have the same
    return [
        (UUID(bytes=stream), version, tenant, position, times[recorded_at], topic, state)
        for stream, version, tenant, position, recorded_at, topic, state in rows
    ]
