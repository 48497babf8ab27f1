"""The databases that scenarios run on: an embedded PostgreSQL with everything durable, and SQLite files."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Protocol

import psycopg
from psycopg import sql

from jobledger.infrastructure import bootstrap, settings
from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres

from . import machine

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_SHOWN = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size",
          "wal_sync_method")  # fmt: skip


class Backend(Protocol):
    """One kind of database. `name` is how the report calls it."""

    name: str

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty ledger, removed afterwards."""
        ...

    def settle(self, url: str) -> None:
        """Do what an hour of rest would do: statistics, dead rows, dirty pages."""
        ...

    def unfinished(self, url: str) -> int:
        """How many jobs the queue holds."""
        ...

    def cpu_seconds(self) -> float:
        """CPU seconds of the server so far; 0 where there is none."""
        ...

    def describe(self) -> dict[str, str]:
        """Version and the settings that decide about durability."""
        ...


class Postgres:
    """A cluster of its own on a real disk; every ledger is a database of it."""

    name = "postgres"

    def __init__(self, directory: Path) -> None:
        self._server = EmbeddedPostgres(directory / "postgres", settings=DURABLE, relocatable=True)
        self._server.start()
        self._numbers = count()

    def close(self) -> None:
        """Stop the server and remove its data."""
        self._server.destroy()

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty ledger."""
        with self.empty() as url:
            bootstrap.migrate(settings.load(database=url))
            yield url

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of a database without a ledger, for the raw loop."""
        name = f"bench_{next(self._numbers)}"
        self._execute("CREATE DATABASE {}", name)
        try:
            yield self._server.dsn(name)
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def settle(self, url: str) -> None:
        """Vacuum, analyse and write out what is dirty, so that a run does not pay for the one before."""
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def unfinished(self, url: str) -> int:
        """How many jobs the queue holds."""
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(*) FROM jobledger.open_jobs").fetchone()
            return int(row[0]) if row else 0

    def cpu_seconds(self) -> float:
        """CPU seconds of all processes of the cluster so far."""
        server = self._server.postmaster()
        return 0.0 if server is None else machine.tree_cpu_seconds(server.pid)

    def describe(self) -> dict[str, str]:
        """Version and settings of the server."""
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            return {name: str(_scalar(connection, name)) for name in _SHOWN}

    def _execute(self, statement: str, name: str) -> None:
        with psycopg.connect(self._server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))


class Sqlite:
    """A file for each ledger, on the same disk."""

    name = "sqlite"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty ledger."""
        folder = Path(tempfile.mkdtemp(prefix="ledger-", dir=self._directory))
        url = f"sqlite:///{folder / 'ledger.db'}"
        bootstrap.migrate(settings.load(database=url))
        try:
            yield url
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def settle(self, url: str) -> None:
        """Nothing: what the write-ahead log leaves behind is the next run's to pay."""

    def unfinished(self, url: str) -> int:
        """How many jobs the queue holds."""
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            return int(connection.execute("SELECT count(*) FROM open_jobs").fetchone()[0])

    def cpu_seconds(self) -> float:
        """There is no server."""
        return 0.0

    def describe(self) -> dict[str, str]:
        """Version of the library; jobledger sets the rest."""
        return {"sqlite_version": sqlite3.sqlite_version}


@contextmanager
def disk_directory(chosen: Path | None = None) -> Iterator[Path]:
    """A temporary directory, in a chosen place or on a real disk, that the server's user can enter."""
    parent = chosen or (Path("/var/tmp") if _is_memory(Path(tempfile.gettempdir())) else None)
    directory = Path(tempfile.mkdtemp(prefix="jlb-", dir=parent))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def file_system_of(path: Path) -> str:
    """The type of the file system that holds a path: `ext4`, `tmpfs`, ..."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    holding = [(mount[1], mount[2]) for mount in mounts if path.resolve().is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def _is_memory(path: Path) -> bool:
    return file_system_of(path) in ("tmpfs", "ramfs")


def _scalar(connection: psycopg.Connection[tuple[object, ...]], name: str) -> object:
    row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    return row[0] if row else None
