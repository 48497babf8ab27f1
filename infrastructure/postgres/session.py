"""One connection that its owner keeps: opened when it is needed, and again after it broke."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock

import psycopg
from psycopg.pq import TransactionStatus

from .connections import Connections, PgConnection, Role
from .driver_errors import translate
from .pooled import PooledConnections

Connect = Callable[[], PgConnection]
Prepare = Callable[[PgConnection], None]


class Session:
    """Used by one thread at a time; others wait. `settings` are this session's own."""

    def __init__(self, connect: Connect, settings: Mapping[str, str], prepare: Prepare | None = None) -> None:
        self._connect = connect
        self._settings = settings
        self._prepare = prepare
        self._lock = Lock()
        self._connection: PgConnection | None = None

    @contextmanager
    def use(self) -> Iterator[PgConnection]:
        """The connection, in autocommit mode. Errors of the driver are raised as ours."""
        with self._lock:
            try:
                yield self._open()
            except psycopg.Error as error:
                raise translate(error) from error
            finally:
                self._let_go_of_broken()

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _let_go_of_broken(self) -> None:
        """A connection that is closed, or was cut off in the middle of a statement (by Ctrl-C), serves nobody else."""
        connection = self._connection
        if connection is not None and connection.info.transaction_status is not TransactionStatus.IDLE:
            connection.close()
            self._connection = None

    def _open(self) -> PgConnection:
        if self._connection is None:
            connection = self._connect()
            for name, value in self._settings.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, value))
            if self._prepare is not None:
                self._prepare(connection)
            self._connection = connection
        return self._connection


class PooledSession(Session):
    """The same behind a pooler in transaction mode: each use is one transaction, with the same settings."""

    def __init__(
        self, connections: PooledConnections, role: Role, settings: Mapping[str, str], prepare: Prepare | None
    ) -> None:
        super().__init__(lambda: connections.connect(role), settings, prepare)
        self._connections = connections
        self._role = role

    @contextmanager
    def use(self) -> Iterator[PgConnection]:
        """A connection in a transaction. Errors of the driver are raised as ours."""
        with self._connections.transaction(self._role, self._settings) as connection:
            if self._prepare is not None:
                self._prepare(connection)
            yield connection


def open_session(
    connections: Connections,
    role: Role,
    settings: Mapping[str, str],
    prepare: Prepare | None = None,
    *,
    application_name: str = "jobledger",
) -> Session:
    """A session of this role, as these connections can have it."""
    if isinstance(connections, PooledConnections):
        return PooledSession(connections, role, settings, prepare)
    return Session(lambda: connections.connect(role, application_name=application_name), settings, prepare)
