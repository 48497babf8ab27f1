"""What is particular to SQLite: callers' own connections, and plans that stay cheap whatever the backlog."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobledger.domain.errors import InvalidInput, LedgerBusy
from jobledger.infrastructure.sqlite import claiming, queue, reading
from jobledger.infrastructure.sqlite.appender import SQL as LEDGER_SQL
from jobledger.infrastructure.sqlite.connect import SqliteLedger, open_ledger
from jobledger.infrastructure.sqlite.migrations import migrate

from ..contract.support import new_job


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """An empty ledger."""
    migrate(tmp_path / "ledger.db")
    with closing(open_ledger(tmp_path / "ledger.db", busy_timeout_seconds=0.05)) as ledger:
        yield ledger


def _count(ledger: SqliteLedger) -> int:
    return len(ledger.reader.read_after(0, limit=100).events)


# --- a caller's own connection ---------------------------------------------------------------------------------------


def test_a_connection_to_another_file_is_refused(ledger: SqliteLedger, tmp_path: Path) -> None:
    """The job must commit with the caller's rows: his connection is to the ledger's file, or it is refused."""
    for database in (tmp_path / "other.db", ":memory:"):
        with closing(sqlite3.connect(database)) as connection, pytest.raises(InvalidInput, match="the ledger is"):
            ledger.transaction_writer.dispatch(connection, [new_job()])


def test_a_connection_without_a_transaction_is_refused(ledger: SqliteLedger) -> None:
    """In autocommit mode nothing would hold the writes together."""
    with closing(sqlite3.connect(ledger.database.path, isolation_level=None)) as connection:
        with pytest.raises(InvalidInput, match="BEGIN"):
            ledger.transaction_writer.dispatch(connection, [new_job()])
        connection.execute("BEGIN IMMEDIATE")
        ledger.transaction_writer.dispatch(connection, [new_job()])
        connection.execute("COMMIT")
    assert _count(ledger) == 1


def test_a_callers_own_rows_commit_with_the_job(ledger: SqliteLedger) -> None:
    """Rows of the caller's own table in the same file, written before and after, share the job's fate."""
    with closing(sqlite3.connect(ledger.database.path)) as connection:
        connection.execute("CREATE TABLE invoices (id TEXT)")
        connection.row_factory = lambda cursor, row: {
            column[0]: value for column, value in zip(cursor.description, row, strict=True)
        }
        connection.text_factory = bytes
        connection.execute("INSERT INTO invoices VALUES ('42')")
        ledger.transaction_writer.dispatch(connection, [new_job()])
        connection.rollback()
        connection.execute("INSERT INTO invoices VALUES ('43')")
        ledger.transaction_writer.dispatch(connection, [new_job(key="k"), new_job(key="k")])
        connection.commit()
        assert [row["id"] for row in connection.execute("SELECT id FROM invoices")] == [b"43"]
    assert _count(ledger) == 1


def test_a_dispatch_that_breaks_leaves_the_callers_rows(ledger: SqliteLedger) -> None:
    """An error inside the dispatch undoes the dispatch; the caller's own rows are still his to commit."""
    broken = new_job(lock_key="k")
    broken = broken._replace(state=broken.state._replace(priority=None))  # type: ignore[arg-type]
    with closing(sqlite3.connect(ledger.database.path)) as connection:
        connection.execute("CREATE TABLE invoices (id TEXT)")
        connection.execute("INSERT INTO invoices VALUES ('42')")
        with pytest.raises(Exception, match="priority"):
            ledger.transaction_writer.dispatch(connection, [new_job(), broken])
        connection.commit()
        assert connection.execute("SELECT count(*) FROM invoices").fetchone() == (1,)
    assert _count(ledger) == 0


def test_a_caller_that_cannot_write_is_told_so(ledger: SqliteLedger) -> None:
    """Where somebody else holds the only writer, the caller gets `LedgerBusy`, not SQLite's words."""
    with (
        closing(sqlite3.connect(ledger.database.path, timeout=0.01)) as connection,
        ledger.database.write(),
        pytest.raises(LedgerBusy, match=r"^(?!.*locked)"),
    ):
        ledger.transaction_writer.dispatch(connection, [new_job()])


# --- plans -----------------------------------------------------------------------------------------------------------

HOT = [
    (claiming.SQL["promote_due_jobs"], 2, {"open_jobs_delayed"}),
    (claiming.SQL["next_tenant"], 2, {"open_jobs_ready", "open_jobs_ready_keyed"}),
    (claiming.SQL["candidates"], 5, {"open_jobs_ready"}),
    (claiming.SQL["next_lock_key"], 3, {"open_jobs_ready_keyed"}),
    (claiming.SQL["candidate_with_key"], 5, {"open_jobs_ready_keyed", "open_jobs_running_key"}),
    (claiming.SQL["stalled_candidates"], 4, {"open_jobs_ready_stalled"}),
    (claiming.SQL["start_job"], 3, {"sqlite_autoindex_open_jobs_1"}),
    (queue.SQL["anything_to_claim"], 2, {"open_jobs_ready", "open_jobs_ready_keyed", "open_jobs_ready_stalled"}),
    (queue.SQL["held_leases"], 1, {"open_jobs_held"}),
    (queue.SQL["expired"], 2, {"open_jobs_held"}),
    (queue.SQL["next_tenant_of_any_job"], 1, {"open_jobs_tenant"}),
    (queue.SQL["waiting_of_inactive_tenants"], 2, {"open_jobs_tenant"}),
    (LEDGER_SQL["stream_end"], 1, {"ledger_stream"}),
    (LEDGER_SQL["find_key"], 3, {"PRIMARY KEY"}),
    (reading.SQL["stream"], 4, {"ledger_stream"}),
    (reading.SQL["read_after"], 2, {"INTEGER PRIMARY KEY"}),
]


SORTED = {claiming.SQL["held_leases"], claiming.SQL["expired"]}
"""These sort what runs now, which is little."""


@pytest.mark.parametrize(("statement", "parameters", "indexes"), HOT, ids=range(len(HOT)))
def test_hot_statements_use_their_indexes(
    ledger: SqliteLedger, statement: str, parameters: int, indexes: set[str]
) -> None:
    """No claim, guard or read looks at every row of a table, nor sorts a backlog."""
    with ledger.database.read() as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * parameters).fetchall()
    plan = [row[3] for row in rows]
    assert all(any(index in step for step in plan) for index in indexes), plan
    assert not [step for step in plan if _reads_a_whole_table(step)], plan
    assert statement in SORTED or not [step for step in plan if "TEMP B-TREE" in step], plan


def _reads_a_whole_table(step: str) -> bool:
    small = ("USING INDEX", "USING COVERING INDEX", "json_each", "subquery", "CONSTANT ROW")
    return step.startswith("SCAN") and not any(part in step for part in small)
