"""Brings the schema `jobledger` up to date, and says whether it is.

A migration is a file `NNNN_<pre|post>_<what>.sql`, applied in order, each in one transaction together with its line
in `schema_migrations`. The first makes the roles and the schema; the others run as `jobledger_owner` in it.
After the files come the tables of views: each projection that has none gets it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any, NamedTuple

import psycopg

from jobledger.domain.errors import LedgerNotFound, MigrationFailed, SchemaOutdated, SchemaTooNew
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.projection import Projection

from .connections import READS_ALL, Connections, PgConnection, Role
from .driver_errors import one_line, parse_dsn, translate, where
from .view_tables import create_tables, missing_tables

_LOCK = 1818584163  # "lled": one run at a time in a database
_FOLDER = "migrations"


class Migration(NamedTuple):
    """A file of statements; once applied it never changes (its checksum is kept)."""

    name: str
    statements: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the statements."""
        return hashlib.sha256(self.statements.encode()).hexdigest()


def shipped() -> tuple[Migration, ...]:
    """The migrations that come with this program, in order."""
    files = resources.files(__package__ or "").joinpath(_FOLDER).iterdir()
    found = (Migration(file.name.removesuffix(".sql"), file.read_text("utf-8")) for file in files if _is_one(file.name))
    return tuple(sorted(found))


def migrate(
    dsn: str, wanted: Sequence[Migration] | None = None, projections: Sequence[Projection] = ALL_PROJECTIONS
) -> list[str]:
    """Apply what is missing, then make the tables that views lack; returns the names of the migrations that were
    applied.

    Two runs at once: the second waits, then finds nothing to do. Raises SchemaTooNew, LedgerUnavailable, or
    MigrationFailed (one line: which file and why), which leaves the schema as the file before it made it.
    """
    wanted = shipped() if wanted is None else wanted
    try:
        connection = psycopg.connect(**_arguments(dsn))
    except psycopg.Error as error:
        raise translate(error) from error
    with connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        missing = _missing(_applied(connection), wanted)
        for migration in missing:
            _apply(connection, migration)
        if {migration.name for migration in shipped()} <= _applied(connection).keys():
            _create_views(connection, projections)
    return [migration.name for migration in missing]


def check_schema(connections: Connections) -> None:
    """Raises LedgerNotFound, SchemaOutdated or SchemaTooNew unless the schema is this program's."""
    with connections.connection(connections.acting(Role.API, *READS_ALL)) as connection:
        applied = _applied(connection)
        views = missing_tables(connection, ALL_PROJECTIONS)
    if not applied:
        raise LedgerNotFound(
            f"there is no ledger in database {connections.where}", field="JOBLEDGER_DATABASE",
            hint="create it with: jobledger migrate",
        )  # fmt: skip
    missing = [migration.name for migration in _missing(applied, shipped())]
    missing += [f"the table of view {projection.name}" for projection in views]
    if missing:
        names = ", ".join(missing)
        raise SchemaOutdated(f"the ledger lacks {names}", hint="run: jobledger migrate")


def _is_one(file_name: str) -> bool:
    return file_name.endswith(".sql") and file_name[:4].isdigit()


def _arguments(dsn: str) -> dict[str, Any]:
    where(dsn)  # refuses what libpq would repeat with its password
    return {**parse_dsn(dsn), "autocommit": True, "application_name": "jobledger migrate"}


def _applied(connection: PgConnection) -> dict[str, str]:
    """Name to checksum of what was applied; empty where there is no ledger."""
    row = connection.execute("SELECT to_regclass('jobledger.schema_migrations')").fetchone()
    if row is None or row[0] is None:
        return {}
    return dict(connection.execute("SELECT name, checksum FROM jobledger.schema_migrations ORDER BY name").fetchall())


def _missing(applied: dict[str, str], wanted: Sequence[Migration]) -> list[Migration]:
    unknown = sorted(applied.keys() - {migration.name for migration in wanted})
    if unknown:
        raise SchemaTooNew(
            f"the ledger has {', '.join(unknown)}, which this program does not know", hint="upgrade jobledger"
        )
    for migration in wanted:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationFailed(
                f"{migration.name} was applied in another form than this program's", field="migration",
                rule="an applied migration never changes",
            )  # fmt: skip
    return [migration for migration in wanted if migration.name not in applied]


def _apply(connection: PgConnection, migration: Migration) -> None:
    try:
        with connection.transaction():
            if _applied(connection):
                connection.execute("SET LOCAL ROLE jobledger_owner")
                connection.execute("SET LOCAL search_path = jobledger, pg_temp")
            connection.execute(migration.statements)
            connection.execute("RESET ROLE")
            connection.execute(
                "INSERT INTO jobledger.schema_migrations (name, checksum, applied_at) VALUES (%s, %s, now())",
                (migration.name, migration.checksum),
            )
    except psycopg.Error as error:
        raise MigrationFailed(
            f"{migration.name} failed and changed nothing: {one_line(error)}{_line_of(error, migration)}"
        ) from error


def _create_views(connection: PgConnection, projections: Sequence[Projection]) -> None:
    missing = missing_tables(connection, projections)
    if not missing:
        return
    try:
        with connection.transaction():
            connection.execute("SET LOCAL ROLE jobledger_owner")
            connection.execute("SET LOCAL search_path = jobledger, pg_temp")
            create_tables(connection, missing)
    except psycopg.Error as error:
        names = ", ".join(projection.name for projection in missing)
        raise MigrationFailed(f"the tables of views {names} could not be made: {one_line(error)}") from error


def _line_of(error: psycopg.Error, migration: Migration) -> str:
    position = error.diag.statement_position
    return f" (line {migration.statements[: int(position)].count(chr(10)) + 1})" if position else ""
