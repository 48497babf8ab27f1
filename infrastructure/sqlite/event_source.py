"""The ledger as projections read it on SQLite: what is visible has everything before it visible too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from jobledger.projections.batch import collector_paused
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
from .database import Database
from .types import database_now, moment

SQL = load("jobledger.infrastructure.sqlite", "sql/views.sql", "sql/reading.sql")

_LAG_SECONDS_MAX = 2.0
_BEFORE_ALL = b""
_LAST_STREAM = UUID(int=2**128 - 1)
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

    def ranges(self, position: int, count: int) -> list[StreamRange]:
        """About `count` ranges of about as many events; see the port. Reads one index, whole."""
        with self._database.read() as connection:
            events: int = connection.execute(SQL["count_events"], (position,)).fetchone()[0]
            each = max(1, -(-events // count))
            found = connection.execute(SQL["ranges"], (position, each)).fetchall()
        ends = [UUID(bytes=stream) for (stream,) in found[: count - 1]] + [_LAST_STREAM]
        return [StreamRange(after, until) for after, until in zip([None, *ends], ends, strict=False)]

    def read_streams(
        self, within: StreamRange, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> StreamBatch:
        """Whole streams of the range, about `limit` events; see the port."""
        unwanted = json.dumps(sorted(without))
        after = _BEFORE_ALL if within.after is None else within.after.bytes
        # the collector would visit all that is made here, and find nothing
        with self._database.read() as connection, collector_paused():
            wanted = (after, within.until.bytes, position, unwanted, limit + 1)
            rows: list[_StoredRow] = connection.execute(SQL["read_streams"], wanted).fetchall()
            if len(rows) <= limit:
                return StreamBatch(self._seen(rows), within.until, more=False)
            rows = _whole_streams(rows)
            stream, version = rows[-1][:2]
            if stream == rows[0][0]:
                rows += connection.execute(SQL["read_rest_of_stream"], (stream, version, position, unwanted)).fetchall()
            return StreamBatch(self._seen(rows), UUID(bytes=stream), more=True)

    def read_tenant(
        self, tenant: str, after: int, *, position: int, limit: int, without: frozenset[str] = frozenset()
    ) -> SeenBatch:
        """As `read_after`, of one tenant; see the port."""
        with self._database.read() as connection:
            readable_to = min(position, connection.execute(SQL["head"]).fetchone()[0])
            wanted = (tenant, after, readable_to, json.dumps(sorted(without)), limit)
            rows: list[_StoredRow] = connection.execute(SQL["read_tenant"], wanted).fetchall()
        return seen_batch(_ledger_rows(rows), self._facts, after=after, limit=limit, readable_to=readable_to)

    def read_stream(self, stream: UUID, *, after_version: int = 0) -> Sequence[SeenEvent]:
        """The events of one stream after a version; see the port."""
        with self._database.read() as connection:
            return self._seen(connection.execute(SQL["read_stream"], (stream.bytes, after_version)).fetchall())

    def read_at(self, positions: Sequence[int]) -> Sequence[SeenEvent]:
        """The events at these positions; see the port."""
        with self._database.read() as connection:
            return self._seen(connection.execute(SQL["read_at"], (json.dumps(list(positions)),)).fetchall())

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

    def _seen(self, rows: Sequence[_StoredRow]) -> list[SeenEvent]:
        return seen_streams(_ledger_rows(rows), self._facts)


def _whole_streams(rows: list[_StoredRow]) -> list[_StoredRow]:
    """Without the stream that is cut off at the end, unless it is the only one."""
    last = rows[-1][0]
    whole = len(rows) - 1
    while whole and rows[whole - 1][0] == last:
        whole -= 1
    return rows[:whole] if whole else rows


def _ledger_rows(rows: Sequence[_StoredRow]) -> list[LedgerRow]:
    times = {stored: moment(stored) for stored in {row[4] for row in rows}}  # events of one commit have the same
    ids = {stored: UUID(bytes=stored) for stored in {row[0] for row in rows}}
    return [
        (ids[stream], version, tenant, position, times[recorded_at], topic, state)
        for stream, version, tenant, position, recorded_at, topic, state in rows
    ]
