"""The engine under the group commit behind a pooler in transaction mode: a marked transaction for each group."""

from __future__ import annotations

from .calls import Call
from .connections import PgConnection, Role
from .ledger_writer import PostgresEngine, execute
from .lost_commit import new_mark
from .pooled import PooledConnections, commit, roll_back
from .statements import Row


class PooledEngine(PostgresEngine):
    """Stores groups of writes in three round trips: one begins and marks a transaction, one writes, one commits.

    Once the first is back there is a transaction that can be found by its mark; before that, nothing was written.
    """

    def __init__(self, connections: PooledConnections) -> None:
        super().__init__(connections)
        self._pooled = connections

    def _open(self) -> PgConnection:
        if self._connection is None or self._connection.closed:
            self._connection = self._pooled.client("jobledger writer")
        return self._connection

    def _run(self, connection: PgConnection, calls: list[Call]) -> list[Row]:
        self._under_way = None
        mark = new_mark()
        try:
            self._pooled.begin(connection, self._pooled.acting(Role.API, Role.WORKER), mark.number)
            self._under_way = mark
            rows = execute(connection, calls)
            commit(connection)
        except BaseException:
            roll_back(connection)
            raise
        return rows
