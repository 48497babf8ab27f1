"""Appending events inside a write transaction: positions, the database's time and leaves."""

from __future__ import annotations

import sqlite3
from uuid import UUID

from jobledger.domain.errors import LedgerRestored

from .. import mapper
from ..sql_blocks import load
from .types import database_now

SQL = load("jobledger.infrastructure.sqlite", "sql/ledger.sql")

_Row = tuple[int, str, bytes, int, int, str, bytes, bytes | None, bytes]


class Appender:
    """The events of one transaction. They are stored by `finish`, many in one call.

    Nobody else can append meanwhile (SQLite has one writer), so positions are known beforehand.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        last_position, checkpoint = connection.execute(SQL["last_position"]).fetchone()
        if last_position < checkpoint:
            raise LedgerRestored(
                f"the ledger ends at {last_position}, a projection has read up to {checkpoint}",
                hint="the file was restored to an earlier moment: rebuild the projections",
            )
        self._connection = connection
        self._position: int = last_position
        self._rows: list[_Row] = []
        self.recorded_at = database_now()

    def append(  # noqa: PLR0917 - the columns, in their order
        self, tenant: str, originator_id: UUID, version: int, topic: str, state: bytes, stored_body: bytes | None = None
    ) -> int:
        """Add an event and return its position. `stored_body` carries its tag."""
        self._position += 1
        leaf = mapper.leaf(tenant, originator_id, version, self.recorded_at, topic, state)
        self._rows.append(
            (
                self._position, tenant, originator_id.bytes, version, self.recorded_at, topic, state, stored_body, leaf,
            )
        )  # fmt: skip
        return self._position

    def finish(self) -> None:
        """Store the events; `sqlite3.IntegrityError` where a stream already has one of the versions."""
        self._connection.executemany(SQL["append_event"], self._rows)
        self._rows = []
