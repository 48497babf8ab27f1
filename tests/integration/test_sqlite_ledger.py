"""What is particular to SQLite: callers' own connections, and plans that stay cheap whatever the backlog."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobledger.application.ports import ClaimRequest
from jobledger.application.writes import AppendEvents, LimitRow, TenantRow
from jobledger.domain.errors import InvalidInput, LedgerBusy
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.limit import FlowState, Limits, PersonaLimited, Scope, Target
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.sqlite import claiming, limits, queue, reading
from jobledger.infrastructure.sqlite.appender import SQL as LEDGER_SQL
from jobledger.infrastructure.sqlite.connect import SqliteLedger, open_ledger
from jobledger.infrastructure.sqlite.migrations import migrate

from ..contract.support import metadata, new_job


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
    (claiming.SQL["next_tenant"], 2, {"open_jobs_ready", "open_jobs_ready_in_lane"}),
    (claiming.SQL["candidates"], 7, {"open_jobs_ready"}),
    (claiming.SQL["candidates_of_persona"], 8, {"open_jobs_ready_of_persona"}),
    (claiming.SQL["next_lane"], 3, {"open_jobs_ready_in_lane"}),
    (claiming.SQL["candidates_in_lane"], 8, {"open_jobs_ready_in_lane"}),
    (claiming.SQL["lock_is_held"], 2, {"open_jobs_running_key"}),
    (claiming.SQL["stalled_candidates"], 8, {"open_jobs_ready_stalled"}),
    (claiming.SQL["start_job"], 3, {"sqlite_autoindex_open_jobs_1"}),
    (queue.SQL["anything_to_claim"], 2, {"open_jobs_ready", "open_jobs_ready_in_lane", "open_jobs_ready_stalled"}),
    (limits.SQL["limits_version"], 0, {"PRIMARY KEY"}),
    (limits.SQL["limited_personas"], 0, {"PRIMARY KEY"}),
    (limits.SQL["running"], 0, {"open_jobs_held"}),
    (limits.SQL["limit_uses"], 4, {"PRIMARY KEY"}),
    (limits.SQL["jobs_in_lanes"], 2, {"sqlite_autoindex_open_jobs_1"}),
    (queue.SQL["held_leases"], 1, {"open_jobs_held"}),
    (queue.SQL["expired"], 2, {"open_jobs_held"}),
    (queue.SQL["next_tenant_of_any_job"], 1, {"open_jobs_tenant"}),
    (queue.SQL["waiting_of_inactive_tenants"], 2, {"open_jobs_tenant"}),
    (LEDGER_SQL["stream_end"], 1, {"ledger_stream"}),
    (LEDGER_SQL["find_key"], 3, {"PRIMARY KEY"}),
    (reading.SQL["stream"], 4, {"ledger_stream"}),
    (reading.SQL["read_after"], 2, {"INTEGER PRIMARY KEY"}),
]


SORTED = {claiming.SQL["held_leases"], claiming.SQL["expired"], limits.SQL["running"]}
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


# --- limits ----------------------------------------------------------------------------------------------------------


def _steps_of_a_claim(ledger: SqliteLedger, jobs: int, personas: tuple[str, ...] | None = None) -> int:
    """How many instructions of its machine SQLite needs for a claim, which brings so many jobs."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    request = ClaimRequest("w1", ("default",), ("invoice.send",), 10, "v1", 30.0, metadata().time, personas=personas)
    with ledger.database.write() as connection:
        connection.set_progress_handler(count, 1)
        claimed = claiming.claim_in_transaction(connection, request, claiming.Turns()).jobs
        connection.set_progress_handler(None, 0)
    assert len(claimed) == jobs
    return steps


def _limit_bot(ledger: SqliteLedger) -> None:
    bot, limited = Target(Scope.PERSONA, "acme", "bot"), Limits(concurrency=1)
    event = Event(bot.stream, 1, "acme", metadata(), PersonaLimited(subject="bot", reason="test", limits=limited))
    ledger.writer.write([AppendEvents((event,), LimitRow(bot, FlowState(limited)))])


def _steps_beside_a_backlog(path: Path, backlog: int, *, limited_first: bool) -> int:
    migrate(path)
    event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
    with closing(open_ledger(path)) as ledger:
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        if limited_first:
            _limit_bot(ledger)
        about = metadata()
        ledger.writer.write([new_job(persona="bot", priority=50, about=about) for _ in range(backlog)])
        if not limited_first:
            _limit_bot(ledger)
        assert ledger.queue.apply_limits() == (0 if limited_first else backlog)
        assert ledger.queue.apply_limits() == 0
        for_the_first = _steps_of_a_claim(ledger, 1)
        ledger.writer.write([new_job(about=about) for _ in range(10)])
        return for_the_first + _steps_of_a_claim(ledger, 10)


@pytest.mark.parametrize("limited_first", [True, False])
def test_what_a_limit_holds_back_is_not_looked_at(tmp_path: Path, limited_first: bool) -> None:
    """Beside five thousand jobs of a persona at its limit, dispatched after the limit came or before, a claim costs
    what it costs beside fifty."""
    few = _steps_beside_a_backlog(tmp_path / "few.db", 50, limited_first=limited_first)
    many = _steps_beside_a_backlog(tmp_path / "many.db", 5_000, limited_first=limited_first)
    assert many < 1.2 * few


def _steps_of_a_dedicated_worker(path: Path, backlog: int) -> int:
    migrate(path)
    event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
    with closing(open_ledger(path)) as ledger:
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        about = metadata()
        ledger.writer.write([new_job(persona="x", priority=50, about=about) for _ in range(backlog)])
        ledger.writer.write([new_job(persona="bot", about=about)])
        return _steps_of_a_claim(ledger, 1, personas=("bot",))


def test_a_worker_of_one_persona_looks_at_no_others_jobs(tmp_path: Path) -> None:
    """A worker for some personas finds their jobs behind five thousand of others at the price of fifty."""
    few = _steps_of_a_dedicated_worker(tmp_path / "few.db", 50)
    assert _steps_of_a_dedicated_worker(tmp_path / "many.db", 5_000) < 1.2 * few
