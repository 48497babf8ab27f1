"""Rebuilding views beside the only writer of a SQLite file: readers always see a whole list, whoever dies when."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobledger.application.ports import JobFilter
from jobledger.domain.errors import SchemaOutdated
from jobledger.infrastructure.sqlite import job_views
from jobledger.infrastructure.sqlite.comparing import read_in_order
from jobledger.infrastructure.sqlite.connect import SqliteLedger, open_ledger
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.keys import SqliteKeyRegister
from jobledger.infrastructure.sqlite.migrations import migrate, require_current
from jobledger.infrastructure.sqlite.shadows import SqliteShadows
from jobledger.infrastructure.sqlite.view_tables import create_tables, table_definition
from jobledger.infrastructure.sqlite.views import SqliteViewStore
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.ports import Changes, CheckpointMoved
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import Purpose, RebuildState, Scope
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.rebuild_process import rebuild

from ..contract.support import LedgerUnderTest
from ..contract.views_support import OpenedSqlite, open_place

ROOT = Path(__file__).parents[2]
JOBS = 60
SWAPS = 12
OF_TYPE = JobFilter(job_type="invoice.send")
OLDEST_VIEWS = {"tenant_jobs", "persona_jobs", "dlq_jobs", "job_short_ids"}
"""Those that a migration makes."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of an empty ledger."""
    migrate(tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[LedgerUnderTest]:
    """The ledger with some jobs, of which some are completed."""
    opened = open_ledger(path)
    ledger = _under_test(opened)
    for number in range(JOBS):
        ledger.dispatch(persona="bot" if number % 2 else None)
    for job in ledger.claim(limit=JOBS // 3).jobs:
        ledger.complete(job)
    yield ledger
    opened.close()


@pytest.fixture
def own(ledger: LedgerUnderTest, path: Path) -> Iterator[OpenedSqlite]:
    """Its read side, with current views."""
    del ledger
    with open_place("sqlite", str(path)) as opened:
        assert isinstance(opened, OpenedSqlite)
        opened.project()
        yield opened


def _under_test(opened: SqliteLedger) -> LedgerUnderTest:
    def not_wanted(*_: object) -> Any:  # noqa: ANN401 - whatever a back door gives
        raise AssertionError("no back doors here")

    return LedgerUnderTest(
        "sqlite", opened.writer, opened.reader, opened.queue, opened.catalogue, opened.wake_up,
        opened.transaction_writer, SqliteKeyRegister(opened.database), not_wanted, not_wanted, not_wanted, not_wanted,
        not_wanted,
    )  # fmt: skip


def tables(database: Database, view: str = "tenant_jobs") -> set[str]:
    """The tables of a view, without its name in front."""
    with database.read() as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    return {name.removeprefix(view) for name in names if name == view or name.startswith(f"{view}__")}


def indexes(database: Database, table: str) -> dict[str, str]:
    """The definitions of a table's indexes by what they are for."""
    with database.read() as connection:
        found = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL", (table,)
        ).fetchall()
    return {re.sub(r"__\d+$", "", name): _plain(sql.partition(" ON ")[2].partition("(")[2]) for name, sql in found}


def _plain(definition: str) -> str:
    return " ".join(definition.replace('"', "").split())


# --- tables from projections -----------------------------------------------------------------------------------------


def _schema(database: Database, view: str) -> tuple[str, dict[str, str]]:
    with database.read() as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (view,)).fetchone()
    return _plain(sql), indexes(database, view)


@pytest.mark.parametrize("name", sorted(OLDEST_VIEWS))
def test_the_generator_makes_the_tables_of_the_migrations(path: Path, name: str) -> None:
    """The same columns, types, key and indexes: a rebuild makes such a table from the projection alone."""
    (projection,) = (projection for projection in ALL_PROJECTIONS if projection.name == name)
    with closing(Database(path)) as database:
        from_migration = _schema(database, name)
        with database.write() as connection:
            connection.execute(f"DROP TABLE {name}")
            create_tables(connection, [projection])
        assert _schema(database, name) == from_migration


def test_a_new_projection_gets_its_table(path: Path) -> None:
    """A program with one more view refuses the ledger until it is migrated; then the view has table and indexes."""
    newer: Projection = TENANT_JOBS._replace(name="newer_jobs")
    with closing(Database(path)) as database:
        with database.read() as connection, pytest.raises(SchemaOutdated, match=r"newer_jobs.*jobledger migrate"):
            require_current(connection, None, (*ALL_PROJECTIONS, newer))
        assert migrate(path, None, (*ALL_PROJECTIONS, newer)) == []
        with database.read() as connection:
            require_current(connection, None, (*ALL_PROJECTIONS, newer))
        assert {
            name.removeprefix("newer_jobs"): columns for name, columns in indexes(database, "newer_jobs").items()
        } == {name.removeprefix("tenant_jobs"): columns for name, columns in indexes(database, "tenant_jobs").items()}


# --- versions of a table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("analysed", [False, True], ids=["plain", "analysed"])
def test_lists_read_indexes_after_any_number_of_swaps(own: OpenedSqlite, *, analysed: bool) -> None:
    """SQLite cannot rename an index: live and previous table have all of them, and lists find theirs."""
    if analysed:
        with own.database.write() as connection:
            connection.execute("ANALYZE")
    expected = indexes(own.database, "tenant_jobs")
    for _ in range(4):
        rebuild(own.database)
        assert tables(own.database) == {"", "__previous"}
        assert indexes(own.database, "tenant_jobs") == indexes(own.database, "tenant_jobs__previous") == expected
        for where, index in ((JobFilter(), "by_time"), (JobFilter(failed=True), "by_lane"), (OF_TYPE, "by_type")):
            plan = _plan(own.database, where)
            looks = [step for step in plan.split("; ") if step.startswith("SEARCH tenant_jobs ")]
            assert looks and all(f" INDEX tenant_jobs_{index}" in look for look in looks), plan
            assert "SCAN tenant_jobs" not in plan and "SCAN job" not in plan
            assert where != JobFilter() or ("TEMP" not in plan and "SCAN" not in plan)


def _plan(database: Database, where: JobFilter) -> str:
    with database.read() as connection:
        statement = f"EXPLAIN QUERY PLAN {job_views.tenant_statement(where)}"
        rows = connection.execute(statement, job_views.wanted("acme", where, None, 50)).fetchall()
    return "; ".join(row[3] for row in rows)


def test_the_previous_version_stays_until_it_is_dropped(own: OpenedSqlite) -> None:
    """As it was when it was replaced, also what was wrong in it."""
    with own.database.write() as connection:
        connection.execute("UPDATE tenant_jobs SET priority = 77")
    outcome = rebuild(own.database)
    assert outcome.end is not None and outcome.end.comparison.differing == JOBS
    own.assert_views_are_the_fold()
    shadows = SqliteShadows(own.database)
    (versions,) = (one for one in shadows.versions() if one.projection == "tenant_jobs")
    assert versions == ("tenant_jobs", 1, None, (JOBS, True))
    with own.database.read() as connection:
        assert connection.execute("SELECT DISTINCT priority FROM tenant_jobs__previous").fetchall() == [(77,)]
    assert shadows.drop_previous(TENANT_JOBS.name) == JOBS
    assert shadows.drop_previous(TENANT_JOBS.name) is None
    assert tables(own.database) == {""}


def test_a_tenant_is_read_without_sorting(own: OpenedSqlite) -> None:
    """Comparing one tenant's rows takes no more memory than comparing all: both are read in the order of the key."""
    with own.database.read() as connection:
        for scope in (Scope(), Scope(tenant="acme"), Scope(tenant="acme", job=uuid4())):
            statement, values = read_in_order(connection, TENANT_JOBS, "tenant_jobs", scope)
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            assert not [row[3] for row in plan if "TEMP" in row[3]]


# --- others meanwhile ------------------------------------------------------------------------------------------------


def test_readers_in_other_processes_see_a_whole_list_at_any_moment(
    own: OpenedSqlite, ledger: LedgerUnderTest, path: Path
) -> None:
    """One reads without a pause while the table is replaced a dozen times, and jobs go on: never fewer rows than there
    are, never an error."""
    command = [sys.executable, "-m", "tests.support.list_reader", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for _ in range(SWAPS):
            ledger.complete(ledger.claim_one())
            outcome = rebuild(own.database)
            assert outcome.end is not None and outcome.end.swapped and outcome.end.comparison.is_equal
        output, _ = reader.communicate()
    seen = json.loads(output)
    assert (seen["counts"], reader.returncode) == ([JOBS], 0)
    assert seen["readings"] > SWAPS
    own.project()
    own.assert_views_are_the_fold()


def test_who_folded_from_the_table_before_stores_nothing(own: OpenedSqlite) -> None:
    """A batch that was begun at the same position as the swap, from rows that were wrong, is refused."""
    standing = own.store.checkpoints()["tenant_jobs"]
    with pytest.raises(CheckpointMoved):
        _swap_amid_a_batch(own)
    assert own.store.checkpoints()["tenant_jobs"].position == standing.position
    own.assert_views_are_the_fold()


def _swap_amid_a_batch(own: OpenedSqlite) -> None:
    with own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        before = transaction.checkpoint(TENANT_JOBS)
        rebuild(own.database)
        transaction.save(TENANT_JOBS, Changes(), before, before._replace(position=before.position + 1))


def test_a_view_that_is_held_keeps_still(own: OpenedSqlite, ledger: LedgerUnderTest) -> None:
    """Its runner waits, others go on; nobody else can hold it; afterwards it follows."""
    shadows, store = SqliteShadows(own.database), SqliteViewStore(own.database)
    before = store.checkpoints()["tenant_jobs"]
    with shadows.hold(TENANT_JOBS) as held:
        assert held == before
        with shadows.hold(TENANT_JOBS) as by_another:
            assert by_another is None
        ledger.dispatch()
        with store.begin((TENANT_JOBS,)) as transaction:
            assert transaction is None
        own.runner(*(projection for projection in ALL_PROJECTIONS if projection != TENANT_JOBS)).run_until_current()
        assert store.checkpoints()["tenant_jobs"] == before
    own.project()
    own.assert_views_are_the_fold()


def test_who_began_before_it_was_held_stores_nothing(own: OpenedSqlite) -> None:
    """A batch that was being folded when the view was to keep still is refused."""
    before = own.store.checkpoints()["tenant_jobs"]
    with pytest.raises(CheckpointMoved), ExitStack() as holding:
        _hold_amid_a_batch(own, holding)
    assert own.store.checkpoints()["tenant_jobs"] == before


def _hold_amid_a_batch(own: OpenedSqlite, holding: ExitStack) -> None:
    with own.store.begin((TENANT_JOBS,)) as transaction:
        assert transaction is not None
        before = transaction.checkpoint(TENANT_JOBS)
        holding.enter_context(SqliteShadows(own.database).hold(TENANT_JOBS))
        transaction.save(TENANT_JOBS, Changes(), before, before._replace(position=before.position + 1))


# --- death -----------------------------------------------------------------------------------------------------------


def test_killed_behind_any_statement_a_rebuild_goes_on(own: OpenedSqlite, path: Path) -> None:
    """One process after the other goes on with the rebuild and dies a statement later than the one before, until one
    comes to the end: the table is the fold, nothing is left over, and nobody had to wait for the dead."""
    with own.database.write() as connection:
        connection.execute("DELETE FROM tenant_jobs WHERE job_id = (SELECT max(job_id) FROM tenant_jobs)")
    command = [sys.executable, "-m", "tests.support.rebuild_process", str(path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    died, status = map(int, result.stdout.split())
    assert (status, result.stderr) == (0, "") and died > 20
    own.project()
    own.assert_views_are_the_fold()
    (last,) = SqliteShadows(own.database).recent(limit=1)
    assert (last.state, last.is_over) == (RebuildState.SWAPPED, True)
    assert last.comparison is not None and last.comparison.differing == 1
    assert tables(own.database) == {"", "__previous"}
    assert set(own.store.checkpoints()) == {projection.name for projection in ALL_PROJECTIONS}


def test_what_was_set_aside_is_removed_by_the_next(own: OpenedSqlite) -> None:
    """A process that died while it removed a table leaves one behind that nobody sees, until the next rebuild."""
    with own.database.write() as connection:
        connection.execute(table_definition(TENANT_JOBS, "tenant_jobs__dropped1"))
        connection.execute("INSERT INTO tenant_jobs__dropped1 SELECT * FROM tenant_jobs")
    assert tables(own.database) == {"", "__dropped1"}
    rebuild(own.database, Purpose.VERIFY)
    assert tables(own.database) == {""}
