"""The whole work queue beside the ledger on PostgreSQL: read as `jobledger_auditor` in one snapshot, rewritten as
`jobledger_writer` with all other writers kept out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import IsolationLevel

from ..queue_comparing import LedgerRow, StoredRow, has_payload
from ..sql_blocks import load
from .connections import Connections, PgConnection, Role
from .driver_errors import wrapped
from .reader import TICKET_BITS
from .statements import SQL as READING

SQL = load("jobledger.infrastructure.postgres", "sql/queue_tables.sql")

ROWS_FETCHED = 5_000
LOCK_WAIT = "5s"
"""How long writers that are under way are waited for; new ones stand behind."""


class PostgresQueueTables:
    """The `QueueTables` on PostgreSQL; each block has a connection of its own."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    @contextmanager
    def reading(self) -> Iterator[PostgresQueueRead]:
        """One snapshot. Everything up to the horizon that was asked before is part of it."""
        with wrapped(), self._connections.connect(Role.AUDITOR, application_name="jobledger verify") as connection:
            connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
            position = _horizon(connection)
            with connection.transaction():
                yield PostgresQueueRead(connection, position)

    @contextmanager
    def writing(self) -> Iterator[PostgresQueueWrite]:
        """The table locked against all writers: what they began is finished, and what they will begin waits."""
        opened = self._connections.connect(Role.WRITER, application_name="jobledger rebuild")
        with wrapped(), opened as connection, connection.transaction():
            connection.execute(SQL["wait_for_writers"], (LOCK_WAIT,))
            connection.execute(SQL["keep_writers_out"])
            yield PostgresQueueWrite(connection, _horizon(connection))


class PostgresQueueRead:
    """Ledger and queue through cursors of the server. Each sees what was committed when it was opened: without a
    snapshot for all of them (where the table is locked) that is the same."""

    def __init__(self, connection: PgConnection, position: int) -> None:
        self._connection = connection
        self._cursors = 0
        self.position = position
        row = connection.execute(SQL["this_moment"]).fetchone()
        assert row is not None
        self.now: datetime = row[0]

    def events(self) -> Iterator[LedgerRow]:
        """The events of all jobs by stream and version."""
        yield from self._rows(SQL["events_of_jobs"])

    def rows(self) -> Iterator[StoredRow]:
        """The rows of the queue by id."""
        for row in self._rows(SQL["rows_of_queue"]):
            yield StoredRow(*row)

    def _rows(self, statement: str) -> Iterator[Any]:
        self._cursors += 1
        with self._connection.cursor(f"queue_tables_{self._cursors}") as cursor:
            cursor.itersize = ROWS_FETCHED
            yield from cursor.execute(statement, binary=True)


class PostgresQueueWrite(PostgresQueueRead):
    """The same, with the table locked."""

    def delete(self, job_ids: Sequence[UUID]) -> None:
        """Remove the rows of these jobs."""
        self._connection.execute(SQL["delete_rows"], (list(job_ids),))

    def insert(self, rows: Sequence[tuple[StoredRow, int]]) -> set[UUID]:
        """Store rows; returns the jobs whose payload is not in the ledger any more."""
        columns: dict[str, list[object]] = {
            name: [getattr(row, name) for row, _ in rows]
            for name in StoredRow._fields
            if name not in {"lane", "payload"}
        }
        columns["has_payload"] = [has_payload(row) for row, _ in rows]
        columns["payload_version"] = [version for _, version in rows]
        stored = self._connection.execute(SQL["insert_rows"], list(columns.values())).fetchall()
        return {row.job_id for row, _ in rows} - {job_id for (job_id,) in stored}


def _horizon(connection: PgConnection) -> int:
    row = connection.execute(READING["horizon"]).fetchone()
    return 0 if row is None else ((row[0] + 1) << TICKET_BITS) - 1
