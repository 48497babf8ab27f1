"""Tables that are made from projections are those that migrations made for the first of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from jobledger.domain.errors import SchemaOutdated
from jobledger.infrastructure.postgres import view_tables as on_postgres
from jobledger.infrastructure.postgres.connect import open_ledger
from jobledger.infrastructure.postgres.migrations import migrate
from jobledger.infrastructure.sqlite import view_tables as on_sqlite
from jobledger.infrastructure.sqlite.migrations import migrate as migrate_sqlite
from jobledger.projections.catalogue import ALL_PROJECTIONS, PROJECTIONS
from jobledger.projections.projection import Projection

OF_MIGRATIONS = ("tenant_jobs", "persona_jobs", "dlq_jobs", "job_short_ids")
"""The views whose tables migration 0002 made."""

_CATALOGUE = """
SELECT 'column', attname::text, concat(format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation)
  FROM pg_attribute WHERE attrelid = %(table)s::regclass AND attnum > 0
UNION ALL SELECT 'index', indexname::text, indexdef FROM pg_indexes
  WHERE schemaname = 'jobledger' AND tablename = %(name)s
UNION ALL SELECT 'constraint', conname::text, pg_get_constraintdef(oid) FROM pg_constraint
  WHERE conrelid = %(table)s::regclass
UNION ALL SELECT 'policy', policyname::text, concat(permissive, roles, cmd, qual, with_check) FROM pg_policies
  WHERE schemaname = 'jobledger' AND tablename = %(name)s
UNION ALL SELECT 'table', relowner::regrole::text,
    concat((SELECT array_agg(a::text ORDER BY a::text) FROM unnest(relacl) AS a), reloptions, relrowsecurity,
           relforcerowsecurity)
  FROM pg_class WHERE oid = %(table)s::regclass
ORDER BY 1, 2, 3"""


def catalogue(connection: psycopg.Connection, name: str) -> list[tuple[str, ...]]:
    """All that PostgreSQL knows of a table: columns, indexes, constraints, policies, owner, rights, options."""
    return connection.execute(_CATALOGUE, {"table": f"jobledger.{name}", "name": name}).fetchall()


@pytest.mark.parametrize("name", OF_MIGRATIONS)
def test_postgresql_gets_the_tables_of_the_migrations(postgres_dsn: str, name: str) -> None:
    """Dropped and made again from its projection, a table is what it was, to the last right."""
    with psycopg.connect(postgres_dsn) as connection:
        before = catalogue(connection, name)
        assert {kind for kind, *_ in before} == {"column", "index", "constraint", "policy", "table"}
        connection.execute("SET LOCAL ROLE jobledger_owner")
        connection.execute("SET LOCAL search_path = jobledger")
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
        on_postgres.create_tables(connection, [PROJECTIONS[name]])
        assert catalogue(connection, name) == before


def _columns_and_indexes(connection: sqlite3.Connection, name: str) -> list[Sequence[object]]:
    columns = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
    options = connection.execute("SELECT wr, strict FROM pragma_table_list WHERE name = ?", (name,)).fetchall()
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL ORDER BY 1",
        (name,),
    ).fetchall()
    return [*columns, *options, *((label, " ".join(text.replace('"', "").split())) for label, text in indexes)]


@pytest.mark.parametrize("name", OF_MIGRATIONS)
def test_sqlite_gets_the_tables_of_the_migrations(tmp_path: Path, name: str) -> None:
    """Dropped and made again from its projection, a table has the columns, key and indexes that it had."""
    migrate_sqlite(tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        before = _columns_and_indexes(connection, name)
        connection.execute(f"DROP TABLE {name}")
        on_sqlite.create_tables(connection, [PROJECTIONS[name]])
        assert _columns_and_indexes(connection, name) == before


def test_a_view_that_has_no_table_gets_one(postgres_dsn: str) -> None:
    """A ledger that lacks the table of a view is not opened; migrating makes it, though no migration is missing."""
    with psycopg.connect(postgres_dsn) as connection:
        before = catalogue(connection, "dlq_jobs")
        connection.execute("DROP TABLE jobledger.dlq_jobs")
    with pytest.raises(SchemaOutdated, match="dlq_jobs"):
        open_ledger(postgres_dsn)
    assert migrate(postgres_dsn) == []
    with psycopg.connect(postgres_dsn) as connection:
        assert catalogue(connection, "dlq_jobs") == before
    open_ledger(postgres_dsn).close()


def _rights(connection: psycopg.Connection, projection: Projection) -> set[str]:
    rows = connection.execute(
        "SELECT grantee FROM information_schema.role_table_grants WHERE table_schema = 'jobledger' AND table_name = %s",
        (projection.name,),
    ).fetchall()
    return {grantee for (grantee,) in rows}


@pytest.mark.parametrize("projection", ALL_PROJECTIONS, ids=lambda projection: projection.name)
def test_the_api_reads_only_what_tells_tenants_apart(postgres_dsn: str, projection: Projection) -> None:
    """A view whose rows have no tenant is not for the API; one whose rows have is behind row-level security."""
    with psycopg.connect(postgres_dsn) as connection:
        row = connection.execute(
            "SELECT relrowsecurity AND relforcerowsecurity FROM pg_class WHERE oid = %s::regclass",
            (f"jobledger.{projection.name}",),
        ).fetchone()
        has_tenant = on_postgres.has_tenant(projection)
        assert row == (has_tenant,)
        assert ("jobledger_api" in _rights(connection, projection)) is has_tenant
        assert {"jobledger_auditor", "jobledger_projector"} <= _rights(connection, projection)
