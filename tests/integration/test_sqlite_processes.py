"""One SQLite file and several processes, a slow writer, a full disk: all work, or say clearly that they could not."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobledger.application.ports import ClaimRequest
from jobledger.application.writes import AppendEvents, TenantRow, WriteStatus
from jobledger.domain.errors import LedgerBusy, LedgerUnavailable
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.group_commit import Limits
from jobledger.infrastructure.sqlite.connect import SqliteLedger, open_ledger
from jobledger.infrastructure.sqlite.migrations import migrate

from ..contract.support import metadata, new_job

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 120


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a ledger with one tenant."""
    path = tmp_path / "ledger.db"
    migrate(path)
    event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
    with closing(open_ledger(path)) as ledger:
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
    return path


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    """The ledger, open, not patient with others, and without pauses between retries."""
    with closing(open_ledger(path, busy_timeout_seconds=0.05, limits=Limits(retry_seconds=(0.0,)))) as ledger:
        yield ledger


def _start(role: str, path: Path, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.sqlite_process", role, str(path), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _result(process: subprocess.Popen[str]) -> dict[str, int]:
    output, errors = process.communicate(timeout=WAIT_SECONDS)
    assert "locked" not in errors
    assert process.returncode == 0, errors
    result: dict[str, int] = json.loads(output)
    return result


def test_several_processes_share_a_file(path: Path) -> None:
    """Three writers, two workers and a reader work at once: every job is dispatched and completed exactly once,
    nobody is told that the database is locked, and the reader misses nothing."""
    jobs = 80 + 40 + 40 + 40  # in bulk; singly without a key, twice; singly, one of two under each key
    processes = {
        "first": _start("dispatch_singly", path, 80), "second": _start("dispatch_singly", path, 80),
        "bulk": _start("dispatch_in_bulk", path, 80), "one": _start("work", path, jobs),
        "two": _start("work", path, jobs), "reader": _start("read", path, jobs),
    }  # fmt: skip
    results = {name: _result(process) for name, process in processes.items()}
    assert results["first"]["written"] + results["second"]["written"] == 120
    assert results["first"].get("duplicate", 0) + results["second"].get("duplicate", 0) == 40
    assert results["one"]["completed"] + results["two"]["completed"] == jobs
    assert results["reader"] == {"events": 1 + 3 * jobs, "out_of_order": 0, "completed": jobs}


def test_a_slow_writer_is_waited_for(path: Path) -> None:
    """While somebody else writes, writers wait; when he has finished, theirs is done."""
    with closing(open_ledger(path)) as ledger, closing(_other(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        future = ledger.writer.submit([new_job()])
        assert not future.done()
        other.execute("COMMIT")
        assert future.result(WAIT_SECONDS)[0].status is WriteStatus.WRITTEN


def test_a_writer_that_does_not_end_is_busy(path: Path, ledger: SqliteLedger) -> None:
    """Beyond the busy timeout a write, a claim and a heartbeat are `LedgerBusy`; readers go on all the time."""
    new = new_job()
    ledger.writer.write([new])
    with closing(_other(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusy):
            ledger.writer.write([new_job()])
        with pytest.raises(LedgerBusy):
            ledger.queue.claim(_claim())
        with pytest.raises(LedgerBusy):
            ledger.queue.goodbye("w1")
        assert len(ledger.reader.stream("acme", new.event.originator_id)) == 1
        assert ledger.queue.next_due_seconds(("default",)) == 0
        other.execute("ROLLBACK")
    assert len(ledger.queue.claim(_claim()).jobs) == 1


def test_a_full_disk_is_said_and_leaves_nothing(path: Path, ledger: SqliteLedger) -> None:
    """Where the file cannot grow, a dispatch is `LedgerUnavailable` and leaves no trace; with room, all goes on."""
    with ledger.database.write() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    refused = [new_job(payload=b'"' + b"x" * 100_000 + b'"', key="k") for _ in range(3)]
    with pytest.raises(LedgerUnavailable, match="disk"):
        ledger.writer.write(refused)
    assert ledger.queue.claim(_claim()).jobs == ()
    for new in refused:
        assert ledger.reader.stream("acme", new.event.originator_id) == []
    with ledger.database.write() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    outcomes = ledger.writer.write(refused)
    assert [outcome.status.value for outcome in outcomes] == ["written", "duplicate", "duplicate"]
    with ledger.database.read() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_many_threads_of_a_process_share_its_writer(path: Path) -> None:
    """Dispatches, claims and reads of many threads at once all work."""
    with closing(open_ledger(path)) as ledger:
        failures: list[BaseException] = []

        def act() -> None:
            try:
                for _ in range(10):
                    ledger.writer.write([new_job()])
                    ledger.queue.claim(_claim())
                    ledger.reader.read_after(0, limit=10)
            except BaseException as error:  # noqa: BLE001 - told to the test
                failures.append(error)

        threads = [threading.Thread(target=act) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        assert failures == []
        topics = [event.topic for event in ledger.reader.read_after(0, limit=1000).events]
        assert topics.count("job.dispatched") == 80


def _other(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def _claim() -> ClaimRequest:
    return ClaimRequest("w1", ("default",), ("invoice.send",), 1, "v1", 30.0, metadata().time)
