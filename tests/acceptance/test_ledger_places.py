"""Where the ledger is: not there, of another version, down, or named wrongly."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest

from tests.support.cli import Cli

from .conftest import SAMPLE

NEWER = "INSERT INTO {}schema_migrations (name, checksum, applied_at) VALUES ('9999_pre_future', 'x', {})"


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "list", "--tenant", "acme"),
        ("tenants", "create", "acme"),
        ("dispatch", "sample.ok", "--tenant", "acme", "--reason", "x"),
        ("work", "--app", SAMPLE, "--drain"),
        ("migrate", "--check"),
        ("check",),
    ],
)
def test_only_up_and_migrate_create_a_ledger(tmp_path: Path, sqlite_url: str, words: tuple[str, ...]) -> None:
    """Anything else says where it looked, as an absolute path, and what to run."""
    error = Cli(tmp_path, sqlite_url)(*words, "--json", code=3).error
    assert error["code"] == "ledger_not_found"
    assert f"{tmp_path}/ledger.db" in error["message"]
    assert "jobledger migrate" in error["hint"]
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_a_file_in_the_working_directory(tmp_path: Path) -> None:
    """Without any variable, `migrate` makes jobledger.db here, and a second run finds nothing to do."""
    cli = Cli(tmp_path, None)
    assert "applied 0001" in cli("migrate").out
    assert (tmp_path / "jobledger.db").is_file()
    assert cli("migrate", "--json").json["applied"] == []
    assert cli("migrate", "--check").code == 0


def test_up_creates_the_ledger(tmp_path: Path, sqlite_url: str) -> None:
    """One command from nothing to a worker."""
    summary = Cli(tmp_path, sqlite_url)("up", "--app", SAMPLE, "--drain", "--json").json
    assert summary["result"] == "drained"
    assert (tmp_path / "ledger.db").is_file()


def test_a_newer_ledger_is_refused(cli: Cli) -> None:
    """A program does not touch what a newer one migrated, not even with `migrate`."""
    database = cli.variables["JOBLEDGER_DATABASE"]
    if database.startswith("sqlite:"):
        with sqlite3.connect(database.removeprefix("sqlite:///")) as file:
            file.execute(NEWER.format("", 1))
    else:
        with psycopg.connect(database) as server:
            server.execute(NEWER.format("jobledger.", "now()"))
    for words in (("jobs", "list"), ("migrate",), ("migrate", "--check"), ("up", "--drain")):
        error = cli(*words, "--json", code=3).error
        assert error["code"] == "schema_too_new"
        assert "9999_pre_future" in error["message"]


def test_a_postgres_database_without_a_ledger_says_so(tmp_path: Path, empty_postgres_database: str) -> None:
    """An empty database is not a ledger; `migrate` makes it one."""
    cli = Cli(tmp_path, empty_postgres_database)
    assert cli("tenants", "list", "--json", code=3).error["code"] == "ledger_not_found"
    cli("migrate")
    assert cli("tenants", "list", "--json").json["tenants"] == []


def test_a_server_that_is_down_is_unavailable(tmp_path: Path) -> None:
    """One line, no traceback, no password, and an exit code that says: try later."""
    cli = Cli(tmp_path, "postgresql://app:s3cret@127.0.0.1:9/ledger", JOBLEDGER_CONNECT_TIMEOUT_SECONDS="2")
    for words in (("tenants", "list"), ("migrate",), ("migrate", "--check"), ("work", "--app", SAMPLE)):
        said = cli(*words, "--json", code=4)
        assert said.error["code"] == "ledger_unavailable"
        assert "s3cret" not in said.err + said.out
        assert "Traceback" not in said.err


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path, sqlite_url: str) -> None:
    """A wrong path is told, and the file is left as it is."""
    file = tmp_path / "ledger.db"
    file.write_text("this is a letter, not a ledger" * 40)
    for words in (("tenants", "list"), ("migrate",)):
        said = Cli(tmp_path, sqlite_url)(*words, "--json", code=4)
        assert said.error["code"] == "ledger_unavailable"
    assert file.read_text().startswith("this is a letter")


def test_wrong_settings_are_usage_errors(tmp_path: Path) -> None:
    """The answer names the variable; nothing is created."""
    error = Cli(tmp_path, "mysql://app:s3cret@host/x")("tenants", "list", "--json", code=2).error
    assert error["field"] == "JOBLEDGER_DATABASE"
    assert "s3cret" not in str(error)
    error = Cli(tmp_path, None, JOBLEDGER_CONCURENCY="3")("up", "--app", SAMPLE, "--json", code=2).error
    assert error["hint"] == "did you mean JOBLEDGER_CONCURRENCY?"
    assert list(tmp_path.iterdir()) == []


def test_an_embedded_postgres_is_started_joined_and_stopped(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`embedded-postgres:` needs no server: each command starts it or joins it, the last one stops it."""
    from tests.support.places import temporary_directory

    with temporary_directory() as directory:
        cli = Cli(tmp_path_factory.mktemp("cwd"), f"embedded-postgres:///{directory}/pg")
        assert cli("tenants", "list", "--json", code=3).error["code"] == "ledger_not_found"
        cli("migrate")
        cli("tenants", "create", "acme")
        assert cli("work", "--app", SAMPLE, "--drain", "--json").json["result"] == "drained"
        assert not list(directory.glob("pg/cluster/data/postmaster.pid"))
