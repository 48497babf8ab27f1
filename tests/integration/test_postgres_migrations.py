"""Migrations of a PostgreSQL ledger: each all or nothing, in order, one run at a time."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from jobledger.domain.errors import (
    InvalidSettings,
    LedgerNotFound,
    LedgerUnavailable,
    MigrationFailed,
    SchemaOutdated,
    SchemaTooNew,
)
from jobledger.infrastructure.postgres.connect import open_ledger
from jobledger.infrastructure.postgres.migrations import Migration, migrate, shipped
from tests.support.postgres import TestCluster

LATER = Migration("9999_post_later", "CREATE TABLE later (n integer NOT NULL);\nINSERT INTO later VALUES (1);")

_SCHEMA = """
SELECT 'column', attrelid::regclass::text, attname::text, format_type(atttypid, atttypmod) || attnotnull
  FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
  WHERE c.relnamespace = 'jobledger'::regnamespace AND attnum > 0
UNION ALL SELECT 'index', tablename::text, indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'jobledger'
UNION ALL SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
  WHERE connamespace = 'jobledger'::regnamespace
UNION ALL SELECT 'policy', tablename::text, policyname::text, concat(roles, cmd, qual, with_check) FROM pg_policies
  WHERE schemaname = 'jobledger'
UNION ALL SELECT 'function', proname::text, pg_get_function_arguments(oid), concat(proowner::regrole, proacl, prosrc)
  FROM pg_proc WHERE pronamespace = 'jobledger'::regnamespace
UNION ALL SELECT 'table', relname::text, relkind::text, concat(relowner::regrole, relacl, reloptions, relrowsecurity)
  FROM pg_class WHERE relnamespace = 'jobledger'::regnamespace
ORDER BY 1, 2, 3, 4"""


def _schema(dsn: str) -> list[tuple[str, ...]]:
    """Everything that migrations make: columns, indexes, constraints, policies, functions, owners and grants."""
    with psycopg.connect(dsn) as connection:
        return connection.execute(_SCHEMA).fetchall()


def test_a_new_database_gets_all_migrations(empty_postgres_database: str) -> None:
    """The first run makes the ledger, a second one finds nothing to do."""
    dsn = empty_postgres_database
    assert migrate(dsn) == [migration.name for migration in shipped()]
    assert migrate(dsn) == []
    open_ledger(dsn).close()


def test_the_schema_is_all_migrations(empty_postgres_database: str, postgres_cluster: TestCluster) -> None:
    """One by one they give the same schema as all at once."""
    migrate(empty_postgres_database)
    with postgres_cluster.database() as stepwise:
        for count in range(1, len(shipped()) + 1):
            migrate(stepwise, shipped()[:count])
        assert _schema(stepwise) == _schema(empty_postgres_database)


def test_a_failing_migration_leaves_the_schema_unchanged(postgres_dsn: str) -> None:
    """Nothing of the file stays, and one line names the file, the reason and the place."""
    before = _schema(postgres_dsn)
    broken = Migration("9999_post_broken", "CREATE TABLE half (n integer);\nINSERT INTO nowhere VALUES (1);")
    with pytest.raises(MigrationFailed) as raised:
        migrate(postgres_dsn, [*shipped(), broken])
    assert str(raised.value) == (
        '9999_post_broken failed and changed nothing: relation "nowhere" does not exist (line 2)'
    )
    assert _schema(postgres_dsn) == before
    open_ledger(postgres_dsn).close()


def test_a_first_migration_that_fails_leaves_no_schema(empty_postgres_database: str) -> None:
    """Not even the schema of the ledger is there afterwards."""
    first = shipped()[0]
    with pytest.raises(MigrationFailed, match="division by zero"):
        migrate(empty_postgres_database, [Migration(first.name, first.statements + "\nSELECT 1/0;")])
    assert _schema_exists(empty_postgres_database) is False


def _schema_exists(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute("SELECT FROM pg_namespace WHERE nspname = 'jobledger'").fetchone() is not None


def test_two_runs_at_once_apply_each_migration_once(empty_postgres_database: str) -> None:
    """The second waits for the first, then finds nothing to do."""
    with ThreadPoolExecutor(2) as runs:
        first, second = runs.map(migrate, [empty_postgres_database] * 2)
    assert sorted(first + second) == [migration.name for migration in shipped()]


def test_a_newer_schema_is_refused(postgres_dsn: str) -> None:
    """A ledger that a newer program migrated is neither opened nor migrated."""
    migrate(postgres_dsn, [*shipped(), LATER])
    with pytest.raises(SchemaTooNew, match="9999_post_later"):
        open_ledger(postgres_dsn)
    with pytest.raises(SchemaTooNew):
        migrate(postgres_dsn)


def test_an_older_schema_says_what_to_run(empty_postgres_database: str) -> None:
    """A ledger that lacks a migration is not opened."""
    migrate(empty_postgres_database, shipped()[:1])
    with pytest.raises(SchemaOutdated, match="jobledger migrate"):
        open_ledger(empty_postgres_database)


def test_no_ledger_says_what_to_run(empty_postgres_database: str) -> None:
    """A database without a ledger is not opened."""
    with pytest.raises(LedgerNotFound, match="jobledger migrate"):
        open_ledger(empty_postgres_database)


def test_an_applied_migration_never_changes(postgres_dsn: str) -> None:
    """A file that was edited after it was applied is refused, before anything is done."""
    first, *others = shipped()
    edited = Migration(first.name, first.statements + "\n-- an afterthought")
    with pytest.raises(MigrationFailed, match="another form"):
        migrate(postgres_dsn, [edited, *others, LATER])


def test_a_server_that_is_away_is_one_line_without_the_password() -> None:
    """Neither the message nor what caused it shows the password, whether the URL can be read or not."""
    for dsn in ("postgresql://ada:s3cret@/x?host=/nowhere", "postgresql://ada:s3cret@[/x"):
        with pytest.raises((LedgerUnavailable, InvalidSettings)) as raised:
            migrate(dsn)
        assert "s3cret" not in "".join(traceback.format_exception(raised.value))
        assert "\n" not in str(raised.value)


_WAITING = """
INSERT INTO jobledger.open_jobs (job_id, tenant_id, version, status, queue, job_type, priority, due_at,
                                 attempts_allowed, lock_key, spec, identity, thread, payload)
VALUES (gen_random_uuid(), 'acme', 1, 'pending', 'default', 'invoice.send', 0, now(), 3, %s, '', '', '', '')"""


@pytest.mark.parametrize(("lock_key", "lane"), [(None, None), ("k", "lk"), ("a\x1fkb", "la\x1f\x1fkb")])
def test_jobs_that_wait_with_a_lock_key_come_into_their_lanes(
    empty_postgres_database: str, lock_key: str | None, lane: str | None
) -> None:
    """Jobs of a ledger from before there were lanes are held by their lock keys as before."""
    migrate(empty_postgres_database, shipped()[:2])
    with psycopg.connect(empty_postgres_database) as connection:
        connection.execute(_WAITING, (lock_key,))
    migrate(empty_postgres_database)
    with psycopg.connect(empty_postgres_database) as connection:
        assert connection.execute("SELECT lane FROM jobledger.open_jobs").fetchall() == [(lane,)]
