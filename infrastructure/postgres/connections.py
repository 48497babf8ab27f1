"""The connections of one process: a pool for each role it acts in, opened when it is first needed."""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from threading import Lock
from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg_pool import ConnectionPool, PoolTimeout

from jobledger.domain.errors import JobledgerError, LedgerBusy, LedgerUnavailable, LoginRefused

from ..pooler import pooler_found
from .driver_errors import parse_dsn, translate, where, wrapped
from .statements import SQL

PgConnection = psycopg.Connection[tuple[Any, ...]]
"""A connection of ours: autocommit, rows are tuples."""

LOCK_TIMEOUT_MS = 100
"""One caller's foreign lock never blocks the others of a flush."""


class Role(StrEnum):
    """What a connection may do; the roles are made by the first migration."""

    WORKER = "jobledger_worker"
    API = "jobledger_api"
    PROJECTOR = "jobledger_projector"
    AUDITOR = "jobledger_auditor"
    WRITER = "jobledger_writer"
    OWNER = "jobledger_owner"
    """Makes and replaces tables of views. Only logins that may migrate may act in it; it has no pool."""


SESSION = {
    "search_path": "jobledger,pg_temp", "timezone": "UTC", "client_encoding": "UTF8", "jit": "off",
    "enable_seqscan": "off",  # plans are kept: one made while a table is small must not read all of it later
    "idle_in_transaction_session_timeout": "60s", "lock_timeout": f"{LOCK_TIMEOUT_MS}ms",
}  # fmt: skip
"""What holds for each session of ours."""
READS_ALL = (Role.WORKER, Role.PROJECTOR, Role.AUDITOR)
"""Roles that see the tenants, limits and queues of everybody."""

_SHARES = {
    Role.WORKER: 0.5, Role.API: 0.25, Role.PROJECTOR: 0.25, Role.AUDITOR: 0.25, Role.WRITER: 0.0, Role.OWNER: 0.0,
}  # fmt: skip
"""How the connections of a process are divided (each role has at least one); auditors, and who rebuilds, have a process
of their own."""


class Connections:
    """Pools of connections by role, for one database.

    A connection that the server closed while it lay idle is replaced before it is handed out, so a restart of the
    server costs at most the transactions that were under way. Errors are ours (`LedgerUnavailable`, `LedgerBusy`).
    """

    pooled = False
    """Whether a pooler in transaction mode stands between: then there is no session that lasts."""

    def __init__(self, dsn: str, *, min_size: int = 1, max_size: int = 8, connect_timeout_seconds: float = 5.0) -> None:
        self._parts = parse_dsn(dsn)
        self.where = where(dsn)
        self._min_size = min_size
        self._max_size = max_size
        self._timeout_seconds = connect_timeout_seconds
        self._pools: dict[Role | None, ConnectionPool[PgConnection]] = {}
        self._refused: set[Role] = set()
        self._lock = Lock()
        self._closed = False

    def acting(self, *roles: Role) -> Role:
        """The first of these roles that the login may act in; where it may in none, the first, which then says so."""
        for role in roles:
            if role in self._pools or (role not in self._refused and self._may(role)):
                return role
        return roles[0]

    def _may(self, role: Role) -> bool:
        try:
            self._pool(role)
        except LoginRefused:
            self._refused.add(role)
            return False
        return True

    @contextmanager
    def connection(self, role: Role | None) -> Iterator[PgConnection]:
        """A connection in autocommit mode: one statement is one transaction. None: as the login itself."""
        connection = self.take(role)
        try:
            yield connection
        except (psycopg.Error, PoolTimeout) as error:
            raise translate(error) from error
        finally:
            self.give_back(role, connection)

    @contextmanager
    def transaction(self, role: Role | None) -> Iterator[PgConnection]:
        """A connection in a transaction that commits at the end, or rolls back on an error."""
        with self.connection(role) as connection, connection.transaction():
            yield connection

    @contextmanager
    def tenant_transaction(self, tenant: str) -> Iterator[PgConnection]:
        """A transaction that sees this tenant's rows only, whatever it asks (row-level security). A login that is no
        member of the API's role, but may read everything, is kept to the tenant by what it asks alone."""
        role = self.acting(Role.API, Role.AUDITOR, Role.PROJECTOR)
        with self.connection(role) as connection, connection.pipeline(), connection.transaction():
            # one round trip for BEGIN, this and the first query
            connection.execute(SQL["set_tenant"], (tenant,), prepare=True)
            yield connection

    def take(self, role: Role | None) -> PgConnection:
        """A connection for as long as the caller wants; `give_back` returns it."""
        pool = self._pool(role)
        try:
            return pool.getconn(self._timeout_seconds)
        except PoolTimeout as error:
            raise self._no_connection(role, error) from error
        except psycopg.Error as error:
            raise translate(error) from error

    def give_back(self, role: Role | None, connection: PgConnection) -> None:
        """Return what `take` gave."""
        pool = self._pools.get(role)
        if pool is None:
            connection.close()  # closed meanwhile
        else:
            pool.putconn(connection)

    def connect(self, role: Role | None, *, application_name: str = "jobledger") -> PgConnection:
        """A connection outside the pools, that the caller closes. None: it acts as the login itself."""
        return connect(self._parts, role, self._timeout_seconds, application_name)

    def connect_plain(self, *, application_name: str, idle_seconds: float) -> PgConnection:
        """A connection as the application would open it: the login's own role, none of our settings. The server ends
        it when its transaction is left alone for `idle_seconds`."""
        options = f"-c idle_in_transaction_session_timeout={int(idle_seconds * 1_000)}"
        arguments = {
            "application_name": application_name, **self._parts, "client_encoding": "UTF8",
            "options": f"{self._parts.get('options', '')} {options}".strip(),
            "connect_timeout": max(2, round(self._timeout_seconds)), "autocommit": True,
        }  # fmt: skip
        try:
            connection = psycopg.connect(**arguments)  # type: ignore[arg-type]  # libpq's own, all of them texts
        except psycopg.Error as error:
            raise translate(error) from error
        connection.isolation_level = IsolationLevel.READ_COMMITTED  # a database's default may be another
        return connection

    def require_sessions(self, what: str) -> None:
        """Refuse `what` where there is no session that lasts."""

    def close(self) -> None:
        """Close all; harmless when closed already."""
        with self._lock:
            self._closed = True
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close()

    def _pool(self, role: Role | None) -> ConnectionPool[PgConnection]:
        pool = self._pools.get(role)
        if pool is None:
            with self._lock:
                if self._closed:
                    raise LedgerUnavailable("the ledger was closed")
                pool = self._pools.get(role) or self._open_pool(role)
                self._pools[role] = pool
        return pool

    def _open_pool(self, role: Role | None) -> ConnectionPool[PgConnection]:
        # asked for at once, so that what is wrong (no server, wrong password) is said and not waited for
        self._probe(role)
        size = max(1, int(self._max_size * (1.0 if role is None else _SHARES[role])))
        return ConnectionPool(
            conninfo="", kwargs=self._arguments(role), configure=self._configure, min_size=min(self._min_size, size),
            max_size=size, timeout=self._timeout_seconds, reconnect_timeout=self._timeout_seconds, check=_check_open,
            name=f"jobledger-{_name(role)}", open=True,
        )  # fmt: skip

    def _arguments(self, role: Role | None) -> dict[str, Any]:
        return connect_arguments(self._parts, role, self._timeout_seconds)

    def _configure(self, connection: PgConnection) -> None:
        """What a connection of a pool is told when it is new."""

    def _probe(self, role: Role | None) -> None:
        """Connect once, and see that the connection acts in its role: a pooler may have left that out."""
        with wrapped(), psycopg.connect(**self._arguments(role)) as connection:
            row = connection.execute("SELECT current_user").fetchone()
        if role is not None and row != (role.value,):
            raise pooler_found(f"it left out that a session acts as {role.value}")

    def _no_connection(self, role: Role | None, error: PoolTimeout) -> JobledgerError:
        """Why the pool had none: the server is away, or all are in use."""
        try:
            self._probe(role)
        except JobledgerError as reason:
            return reason
        return LedgerBusy(f"all connections of {_name(role)} are in use: {error}", hint="raise JOBLEDGER_POOL_MAX_SIZE")


def _name(role: Role | None) -> str:
    return "this login" if role is None else role.value


def connect_arguments(
    parts: dict[str, str], role: Role | None, timeout_seconds: float, application_name: str = "jobledger"
) -> dict[str, Any]:
    """psycopg.connect's arguments for a connection that acts in a role."""
    session = dict(SESSION) if role is None else {"role": role.value, **SESSION}
    if role is Role.WORKER:
        session["plan_cache_mode"] = "force_generic_plan"  # its statements are calls of functions: nothing to plan
    options = " ".join(f"-c {name}={value}" for name, value in session.items())
    return {
        "application_name": application_name, **parts,
        "options": f"{parts.get('options', '')} {options}".strip(),
        "connect_timeout": max(2, round(timeout_seconds)),  # libpq takes nothing below 2 seconds
        "autocommit": True, "prepare_threshold": 2,
    }  # fmt: skip


def connect(
    parts: dict[str, str], role: Role | None, timeout_seconds: float, application_name: str = "jobledger"
) -> PgConnection:
    """A new connection that acts in a role."""
    try:
        return psycopg.connect(**connect_arguments(parts, role, timeout_seconds, application_name))
    except psycopg.Error as error:
        raise translate(error) from error


def _check_open(connection: PgConnection) -> None:
    """Raise where the server closed the connection. Costs no round trip: its farewell makes the socket readable."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        with suppress(psycopg.OperationalError):
            connection.execute("")  # it may only have been a notice
            return
        raise psycopg.OperationalError("the server closed the connection")
