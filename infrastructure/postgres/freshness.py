"""How current lists are on PostgreSQL, and which transaction keeps them from what is newer."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Any

from psycopg import Cursor

from jobledger.application.ports import HELD_SECONDS_MIN, Freshness, HorizonHold

from ..sql_blocks import load
from .connections import READS_ALL, Connections, PgConnection, Role
from .reader import Horizon

SQL = load("jobledger.infrastructure.postgres", "sql/freshness.sql")

_ASKED_EVERY_SECONDS = 0.25


class PostgresFreshness:
    """Says how current a list is. Who holds the horizon is asked four times a second at most, for all lists of it."""

    def __init__(
        self, connections: Connections, horizon: Horizon, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._connections = connections
        self._horizon = horizon
        self._monotonic = monotonic
        self._lock = Lock()
        self._asked_at = float("-inf")
        self._hold: HorizonHold | None = None

    def ask(self, connection: PgConnection, projection: str) -> Cursor[tuple[Any, ...]]:
        """Ask how far the view is, before its rows are read: rows may then be newer than it says, never older."""
        return connection.execute(SQL["freshness"], (projection,), prepare=True)

    def told(self, projection: str, row: tuple[Any, ...] | None) -> Freshness:
        """What the answer means. Asks for more, on connections of its own: to be called without one."""
        position, recorded_at, parked = (0, None, 0) if row is None else row
        return Freshness(
            position, max(position, self._horizon.position()), recorded_at, projection, parked, self.hold()
        )

    def hold(self) -> HorizonHold | None:
        """What keeps readers back, if it has done so for a second at least."""
        with self._lock:
            if self._monotonic() - self._asked_at >= _ASKED_EVERY_SECONDS:
                self._hold = self._read_hold()
                self._asked_at = self._monotonic()
            return self._hold

    def _read_hold(self) -> HorizonHold | None:
        with self._connections.connection(self._connections.acting(Role.API, *READS_ALL)) as connection:
            row = connection.execute(SQL["horizon_hold"], prepare=True).fetchone()
        if row is None:
            return None
        pid, application, login, state, began_at, waiting_since, now_at = row
        since = began_at or waiting_since
        if since is None or (now_at - since).total_seconds() < HELD_SECONDS_MIN:
            return None
        return HorizonHold(since, (now_at - since).total_seconds(), pid, application, login, state, waiting_since)
