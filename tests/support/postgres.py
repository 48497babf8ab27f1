"""PostgreSQL for tests: one cluster a session, one database a test."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres

Migrate = Callable[[str], object]
"""Brings the schema of the database with this URL up to date."""

_TEMPLATE = "template_migrated"


@dataclass(frozen=True)
class TestCluster:
    """A running cluster that gives every test a database of its own."""

    __test__ = False

    server: EmbeddedPostgres
    _numbers: Iterator[int] = field(default_factory=count)

    def make_template(self, migrate: Migrate) -> None:
        """Make the migrated database that `database(migrated=True)` copies."""
        self._execute("CREATE DATABASE {}", _TEMPLATE)
        migrate(self.server.dsn(_TEMPLATE))

    @contextmanager
    def database(self, *, migrated: bool = False) -> Iterator[str]:
        """The URL of a fresh database, dropped afterwards with whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, _TEMPLATE if migrated else "template0")
        try:
            yield self.server.dsn(name)
        finally:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@dataclass(frozen=True)
class DurableCluster(TestCluster):
    """A cluster with fsync on that belongs to one test, which may kill it."""

    def kill(self) -> None:
        """End the server as a power cut does to it: no checkpoint, no farewell to its clients."""
        server = self.server.postmaster()
        assert server is not None, "there is no server to kill"
        os.kill(server.pid, signal.SIGKILL)

    def recover(self) -> None:
        """Start the server again on what it left on disk."""
        self.server.start()


def chosen_binaries() -> Path | None:
    """JOBLEDGER_PG_BIN lets the tests run on another version of PostgreSQL; unset, the wheel's is used."""
    chosen = os.environ.get("JOBLEDGER_PG_BIN")
    return Path(chosen) if chosen else None


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A short-named directory that the server's user can enter, also when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="jobledger-test-"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def embedded_server(*, fsync: bool) -> Iterator[EmbeddedPostgres]:
    """A running server on a directory of its own, destroyed afterwards."""
    settings = {"fsync": "on" if fsync else "off"}
    with temporary_directory() as directory:
        server = EmbeddedPostgres(directory, binaries=chosen_binaries(), settings=settings, relocatable=True)
        try:
            server.start()
            yield server
        finally:
            server.destroy()
