"""The API keys of an installation, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobledger.application.key_ports import KeyUse

from .connections import Connections, Role
from .statements import SQL


class PostgresKeyRegister:
    """The `KeyRegister`. Keys are no tenant's data; a login of the API has to know them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def key_ids(self, *, after: str = "", limit: int) -> list[str]:
        """Ids of keys behind that one, in their order."""
        role = self._connections.acting(Role.API, Role.WORKER, Role.AUDITOR)
        with self._connections.connection(role) as connection:
            return [row[0] for row in connection.execute(SQL["key_ids"], (after, limit))]

    def uses(self, key_ids: Sequence[str]) -> dict[str, KeyUse]:
        """The last uses of those keys."""
        role = self._connections.acting(Role.API, Role.WORKER, Role.AUDITOR)
        with self._connections.connection(role) as connection:
            return {row[0]: KeyUse(*row) for row in connection.execute(SQL["key_uses"], (list(key_ids),))}

    def record_uses(self, uses: Sequence[KeyUse]) -> None:
        """Remember uses; of several of a key the latest stays."""
        columns = [list(column) for column in zip(*_latest(uses), strict=True)]
        if columns:
            with self._connections.connection(self._connections.acting(Role.API, Role.WORKER)) as connection:
                connection.execute(SQL["record_key_uses"], columns)

    def end_session(self, session_sha256: str, until: datetime, *, now: datetime) -> None:
        """A session is not good any more."""
        with self._connections.connection(self._connections.acting(Role.API, Role.WORKER)) as connection:
            connection.execute(SQL["forget_console_sessions"], (now,))
            connection.execute(SQL["end_console_session"], (session_sha256, until))

    def is_session_ended(self, session_sha256: str) -> bool:
        """Whether somebody ended it before its time."""
        with self._connections.connection(self._connections.acting(Role.API, Role.WORKER)) as connection:
            return connection.execute(SQL["is_console_session_ended"], (session_sha256,)).fetchone() is not None


def _latest(uses: Sequence[KeyUse]) -> list[KeyUse]:
    """One of each key: a statement changes a row once. In the order of ids, so that no two wait for each other."""
    latest: dict[str, KeyUse] = {}
    for use in sorted(uses, key=lambda use: (use.key_id, use.last_used_at)):
        latest[use.key_id] = use
    return list(latest.values())
