"""Migrations: `migrations/NNNN_(pre|post)_name.sql`, applied in order, all of them or none.

A migration that was applied never changes (its checksum is kept), and a ledger that a newer program migrated is
refused. `pre` runs before the new program starts, `post` after the old one stopped. Behind them, in the same
transaction, each projection that has no table yet gets one: a new view needs no migration.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from jobledger.domain.errors import LedgerUnavailable, MigrationFailed, SchemaOutdated, SchemaTooNew
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.projection import Projection

from .database import BUSY_TIMEOUT_SECONDS, connect, raise_as_ledger_error
from .types import database_now
from .view_tables import create_tables, missing_tables

_VERSIONS_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name TEXT NOT NULL PRIMARY KEY, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""


class Migration(NamedTuple):
    """A migration: the name is the file's, without its ending."""

    name: str
    script: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the script."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def shipped() -> list[Migration]:
    """The migrations of this program, in order."""
    folder = resources.files(__package__).joinpath("migrations")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [Migration(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8")) for file in files]


def migrate(
    path: Path, migrations: Sequence[Migration] | None = None, projections: Sequence[Projection] = ALL_PROJECTIONS
) -> list[str]:
    """Bring the file to this program's schema, making it where there is none, and make the tables of new views; the
    names of the migrations that were applied.

    `SchemaTooNew` and `MigrationFailed` leave the schema as it was.
    """
    migrations = shipped() if migrations is None else migrations
    connection = _connect(path)
    try:
        if not _pending(connection, migrations) and not _lacking(connection, projections):
            return []
        return _apply(connection, migrations, projections)
    except sqlite3.Error as error:
        raise_as_ledger_error(error)
    finally:
        connection.close()


def require_current(
    connection: sqlite3.Connection,
    migrations: Sequence[Migration] | None = None,
    projections: Sequence[Projection] = ALL_PROJECTIONS,
) -> None:
    """`SchemaOutdated` or `SchemaTooNew` unless the schema is this program's."""
    pending = _pending(connection, shipped() if migrations is None else migrations)
    if pending:
        raise SchemaOutdated(
            f"the ledger lacks {len(pending)} migration(s), first {pending[0].name}", hint="run: jobledger migrate"
        )
    lacking = missing_tables(connection, projections)
    if lacking:
        raise SchemaOutdated(f"the ledger lacks the view {lacking[0].name}", hint="run: jobledger migrate")


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerUnavailable(f"cannot make {path.parent.absolute()}: {error}", field="database") from error
    connection = connect(path, busy_timeout_seconds=BUSY_TIMEOUT_SECONDS, create=True)
    try:
        _switch_to_wal(connection)
    except sqlite3.Error as error:
        connection.close()
        raise_as_ledger_error(error)
    return connection


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Kept in the file: it holds for everybody from now on. SQLite does not wait for others here by itself."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.01)


def _apply(
    connection: sqlite3.Connection, migrations: Sequence[Migration], projections: Sequence[Projection]
) -> list[str]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_VERSIONS_TABLE)
        pending = _pending(connection, migrations)  # again: another process may have been faster
        for migration in pending:
            _run(connection, migration)
        create_tables(connection, _lacking(connection, projections))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [migration.name for migration in pending]


def _lacking(connection: sqlite3.Connection, projections: Sequence[Projection]) -> list[Projection]:
    """The projections without a table, once all migrations were applied: those make the oldest views themselves."""
    if not _applied(connection).keys() >= {migration.name for migration in shipped()}:
        return []
    return missing_tables(connection, projections)


def _run(connection: sqlite3.Connection, migration: Migration) -> None:
    try:
        for statement in _statements(migration.script):
            connection.execute(statement)
    except sqlite3.Error as error:
        raise MigrationFailed(
            f"migration {migration.name} failed and left the schema unchanged: {error}", field=migration.name
        ) from error
    applied = (migration.name, migration.checksum, database_now())
    connection.execute("INSERT INTO schema_migrations (name, checksum, applied_at) VALUES (?, ?, ?)", applied)


def _statements(script: str) -> list[str]:
    """One at a time: sqlite3's own `executescript` would commit first."""
    statements, lines = [], ""
    for line in script.splitlines(keepends=True):
        lines += line
        if sqlite3.complete_statement(lines):
            statements.append(lines)
            lines = ""
    if any(line.strip() and not line.lstrip().startswith("--") for line in lines.splitlines()):
        statements.append(lines)
    return statements


def _pending(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    """What is still to be applied, once what was applied is known to be ours."""
    applied = _applied(connection)
    known = {migration.name: migration for migration in migrations}
    unknown = sorted(set(applied) - set(known))
    if unknown:
        raise SchemaTooNew(
            f"the ledger was migrated by a newer jobledger ({unknown[-1]} is unknown here)", hint="upgrade jobledger"
        )
    for name, checksum in applied.items():
        if known[name].checksum != checksum:
            raise MigrationFailed(f"migration {name} was changed after it had been applied", field=name)
    return [migration for migration in migrations if migration.name not in applied]


def _applied(connection: sqlite3.Connection) -> dict[str, str]:
    there = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'").fetchone()
    if there is None:
        return {}
    return dict(connection.execute("SELECT name, checksum FROM schema_migrations").fetchall())
