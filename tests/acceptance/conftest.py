"""A ledger for each test, on both engines, and the command line that uses it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli
from tests.support.postgres import TestCluster

SAMPLE = "tests.support.sample_app"


def command_line(directory: Path, database: str) -> Cli:
    """The command line of those who have the sample program."""
    return Cli(directory, database, JOBLEDGER_TENANT="acme", JOBLEDGER_APP=SAMPLE, JOBLEDGER_ACTOR="test:operator")


def prepare(command: Cli) -> None:
    """Make a ledger with a tenant, whose job types are known."""
    command("migrate")
    command("tenants", "create", "acme", "--reason", "a customer")
    command("work", "--drain")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated ledger for this test alone, on each engine."""
    if request.param == "postgres":
        dsn: str = request.getfixturevalue("postgres_dsn")
        return dsn
    url = f"sqlite:///{tmp_path}/ledger.db"
    Cli(tmp_path, url)("migrate")
    return url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite ledger that is not there yet."""
    return f"sqlite:///{tmp_path}/ledger.db"


# --- prepared once, copied for each test ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the ledgers of `cli` on SQLite are copies of."""
    directory = tmp_path_factory.mktemp("prepared")
    prepare(command_line(directory, f"sqlite:///{directory}/ledger.db"))
    return directory / "ledger.db"


@pytest.fixture
def prepared_sqlite(tmp_path: Path, prepared_file: Path) -> str:
    """The URL of a copy in a file of its own."""
    shutil.copyfile(prepared_file, tmp_path / "ledger.db")
    return f"sqlite:///{tmp_path}/ledger.db"


@pytest.fixture
def prepared_postgres(tmp_path: Path, postgres_cluster: TestCluster) -> Iterator[str]:
    """The URL of a copy in a database of its own."""
    with postgres_cluster.prepared_database("sample", lambda dsn: prepare(command_line(tmp_path, dsn))) as dsn:
        yield dsn


@pytest.fixture(params=["sqlite", "postgres"])
def prepared_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a prepared ledger for this test alone, on each engine."""
    dsn: str = request.getfixturevalue(f"prepared_{request.param}")
    return dsn


@pytest.fixture
def cli(tmp_path: Path, prepared_database: str) -> Cli:
    """The command line on a ledger with the tenant `acme`, whose job types are known."""
    return command_line(tmp_path, prepared_database)
