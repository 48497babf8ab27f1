"""How current lists are on SQLite. There is one writer, so nobody keeps readers from what is committed."""

from __future__ import annotations

from sqlite3 import Connection

from jobledger.application.ports import Freshness

from ..sql_blocks import load
from .types import optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/freshness.sql", "sql/reading.sql")


def read_freshness(connection: Connection, projection: str, tenant: str | None) -> Freshness:
    """How current a view is at the moment that this transaction sees; parked are the tenant's events (None: all)."""
    head: int = connection.execute(SQL["head"]).fetchone()[0]
    found = connection.execute(SQL["freshness"], (projection, tenant)).fetchone()
    position, recorded_at, parked = (0, None, 0) if found is None else found
    return Freshness(position, head, optional_moment(recorded_at), projection, parked)
