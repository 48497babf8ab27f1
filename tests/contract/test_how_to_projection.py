"""The page about adding a projection, followed to the letter: file, table, runner, fold."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from jobledger.domain.job import JobStatus
from jobledger.infrastructure.postgres.connections import Connections, Role
from jobledger.infrastructure.postgres.migrations import migrate as migrate_postgres
from jobledger.infrastructure.sqlite.migrations import migrate as migrate_sqlite
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.projection import Projection
from tests.support.repository import ROOT
from tests.support.seen import fold_all

from .support import LedgerUnderTest
from .views_support import open_read_side, place_of

PAGE = (ROOT / "docs" / "how-to" / "add-a-projection.md").read_text(encoding="utf-8")
_FILE = re.compile(r"^```python\n# file: (?P<path>\S+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
MODULE = "jobledger.projections.worker_attempts"


def load(name: str, path: str, folder: Path) -> ModuleType:
    """A file of the page, as a module of this name."""
    (text,) = [found["text"] for found in _FILE.finditer(PAGE) if found["path"] == path]
    file = folder / Path(path).name
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def projection(tmp_path: Path) -> Iterator[Projection]:
    """The page's projection, importable as it would be in the repository."""
    module = load(MODULE, "projections/worker_attempts.py", tmp_path)
    made: Projection = module.WORKER_ATTEMPTS
    yield made
    del sys.modules[MODULE]


def test_the_test_of_the_page_passes(projection: Projection, tmp_path: Path) -> None:
    """All functions that it has."""
    module = load("page_test_worker_attempts", "tests/unit/projections/test_worker_attempts.py", tmp_path)
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 2 and projection.name == "worker_attempts"
    for test in tests:
        test()


def migrate(ledger: LedgerUnderTest, projection: Projection) -> None:
    """What `jobledger migrate` does once the projection stands in the catalogue."""
    projections = (*PROJECTIONS.values(), projection)
    if ledger.engine == "postgres":
        migrate_postgres(place_of(ledger), projections=projections)
    else:
        migrate_sqlite(Path(place_of(ledger)), projections=projections)


def test_the_view_of_the_page_is_made_filled_and_the_fold(
    stored_ledger: LedgerUnderTest, projection: Projection
) -> None:
    """On a ledger that is in use: the table is made, a runner fills it from the beginning, and keeps it current."""
    ids = [stored_ledger.dispatch() for _ in range(3)]
    stored_ledger.complete(stored_ledger.claim_one())
    migrate(stored_ledger, projection)
    with open_read_side(stored_ledger) as own:
        for _ in range(2):
            runner = own.runner(*PROJECTIONS.values(), projection, batch_size=2)
            runner.run_until_current()
            runner.stop()
            assert runner.failures == {}
            events = own.events()
            expected = fold_all(projection, events)
            with own.store.begin((projection,)) as transaction:
                assert transaction is not None
                assert transaction.load(projection, list(expected))() == expected
            assert own.count_rows(projection.name) == len(expected)
            stored_ledger.complete(stored_ledger.claim_one())
        assert {row["outcome"] for row in expected.values()} == {JobStatus.COMPLETED.value}
        assert {row["job_id"] for row in expected.values()} == set(ids[:2])


def test_postgres_protects_the_view_of_the_page(postgres_ledger: LedgerUnderTest, projection: Projection) -> None:
    """It has a tenant, so the API sees one tenant's rows, and finds them by the page's index."""
    for tenant in ("acme", "beta"):
        postgres_ledger.create_tenant(tenant)
        postgres_ledger.dispatch(tenant=tenant)
    postgres_ledger.claim(limit=2)
    migrate(postgres_ledger, projection)
    with open_read_side(postgres_ledger) as own:
        runner = own.runner(projection)
        runner.run_until_current()
        runner.stop()
    connections = Connections(place_of(postgres_ledger))
    wanted = "SELECT job_id FROM worker_attempts WHERE tenant_id = 'acme' AND worker = 'w1' ORDER BY started_at, job_id"
    with connections.tenant_transaction("acme") as connection:
        assert connection.execute("SELECT tenant_id FROM worker_attempts").fetchall() == [("acme",)]
        plan = connection.execute(f"EXPLAIN {wanted}").fetchall()
        assert "worker_attempts_by_worker" in str(plan) and "Seq Scan" not in str(plan)
    with connections.connection(Role.AUDITOR) as connection:
        assert len(connection.execute("SELECT tenant_id FROM worker_attempts").fetchall()) == 2
    connections.close()


def test_every_view_has_its_line_on_the_page() -> None:
    """What there is can be looked up."""
    views = PAGE.partition("## The views there are")[2]
    assert re.findall(r"^\| `(\w+)` ", views, re.MULTILINE) == list(PROJECTIONS)
