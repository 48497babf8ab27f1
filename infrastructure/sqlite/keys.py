"""The API keys of an installation, on SQLite."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime

from jobledger.application.key_ports import KeyUse

from ..sql_blocks import load
from .database import Database
from .types import microseconds, moment

SQL = load("jobledger.infrastructure.sqlite", "sql/keys.sql")


class SqliteKeyRegister:
    """The `KeyRegister`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def key_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Ids of keys behind that one, in their order."""
        with self._database.read() as connection:
            return [row[0] for row in connection.execute(SQL["key_ids"], (after, limit))]

    def uses(self, key_ids: Sequence[str]) -> dict[str, KeyUse]:
        """The last uses of those keys."""
        with self._database.read() as connection:
            rows = connection.execute(SQL["key_uses"], (json.dumps(list(key_ids)),)).fetchall()
        return {key_id: KeyUse(key_id, moment(used_at), address) for key_id, used_at, address in rows}

    def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Remember uses; of several of a key the latest stays."""
        if uses:
            rows = [(use.key_id, microseconds(use.last_used_at), use.address) for use in uses]
            with self._database.write() as connection:
                connection.executemany(SQL["record_key_use"], rows)

    def end_session(self, session_sha256: str, until: datetime, *, now: datetime) -> None:
        """A session is not good any more."""
        with self._database.write() as connection:
            connection.execute(SQL["forget_console_sessions"], (microseconds(now),))
            connection.execute(SQL["end_console_session"], (session_sha256, microseconds(until)))

    def is_session_ended(self, session_sha256: str) -> bool:
        """Whether somebody ended it before its time."""
        with self._database.read() as connection:
            return connection.execute(SQL["is_console_session_ended"], (session_sha256,)).fetchone() is not None
