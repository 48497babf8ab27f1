"""Connections through a pooler in transaction mode (PgBouncer): a session is ours for one transaction at a time.

So nothing is left in a session, and nothing is taken from it: role, tenant and every setting are set again in each
transaction, for that transaction. There are no prepared statements, no session's locks, no LISTEN. No transaction ends
within a pipeline: psycopg sends a Flush at a pipeline's end, for which PgBouncer gives the client a session again, and
keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC
from typing import Any

import psycopg
from psycopg.abc import AdaptContext
from psycopg.types.datetime import TimestamptzBinaryLoader, TimestamptzLoader

from jobledger.domain.errors import LedgerError, LoginRefused

from ..pooler import not_through_a_pooler
from .connections import SESSION, Connections, PgConnection, Role
from .driver_errors import wrapped
from .statements import SQL

_NONE: Mapping[str, str] = {}
_OF_A_TRANSACTION = {name: value for name, value in SESSION.items() if name != "client_encoding"}
"""The encoding is the client's own: poolers know it from the start of the connection."""


class _Utc(TimestamptzLoader):
    """Times in UTC, whatever the time zone of the session is that the pooler found."""

    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._timezone = UTC


class _BinaryUtc(TimestamptzBinaryLoader):
    def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
        super().__init__(oid, context)
        self._timezone = UTC


class PooledConnections(Connections):
    """The `Connections` of a process behind a pooler in transaction mode.

    One pool serves all roles. Whatever asks for a session of its own is refused: `InvalidSettings` names the setting.
    """

    pooled = True

    def __init__(self, dsn: str, *, min_size: int = 1, max_size: int = 8, connect_timeout_seconds: float = 5.0) -> None:
        super().__init__(dsn, min_size=min_size, max_size=max_size, connect_timeout_seconds=connect_timeout_seconds)
        self._granted: set[Role] = set()

    def acting(self, *roles: Role) -> Role:
        """The first of these roles that the login may act in; where it may in none, the first, which then says so."""
        return next((role for role in roles if role in self._granted or self._is_granted(role)), roles[0])

    def _is_granted(self, role: Role) -> bool:
        if role in self._refused:
            return False
        try:
            with self.connection(role):
                self._granted.add(role)
        except LoginRefused:
            self._granted.discard(role)
            self._refused.add(role)
        return role in self._granted

    @contextmanager
    def connection(self, role: Role | None) -> Iterator[PgConnection]:
        """A connection in a transaction of this role, as a pipeline: for few statements. It sees no tenant's rows
        where the role is kept to one. None: as the login itself."""
        with self._begun(role) as connection:
            yield connection

    @contextmanager
    def transaction(self, role: Role | None, settings: Mapping[str, str] = _NONE) -> Iterator[PgConnection]:
        """A transaction of this role, with settings of its own."""
        with self._begun(role, settings=settings, pipelined=False) as connection:
            yield connection

    @contextmanager
    def tenant_transaction(self, tenant: str) -> Iterator[PgConnection]:
        """A transaction that sees this tenant's rows only; see `Connections`."""
        role = self.acting(Role.API, Role.AUDITOR, Role.PROJECTOR)
        with self._begun(role, tenant) as connection:
            yield connection

    def connect(self, role: Role | None, *, application_name: str = "jobledger") -> PgConnection:
        """Refused: the session would be another program's after each transaction."""
        raise not_through_a_pooler(application_name if role is None else f"{application_name} ({role.value})")

    def connect_plain(self, *, application_name: str, idle_seconds: float) -> PgConnection:
        """Refused, too: an attempt's transaction is told by its session."""
        del idle_seconds
        raise not_through_a_pooler(application_name)

    def require_sessions(self, what: str) -> None:
        """Refused as well."""
        raise not_through_a_pooler(what)

    def client(self, application_name: str) -> PgConnection:
        """A connection to the pooler outside the pool, that the caller closes: for `begin`."""
        with wrapped():
            connection = psycopg.connect(**{**self._arguments(None), "application_name": application_name})
        self._configure(connection)
        return connection

    def begin(self, connection: PgConnection, role: Role | None, mark: int) -> None:
        """Begin a transaction of this role on a client's connection, and mark it. One round trip; when it is
        back, the transaction has begun."""
        with connection.pipeline():
            connection.execute("BEGIN")
            _act_as(connection, role, "", _NONE)
            connection.execute(SQL["mark_transaction"], (mark,))

    @contextmanager
    def _begun(
        self, role: Role | None, tenant: str = "", settings: Mapping[str, str] = _NONE, *, pipelined: bool = True
    ) -> Iterator[PgConnection]:
        with super().connection(None) as connection:
            try:
                with connection.pipeline() if pipelined else nullcontext():
                    connection.execute("BEGIN")
                    _act_as(connection, role, tenant, settings)
                    yield connection
                commit(connection)
            except BaseException:
                roll_back(connection)
                raise

    def _arguments(self, role: Role | None) -> dict[str, Any]:
        assert role is None, "the pool is that of all roles"
        return {
            "application_name": "jobledger", **self._parts, "client_encoding": "UTF8",
            "connect_timeout": max(2, round(self._timeout_seconds)), "autocommit": True, "prepare_threshold": None,
        }  # fmt: skip

    def _configure(self, connection: PgConnection) -> None:
        connection.adapters.register_loader("timestamptz", _Utc)
        connection.adapters.register_loader("timestamptz", _BinaryUtc)


def commit(connection: PgConnection) -> None:
    """End the transaction, outside of any pipeline."""
    if connection.execute("COMMIT").statusmessage != "COMMIT":
        raise LedgerError("PostgreSQL rolled a transaction back in which a statement had failed")


def roll_back(connection: PgConnection) -> None:
    """Roll back what is open, where the connection is not lost."""
    with suppress(psycopg.Error):
        connection.rollback()


def _act_as(connection: PgConnection, role: Role | None, tenant: str, settings: Mapping[str, str]) -> None:
    """Set all that our transactions rely on: also that there is no tenant, where somebody left one in the session."""
    values = {
        **_OF_A_TRANSACTION, **settings, "jobledger.tenant": tenant, "role": "none" if role is None else role.value,
    }  # fmt: skip
    connection.execute(SQL["act_as"], (list(values), list(values.values())))
