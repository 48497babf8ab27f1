"""What psycopg raises, as our errors: the cause is kept, the password is never shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolTimeout

from jobledger.domain.errors import (
    InvalidSettings,
    JobledgerError,
    LedgerBusy,
    LedgerError,
    LedgerNotFound,
    LedgerRestored,
    LedgerUnavailable,
    LoginRefused,
    SchemaOutdated,
)

from ..pooler import pooler_found

CONFLICT, RESTORED, FOREIGN_STREAM = "JL001", "JL002", "JL003"
"""What our SQL functions raise: versions or ids that exist, a position below a checkpoint, another tenant's stream."""

_BUSY = (
    errors.LockNotAvailable, errors.QueryCanceled, errors.DeadlockDetected, errors.SerializationFailure,
    errors.TooManyConnections,
)  # fmt: skip
_NO_SCHEMA = (errors.InvalidSchemaName, errors.UndefinedObject)
_ROLE = (errors.InsufficientPrivilege, errors.InvalidParameterValue)
_OTHER_SCHEMA = (errors.UndefinedTable, errors.UndefinedFunction, errors.UndefinedColumn)


def parse_dsn(dsn: str) -> dict[str, str]:
    """The parts of a connection string. libpq would show the whole of one that it cannot read, password and all."""
    try:
        return {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    except psycopg.ProgrammingError:
        raise InvalidSettings(
            "the PostgreSQL URL cannot be read", field="JOBLEDGER_DATABASE",
            rule="postgresql://user:password@host:port/database, special characters percent-encoded",
        ) from None  # fmt: skip


def where(dsn: str) -> str:
    """Server and database of a connection string, for people: no user, no password."""
    parts = parse_dsn(dsn)
    return f"{parts.get('dbname', parts.get('user', '?'))} on {parts.get('host', 'localhost')}"


@contextmanager
def wrapped() -> Iterator[None]:
    """Raises psycopg's errors as ours."""
    try:
        yield
    except (psycopg.Error, PoolTimeout) as error:
        raise translate(error) from error


def translate(error: Exception) -> JobledgerError:
    """Our error for one of psycopg's. Where Ctrl-C is behind it, that is raised: in the middle of a statement, what
    lets go of the connection fails, and whoever waits out a database that is away would wait on."""
    if _is_interrupt(error):
        raise KeyboardInterrupt from error
    text = one_line(error)
    if getattr(error, "sqlstate", None) == RESTORED:
        return LedgerRestored(text, hint="the database was restored to an earlier moment")
    if "FATAL:" in str(error) and isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return _no_connection(str(error).rpartition("FATAL:")[2].strip().splitlines()[0])
    if isinstance(error, _BUSY):
        return LedgerBusy(f"PostgreSQL could not do it in time: {text}", hint="try again")
    if isinstance(error, _ROLE) and ("permission denied to set role" in text or 'role "jobledger_' in text):
        return _no_connection(text)  # a role that is taken for a transaction is refused in the same words
    if isinstance(error, _NO_SCHEMA):
        return LedgerNotFound(f"there is no ledger in this database: {text}", hint="run: jobledger migrate")
    if isinstance(error, _OTHER_SCHEMA):
        return SchemaOutdated(f"the ledger's schema is not this program's: {text}", hint="run: jobledger migrate")
    if isinstance(error, _ROLE):
        return LedgerUnavailable(
            f"PostgreSQL refuses this login: {text}", hint="the login must be a member of jobledger's roles"
        )
    if isinstance(error, errors.DiskFull):
        return LedgerUnavailable(
            f"the disk of PostgreSQL is full: {text}", hint="make room there; what was acknowledged is safe"
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | PoolTimeout):
        return LedgerUnavailable(
            f"PostgreSQL does not answer: {text}", hint="does the server run, and does JOBLEDGER_DATABASE name it?"
        )
    return LedgerError(f"PostgreSQL refused a statement: {text}")


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C is among what led to this error. A chain may lead back to itself: Python refuses no `raise ...
    from ...`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _no_connection(reason: str) -> JobledgerError:
    """What the server says to who connects; libpq hands it on as text only."""
    if 'role "jobledger_' in reason and "does not exist" in reason:
        return LedgerNotFound(f"there is no ledger on this server: {reason}", hint="run: jobledger migrate")
    if reason.startswith("database ") and "does not exist" in reason:
        return LedgerNotFound(f"there is no ledger: {reason}", hint="create the database, then run: jobledger migrate")
    if 'permission denied to set role "jobledger_owner"' in reason:
        return InvalidSettings(
            "this login may not make or replace the tables of views", field="JOBLEDGER_DATABASE",
            rule="must name a login that is a member of jobledger_owner",
            hint="use the login that runs jobledger migrate, or as an administrator: GRANT jobledger_owner TO <login>",
        )  # fmt: skip
    if "permission denied to set role" in reason:
        return LoginRefused(
            f"PostgreSQL refuses this login: {reason}", hint="the login must be a member of jobledger's roles"
        )
    if "unsupported startup parameter" in reason:
        return pooler_found(reason)
    if "too many" in reason or "remaining connection slots" in reason or "no more connections allowed" in reason:
        return LedgerBusy(f"PostgreSQL takes no more connections: {reason}", hint="try again")
    return LedgerUnavailable(f"PostgreSQL refuses the connection: {reason}")


def one_line(error: Exception) -> str:
    """The first line of what the server or libpq says."""
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    lines = (primary or str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
