"""Writers and tailing readers of a PostgreSQL ledger, to show what the horizon is for.

A writer is an open transaction that a test commits when it likes. A reader keeps a cursor and collects what it reads;
there is the right one and two that are broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import psycopg

from jobledger.infrastructure.postgres.connections import Connections
from jobledger.infrastructure.postgres.reader import Horizon, PostgresEventReader
from tests.support.library_contract import OurIds

GATE = 4_242
"""The advisory lock that a test holds to stop a reader between its snapshot and its horizon."""

_OPTIONS = "-c role={} -c search_path=jobledger,pg_temp"
_APPEND = "SELECT ledger_append(ARRAY['acme'], ARRAY[%s]::uuid[], ARRAY[%s], ARRAY['tenant.resumed'], %s, %s)"
_STATE = (
    b'{"correlation_id":"c","trace_parent":"00-a-b-01","actor":"test","authenticated":true,"time":"2026-01-01T00:00:00Z"}'
    b'\n{"name":"acme","reason":"r"}'
)
_READ = "SELECT notification_id, originator_id, originator_version FROM ledger WHERE notification_id > %s"


class Seen(NamedTuple):
    """An event as a reader saw it."""

    position: int
    stream: UUID
    version: int


class Writer:
    """A connection that appends; nothing is visible before `commit`."""

    def __init__(self, dsn: str) -> None:
        self.connection = connect(dsn, "jobledger_worker")

    def write_elsewhere(self) -> None:
        """Take a transaction id long before the first append."""
        self.connection.execute("SELECT pg_current_xact_id()")

    def append(self, stream: UUID, version: int) -> int:
        """Append an event; its position."""
        row = self.connection.execute(_APPEND, (stream, version, [_STATE], [None])).fetchone()
        assert row is not None
        return int(row[0])

    def commit(self) -> None:
        """Make it visible."""
        self.connection.commit()

    def close(self) -> None:
        """Roll back what was not committed."""
        self.connection.close()


class Reader(Protocol):
    """Reads on from where it was."""

    seen: list[Seen]

    def read(self) -> None:
        """Read what there is now."""
        ...

    def close(self) -> None:
        """Close its connection."""
        ...


class RightReader:
    """The reader of the product: the horizon in a statement of its own, then the events below it."""

    def __init__(self, dsn: str) -> None:
        self.seen: list[Seen] = []
        self._connections = Connections(dsn)
        self._reader = PostgresEventReader(self._connections, Horizon(self._connections, max_age_seconds=0.0))
        self._position = 0

    def read(self) -> None:
        """Read to the horizon."""
        while True:
            batch = self._reader.read_after(self._position, limit=1_000)
            self._position = batch.position
            self.seen += [Seen(event.position, event.originator_id, event.originator_version) for event in batch.events]
            if not batch.events:
                return

    def close(self) -> None:
        """Close its connections."""
        self._connections.close()


class _BrokenReader:
    statement: str

    def __init__(self, dsn: str) -> None:
        self.seen: list[Seen] = []
        self._connection = connect(dsn, "jobledger_projector", autocommit=True)

    def read(self) -> None:
        position = self.seen[-1].position if self.seen else 0
        self.seen += [Seen(*row) for row in self._connection.execute(self.statement, (position,))]

    def close(self) -> None:
        self._connection.close()


class ReaderWithoutHorizon(_BrokenReader):
    """Reads whatever it sees: an event that commits late is passed over."""

    statement = f"{_READ} ORDER BY notification_id"


class ReaderWithHorizonInside(_BrokenReader):
    """Asks for the horizon inside the statement that reads, whose snapshot is older than the answer.

    Between the two it passes through a gate, which the test can close: the moment that is otherwise microseconds.
    """

    statement = f"{_READ} AND notification_id < ((SELECT late_horizon()) + 1) << 12 ORDER BY notification_id"

    def __init__(self, dsn: str) -> None:
        make_late_horizon(dsn)
        super().__init__(dsn)


class GatedRightReader(_BrokenReader):
    """Right again, though its horizon comes as late: it stands in a statement before the one that reads."""

    statement = f"{_READ} AND notification_id < %s ORDER BY notification_id"

    def __init__(self, dsn: str) -> None:
        make_late_horizon(dsn)
        super().__init__(dsn)

    def read(self) -> None:
        """The horizon, then the events below it."""
        row = self._connection.execute("SELECT (late_horizon() + 1) << 12").fetchone()
        assert row is not None
        position = self.seen[-1].position if self.seen else 0
        self.seen += [Seen(*found) for found in self._connection.execute(self.statement, (position, row[0]))]


def make_late_horizon(dsn: str) -> None:
    """A horizon that is asked for only once the gate is open, and a moment later."""
    with connect(dsn, "jobledger_owner") as connection:
        connection.execute(
            f"""CREATE OR REPLACE FUNCTION late_horizon() RETURNS bigint LANGUAGE plpgsql VOLATILE
                SET lock_timeout = 0 AS $$
                BEGIN
                  PERFORM pg_advisory_lock({GATE});
                  PERFORM pg_advisory_unlock({GATE});
                  PERFORM pg_sleep(0.002);
                  RETURN ledger_horizon();
                END $$"""
        )
        connection.execute("GRANT EXECUTE ON FUNCTION late_horizon() TO jobledger_projector")


def connect(dsn: str, role: str, *, autocommit: bool = False) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection that acts in a role."""
    return psycopg.connect(dsn, options=_OPTIONS.format(role), autocommit=autocommit)


def waits_at_gate(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Whether somebody stands before the gate."""
    row = connection.execute("SELECT count(*) FROM pg_locks WHERE objid = %s AND NOT granted", (GATE,)).fetchone()
    return row is not None and row[0] > 0


def whole_ledger(dsn: str) -> list[Seen]:
    """All events in order of position."""
    with connect(dsn, "jobledger_projector") as connection:
        return [Seen(*row) for row in connection.execute(f"{_READ} ORDER BY notification_id", (0,))]


def faults(seen: list[Seen], ledger: list[Seen]) -> list[str]:
    """What a reader did wrong: events that it missed, and streams that it saw out of order."""
    missed = [f"missed {event.stream}.{event.version}" for event in ledger if event not in set(seen)]
    last: dict[UUID, int] = {}
    inverted: list[str] = []
    for event in seen:
        if event.version <= last.get(event.stream, 0):
            inverted.append(f"inverted {event.stream}.{event.version}")
        last[event.stream] = event.version
    return missed + inverted


new_stream: Callable[[], UUID] = OurIds().new_originator_id
