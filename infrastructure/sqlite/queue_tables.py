"""The whole work queue beside the ledger on SQLite: read in one transaction, rewritten as the only writer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from uuid import UUID

from jobledger.application.flow_control import lane_of

from .. import mapper
from ..queue_comparing import LedgerRow, StoredRow, has_payload
from ..sql_blocks import load
from .database import Database
from .limits import limited_personas
from .types import database_now, microseconds, moment, optional_microseconds, optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/queue_tables.sql", "sql/reading.sql")


class SqliteQueueTables:
    """The `QueueTables` on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def reading(self) -> Iterator[SqliteQueueRead]:
        """One moment of the file; writers go on beside it."""
        with self._database.read() as connection:
            yield SqliteQueueRead(connection)

    @contextmanager
    def writing(self) -> Iterator[SqliteQueueWrite]:
        """The only writer. Rows change behind the row that is being read, never in front of it."""
        with self._database.write() as connection:
            yield SqliteQueueWrite(connection)


class SqliteQueueRead:
    """Ledger and queue as this connection sees them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.position: int = connection.execute(SQL["head"]).fetchone()[0]
        self.now = moment(database_now())

    def events(self) -> Iterator[LedgerRow]:
        """The events of all jobs by stream and version."""
        found = self._connection.execute(SQL["events_of_jobs"])
        for stream, version, tenant, position, recorded_at, topic, state in found:
            yield UUID(bytes=stream), version, tenant, position, moment(recorded_at), topic, state

    def rows(self) -> Iterator[StoredRow]:
        """The rows of the queue by id."""
        for row in self._connection.execute(SQL["rows_of_queue"]):
            stored = StoredRow(UUID(bytes=row[0]), *row[1:])
            yield stored._replace(
                due_at=moment(row[8]), started_at=optional_moment(row[14]), payload=_fingerprint(row[-1])
            )


class SqliteQueueWrite(SqliteQueueRead):
    """The same, as the only writer."""

    def delete(self, job_ids: Sequence[UUID]) -> None:
        """Remove the rows of these jobs."""
        self._connection.executemany(SQL["delete_row"], [(job_id.bytes,) for job_id in job_ids])

    def insert(self, rows: Sequence[tuple[StoredRow, int]]) -> set[UUID]:
        """Store rows; returns the jobs whose payload is not in the ledger any more."""
        limited, lost = limited_personas(self._connection), set[UUID]()
        for row, version in rows:
            payload = self._payload(row, version)
            if payload is None:
                lost.add(row.job_id)
                continue
            persona = row.persona if (row.tenant_id, row.persona) in limited else None
            lane = lane_of(row.lock_key, row.limit_key, persona)
            self._connection.execute(SQL["insert_row"], (
                row.job_id.bytes, *row[1:8], microseconds(row.due_at), *row[9:14],
                optional_microseconds(row.started_at), row.lock_key, row.limit_key, lane, *row[18:-1], payload,
            ))  # fmt: skip
        return lost

    def _payload(self, row: StoredRow, version: int) -> bytes | None:
        if not has_payload(row):
            return mapper.PLAIN
        found = self._connection.execute(SQL["body_of_event"], (row.job_id.bytes, version)).fetchone()
        body: bytes | None = None if found is None else found[0]
        return body


def _fingerprint(payload: bytes) -> str:
    tag = mapper.PLAIN.decode() if payload[:1] == mapper.PLAIN else "?"
    return f"{tag}:{hashlib.sha256(payload[1:]).hexdigest()}"
