"""A ledger for each test, on both engines, and the command line that uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Cli

SAMPLE = "tests.support.sample_app"


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


@pytest.fixture
def cli(tmp_path: Path, database: str) -> Cli:
    """The command line on a ledger with the tenant `acme`, whose job types are known."""
    command = Cli(tmp_path, database, JOBLEDGER_TENANT="acme", JOBLEDGER_APP=SAMPLE, JOBLEDGER_ACTOR="test:operator")
    command("tenants", "create", "acme", "--reason", "a customer")
    command("work", "--drain")
    return command
