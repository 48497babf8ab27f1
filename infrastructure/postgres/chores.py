"""Turns on PostgreSQL: who does a chore now, among all processes.

A transaction-level advisory lock, in a transaction that does nothing else: it takes no snapshot and no ticket, so it
holds back neither vacuum nor readers of the ledger. The server releases it when the process dies; when the process
froze, or its host vanished, it does so after `TURN_SECONDS_MAX`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import ClientCursor
from psycopg.pq import TransactionStatus

from jobledger.application.ports import TURN_SECONDS_MAX

from .connections import Connections, PgConnection, Role
from .driver_errors import translate
from .statements import SQL

_IDLE_TIMEOUT = f"{TURN_SECONDS_MAX:g}s"


class Chores:
    """Takes turns on connections of its own: those of the pool are for the chores themselves. Safe in any thread."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._idle: deque[PgConnection] = deque()
        self._closed = False

    @contextmanager
    def turn(self, chore: str) -> Iterator[bool]:
        """See `Queue.turn`."""
        connection, mine = self._begin(chore)
        try:
            yield mine
        finally:
            self._end(connection)

    def close(self) -> None:
        """Close the connections. Closing twice is harmless."""
        self._closed = True
        while self._idle:
            self._idle.popleft().close()

    def _begin(self, chore: str) -> tuple[PgConnection, bool]:
        try:
            connection = self._idle.popleft()
        except IndexError:
            connection = self._connect()
        try:
            return connection, _try_lock(connection, chore)
        except psycopg.Error:
            connection.close()  # the server closed it while it lay idle; a new one tells what is really wrong
        connection = self._connect()
        try:
            return connection, _try_lock(connection, chore)
        except psycopg.Error as error:
            connection.close()
            raise translate(error) from error

    def _connect(self) -> PgConnection:
        return self._connections.connect(Role.WORKER, application_name="jobledger turn")

    def _end(self, connection: PgConnection) -> None:
        """Release the lock. Where the server ended the transaction, it released it, and the turn was over before."""
        try:
            connection.rollback()
        except psycopg.Error:
            connection.close()
        if connection.closed:
            return
        if self._closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            connection.close()
        else:
            self._idle.append(connection)


def _try_lock(connection: PgConnection, chore: str) -> bool:
    connection.execute("BEGIN")
    row = connection.execute(SQL["take_turn"], (chore,)).fetchone()
    # Last, and not as a query: the server keeps the snapshot of the query before until the next statement.
    ClientCursor(connection).execute(SQL["turn_timeout"], (_IDLE_TIMEOUT,))
    return row is not None and bool(row[0])
