"""The launcher of embedded PostgreSQL, on real servers."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from jobledger.domain.errors import LedgerUnavailable
from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres
from jobledger.infrastructure.postgres.postmaster import Postmaster, discard_stale_pid_file
from tests.support.places import temporary_directory
from tests.support.postgres import DurableCluster, TestCluster, chosen_binaries

AS_ROOT = os.geteuid() == 0

USER_PROCESS = """
import sys
from pathlib import Path
from jobledger.infrastructure.postgres.embedded import EmbeddedPostgres

server = EmbeddedPostgres(Path(sys.argv[1]), binaries=Path(sys.argv[2]) if sys.argv[2] else None)
print(server.start(), flush=True)
sys.stdin.readline()
server.stop()
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory for one cluster; whatever still runs there afterwards is stopped."""
    with temporary_directory() as parent:
        yield parent / "cluster"
        embedded(parent / "cluster").destroy()


def embedded(directory: Path, *, relocatable: bool = False) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, binaries=chosen_binaries(), settings={"fsync": "off"}, relocatable=relocatable)


def value(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def user_process(directory: Path) -> subprocess.Popen[str]:
    """Another process that uses the directory until it gets a line or is killed; it is ready when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER_PROCESS, str(directory), str(chosen_binaries() or "")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("postgresql://")
    return process


def running(server: EmbeddedPostgres) -> Postmaster:
    postmaster = server.postmaster()
    assert postmaster is not None, "no server runs"
    return postmaster


def test_a_server_is_reached_by_its_socket_alone(postgres_server: EmbeddedPostgres) -> None:
    """The server speaks UTF-8, sorts by code point, and has no TCP port."""
    dsn = postgres_server.dsn()
    assert value(dsn, "SHOW server_encoding") == "UTF8"
    assert value(dsn, "SELECT 'Z' < 'a'") is True
    assert value(dsn, "SHOW listen_addresses") == ""
    assert value(dsn, "SELECT current_database()") == "jobledger"


def test_nobody_else_can_enter_the_sockets_folder(postgres_server: EmbeddedPostgres) -> None:
    """Connections are trusted because the socket's folder is closed to other users."""
    folder = running(postgres_server).socket_directory
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_server_does_not_get_the_terminals_interrupt(postgres_server: EmbeddedPostgres) -> None:
    """Ctrl-C goes to the process group of the terminal's program, which the server has left."""
    assert os.getpgid(running(postgres_server).pid) != os.getpgrp()


def test_the_pid_file_of_a_running_server_stays(postgres_server: EmbeddedPostgres) -> None:
    """A pid file that guards a living server is never removed."""
    data = running(postgres_server).data
    discard_stale_pid_file(data)
    assert (data / "postmaster.pid").exists()


def test_data_survive_a_stop(directory: Path) -> None:
    """What was written stands there after the server was stopped and started again."""
    with embedded(directory) as server, psycopg.connect(server.dsn()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert embedded(directory).postmaster() is None
    with embedded(directory) as server:
        assert value(server.dsn(), "SELECT answer FROM kept") == 42


def test_the_last_one_out_stops_the_server(directory: Path) -> None:
    """A server runs until the last of several processes leaves, whoever started it."""
    server = embedded(directory)
    dsn = server.start()
    other = user_process(directory)
    server.stop()
    assert value(dsn, "SELECT 1") == 1
    other.communicate("leave\n")
    assert embedded(directory).postmaster() is None


def test_a_killed_user_does_not_hold_the_server(directory: Path) -> None:
    """A process that was killed no longer counts: the next to come and go stops the server."""
    killed = user_process(directory)
    killed.kill()
    killed.communicate()
    server = embedded(directory)
    assert server.postmaster() is not None
    with server:
        assert value(server.dsn(), "SELECT 1") == 1
    assert server.postmaster() is None


def test_many_may_start_at_once(directory: Path) -> None:
    """Of several that start an empty directory at once one makes the cluster and all get the same server."""
    with ExitStack() as stack, ThreadPoolExecutor(6) as pool:
        servers = list(pool.map(lambda _: stack.enter_context(embedded(directory)), range(6)))
        assert len({server.postmaster() for server in servers}) == 1


def test_a_killed_server_is_recovered(durable_postgres: DurableCluster) -> None:
    """After kill -9 the stale postmaster.pid is no obstacle and every acknowledged commit is there."""
    dsn = durable_postgres.server.dsn()
    with psycopg.connect(dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    durable_postgres.kill()
    durable_postgres.recover()
    assert value(dsn, "SELECT answer FROM kept") == 42


def test_a_recycled_process_id_is_no_server(directory: Path) -> None:
    """A postmaster.pid whose process id now belongs to another program does not keep the server from starting."""
    server = embedded(directory)
    server.start()
    postmaster = running(server)
    left_behind = (postmaster.data / "postmaster.pid").read_text().splitlines()
    server.stop()
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stranger:
        text = "\n".join([str(stranger.pid), *left_behind[1:]])
        (postmaster.data / "postmaster.pid").write_text(text + "\n")
        with server:
            assert value(server.dsn(), "SELECT 1") == 1
        assert stranger.poll() is None
        assert stranger.stdin is not None
        stranger.stdin.close()


def test_a_cut_off_initdb_is_done_again(directory: Path) -> None:
    """A cluster that was only half made is made anew."""
    half = directory / "cluster" / "data.unfinished"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    for folder in (directory, directory / "cluster"):
        folder.chmod(0o755)
    with embedded(directory) as server:
        assert value(server.dsn(), "SELECT 1") == 1


def test_a_long_path_does_not_break_the_socket(directory: Path) -> None:
    """Where the directory's path is too long for a socket, the socket lies elsewhere and others find it."""
    deep = directory / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    first, second = embedded(deep), embedded(deep)
    try:
        assert first.start() == second.start()
        sockets = running(first).socket_directory
    finally:
        first.stop()
        second.destroy()
    assert not sockets.exists()


def test_destroy_leaves_nothing(directory: Path) -> None:
    """Destroying a cluster stops the server and removes everything that the launcher made."""
    server = embedded(directory)
    server.start()
    server.destroy()
    assert list(directory.iterdir()) == []
    assert not server.exists


def test_a_cluster_in_use_is_not_destroyed(directory: Path) -> None:
    """While another process uses the server, destroying it is refused and nothing is lost."""
    with embedded(directory) as server:
        with pytest.raises(LedgerUnavailable, match="another process uses"):
            embedded(directory).destroy()
        assert value(server.dsn(), "SELECT 1") == 1


def test_a_cluster_of_another_version_is_named(directory: Path) -> None:
    """Programs that do not fit the cluster's version are refused with both versions."""
    server = embedded(directory)
    server.start()
    version_file = running(server).data / "PG_VERSION"
    server.stop()
    version = version_file.read_text()
    version_file.write_text("9\n")
    with pytest.raises(LedgerUnavailable, match="made by PostgreSQL 9; the programs in"):
        server.start()
    version_file.write_text(version)


def test_a_server_that_cannot_start_says_why(directory: Path) -> None:
    """The error of a failed start carries the end of the server's log."""
    server = EmbeddedPostgres(directory, binaries=chosen_binaries(), settings={"max_connections": "none"})
    with pytest.raises(LedgerUnavailable, match=r'invalid value for parameter "max_connections"'):
        server.start()


def test_a_directory_in_a_closed_folder(directory: Path) -> None:
    """Below a 0700 folder the server runs, for root only where the cluster may lie elsewhere."""
    directory.mkdir(mode=0o700)
    closed = directory / "below"
    if AS_ROOT:
        with pytest.raises(LedgerUnavailable, match="who cannot enter every folder"):
            embedded(closed).start()
    with embedded(closed, relocatable=True) as server:
        assert value(server.dsn(), "SELECT 1") == 1
        assert (closed / "cluster").is_symlink() == AS_ROOT
    home = (closed / "cluster").resolve()
    embedded(closed).destroy()
    assert not home.exists()


def test_every_test_has_a_database_of_its_own(postgres_cluster: TestCluster) -> None:
    """Databases of one cluster share nothing, and are gone after their test, open connections or not."""
    with postgres_cluster.database() as first, postgres_cluster.database() as second:
        with psycopg.connect(first) as connection:
            connection.execute("CREATE TABLE mine ()")
        assert value(second, "SELECT to_regclass('mine') IS NULL") is True
        left_open = psycopg.connect(first)
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(first)
