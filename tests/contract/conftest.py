"""One empty ledger per engine for each test; the tests themselves know no engine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import count
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from jobledger.infrastructure.postgres.connect import open_ledger as open_postgres
from jobledger.infrastructure.postgres.job_views import PostgresJobViews
from jobledger.infrastructure.postgres.keys import PostgresKeyRegister
from jobledger.infrastructure.sqlite.connect import open_ledger
from jobledger.infrastructure.sqlite.keys import SqliteKeyRegister
from jobledger.infrastructure.sqlite.migrations import migrate

from ..support.postgres import TestCluster
from .support import LedgerUnderTest, in_memory
from .views_support import ReadSide, whole_read_side

DATABASES = ["sqlite", "postgres"]


@pytest.fixture(params=["memory", *DATABASES])
def ledger(request: pytest.FixtureRequest) -> LedgerUnderTest:
    """An open, empty ledger, once per adapter: the one in memory, for users' tests, promises the same."""
    ledger: LedgerUnderTest = request.getfixturevalue(f"{request.param}_ledger")
    return ledger


@pytest.fixture(params=DATABASES)
def stored_ledger(request: pytest.FixtureRequest) -> LedgerUnderTest:
    """An open, empty ledger in a database: for what outlives a process, or is shared by several."""
    ledger: LedgerUnderTest = request.getfixturevalue(f"{request.param}_ledger")
    return ledger


@pytest.fixture
def read_side(stored_ledger: LedgerUnderTest) -> Iterator[ReadSide]:
    """An empty ledger in a database, with its read side."""
    with whole_read_side(stored_ledger) as side:
        yield side


@pytest.fixture
def memory_ledger() -> LedgerUnderTest:
    """A ledger in memory."""
    return in_memory()


@pytest.fixture(params=DATABASES)
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractContextManager[LedgerUnderTest]]:
    """Opens an empty ledger in a database of its own, a new one each time: for tests of many examples."""
    numbers = count()

    @contextmanager
    def new_sqlite() -> Iterator[LedgerUnderTest]:
        path = tmp_path / f"ledger-{next(numbers)}.db"
        migrate(path)
        with _open_sqlite(path) as ledger:
            yield ledger

    @contextmanager
    def new_postgres() -> Iterator[LedgerUnderTest]:
        cluster: TestCluster = request.getfixturevalue("postgres_cluster")
        with cluster.database(migrated=True) as dsn, open_postgres_ledger(dsn) as ledger:
            yield ledger

    return new_sqlite if request.param == "sqlite" else new_postgres


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[LedgerUnderTest]:
    """A ledger in a SQLite file of its own."""
    migrate(tmp_path / "ledger.db")
    with _open_sqlite(tmp_path / "ledger.db") as ledger:
        yield ledger


@contextmanager
def _open_sqlite(path: Path) -> Iterator[LedgerUnderTest]:
    def execute(statement: str, *values: object) -> None:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement, values)

    def purge(stream: UUID) -> None:
        execute("DELETE FROM ledger WHERE originator_id = ?", stream.bytes)

    def set_checkpoint(position: int) -> None:
        execute(
            "INSERT INTO checkpoints (projection, version, position, updated_at) VALUES ('tenant_jobs', 1, ?, 0)",
            position,
        )

    def query(column: str, stream: UUID, version: int) -> bytes:
        wanted = f"SELECT {column} FROM ledger WHERE originator_id = ? AND originator_version = ?"
        with closing(sqlite3.connect(path)) as connection:
            value: bytes = connection.execute(wanted, (stream.bytes, version)).fetchone()[0]
        return value

    def connect() -> AbstractContextManager[sqlite3.Connection]:
        return closing(sqlite3.connect(path))

    opened = open_ledger(path)
    try:
        yield LedgerUnderTest(
            "sqlite", opened.writer, opened.reader, opened.queue, opened.catalogue, opened.wake_up,
            opened.transaction_writer, SqliteKeyRegister(opened.database), connect, purge, set_checkpoint, query,
            lambda: _open_sqlite(path),
        )  # fmt: skip
    finally:
        opened.close()


@pytest.fixture
def postgres_ledger(postgres_dsn: str) -> Iterator[LedgerUnderTest]:
    """A ledger in a PostgreSQL database of its own."""
    with open_postgres_ledger(postgres_dsn) as ledger:
        yield ledger


@contextmanager
def open_postgres_ledger(dsn: str, *, pooled_dsn: str | None = None) -> Iterator[LedgerUnderTest]:
    """The ledger in a database; with `pooled_dsn` through a pooler in transaction mode."""

    def execute(statement: str, *values: object) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute(statement, values)

    def purge(stream: UUID) -> None:
        execute("DELETE FROM jobledger.ledger WHERE originator_id = %s", stream)

    def set_checkpoint(position: int) -> None:
        execute("INSERT INTO jobledger.checkpoints VALUES ('tenant_jobs', 1, %s, NULL, now())", position)

    def query(column: str, stream: UUID, version: int) -> bytes:
        wanted = sql.SQL("SELECT {} FROM jobledger.ledger WHERE originator_id = %s AND originator_version = %s").format(
            sql.Identifier(column)
        )
        with psycopg.connect(dsn) as connection:
            row = connection.execute(wanted, (stream, version)).fetchone()
        assert row is not None
        return bytes(row[0])

    def connect() -> AbstractContextManager[psycopg.Connection]:
        return closing(psycopg.connect(dsn))

    opened = open_postgres(dsn) if pooled_dsn is None else open_postgres(pooled_dsn, pooler="transaction")
    views = None if pooled_dsn is None else PostgresJobViews(opened.connections, opened.horizon)
    try:
        yield LedgerUnderTest(
            "postgres", opened.writer, opened.reader, opened.queue, opened.catalogue, opened.wake_up,
            opened.transaction_writer, PostgresKeyRegister(opened.connections), connect, purge, set_checkpoint, query,
            lambda: open_postgres_ledger(dsn, pooled_dsn=pooled_dsn), views,
        )  # fmt: skip
    finally:
        opened.close()
