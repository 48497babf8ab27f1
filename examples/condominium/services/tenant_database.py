"""The SQLite file of one tenant. Several worker threads and processes write to it at the same time."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ..errors import TenantCancelledError, TenantNotReadyError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tenant (
    slug TEXT PRIMARY KEY, name TEXT NOT NULL, plan TEXT NOT NULL, units INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'cancelled')),
    cancelled_because TEXT
) STRICT;
CREATE TABLE IF NOT EXISTS persona (
    name TEXT PRIMARY KEY, active INTEGER NOT NULL DEFAULT 1 CHECK (active IN (0, 1))
) STRICT;
CREATE TABLE IF NOT EXISTS capture (
    payment_id TEXT PRIMARY KEY, capture_id TEXT NOT NULL UNIQUE, amount_cents INTEGER NOT NULL, currency TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS applied_action (
    action_id TEXT PRIMARY KEY, kind TEXT NOT NULL, summary TEXT NOT NULL,
    confirmed_by TEXT NOT NULL, confirmed_at TEXT NOT NULL,
    exclusive_key TEXT UNIQUE
) STRICT;
"""


def create(path: Path) -> None:
    """Make the database, or leave the one that is there as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(_connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)


@contextmanager
def transaction(path: Path, *, of_active_tenant: bool = True) -> Iterator[sqlite3.Connection]:
    """A write transaction: committed at the end, undone by an exception.

    Raises TenantNotReadyError where there is no database or no tenant in it, and TenantCancelledError unless
    `of_active_tenant` is False.
    """
    if not path.exists():
        raise TenantNotReadyError(f"tenant {path.parent.name!r} has no database yet", retry_after_seconds=1.0)
    with closing(_connect(path)) as connection:
        # IMMEDIATE, because a transaction that starts as a reader cannot wait when it becomes a writer.
        connection.execute("BEGIN IMMEDIATE")
        try:
            if of_active_tenant:
                _require_active(connection, path.parent.name)
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=10.0, isolation_level=None)


def _require_active(connection: sqlite3.Connection, tenant: str) -> None:
    status = _status(connection)
    if status is None:
        raise TenantNotReadyError(f"tenant {tenant!r} is not provisioned yet", retry_after_seconds=1.0)
    if status == "cancelled":
        raise TenantCancelledError(f"tenant {tenant!r} has been cancelled")


def _status(connection: sqlite3.Connection) -> str | None:
    # Between the first and the second step of provisioning the file exists, but has no tables.
    has_table = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tenant'").fetchone()
    row = connection.execute("SELECT status FROM tenant").fetchone() if has_table else None
    return str(row[0]) if row else None
