"""Numbers for metrics, on real ledgers: right, bounded, and read from indexes."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from jobledger.application.client import LedgerClient
from jobledger.application.message import Actor
from jobledger.domain.errors import LedgerBusy
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.postgres.connections import Connections, Role
from jobledger.infrastructure.postgres.statements import SQL as POSTGRES
from jobledger.infrastructure.projecting import catch_up
from jobledger.infrastructure.settings import load
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.migrations import migrate
from jobledger.infrastructure.sqlite.queue import SQL as SQLITE
from jobledger.projections import ports
from tests.support.use_cases import app

NAMES = ("tenant_jobs", "dlq_jobs", "never_ran")


@pytest.fixture(params=["sqlite", "postgres"])
def handle(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerHandle]:
    """An open ledger with a tenant, once per engine."""
    url = request.getfixturevalue("postgres_dsn") if request.param == "postgres" else f"sqlite:///{tmp_path}/l.db"
    opened = open_ledger(load(database=url), create=True, app=app)
    with LedgerClient(opened.dispatcher, Actor(id="service:test"), close=opened.close) as ledger:
        ledger.tenants.create("acme")
        yield opened


def _dispatch(handle: LedgerHandle, count: int) -> None:
    ledger = LedgerClient(handle.dispatcher, Actor(id="service:test"), close=lambda: None)
    for _ in range(count):
        ledger.of("acme").dispatch("invoice.send", {"invoice_id": "42"})


def _lags(handle: LedgerHandle) -> dict[str, tuple[int, float]]:
    return {lag.projection: (lag.events, lag.seconds) for lag in handle.event_source.lag(NAMES).projections}


def test_lag_is_what_a_projection_has_not_read(handle: LedgerHandle) -> None:
    """Events and the age of the oldest; none once it is current. One that never ran lacks everything."""
    assert catch_up(handle, 20.0)
    everything = _lags(handle)["never_ran"][0]
    assert everything > 0
    assert _lags(handle)["tenant_jobs"] == (0, 0.0)
    _dispatch(handle, 3)
    behind = _lags(handle)
    assert behind["tenant_jobs"][0] == behind["dlq_jobs"][0] == 3
    assert 0 < behind["tenant_jobs"][1] < 60 and behind["never_ran"][0] == everything + 3
    assert catch_up(handle, 20.0)
    assert _lags(handle)["tenant_jobs"] == (0, 0.0)


def test_lag_is_counted_up_to_a_number(handle: LedgerHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A projection that is a million events behind must not be counted through at each scrape."""
    for engine in ("sqlite", "postgres"):
        monkeypatch.setattr(f"jobledger.infrastructure.{engine}.event_source.LAG_EVENTS_MAX", 2)
    _dispatch(handle, 5)
    assert _lags(handle)["never_ran"][0] == 2
    assert ports.LAG_EVENTS_MAX == 10_000


def test_an_open_transaction_that_appended_makes_the_horizon_old(postgres_dsn: str) -> None:
    """What commits after it cannot be read, and says since when; as soon as it ends, nothing waits."""
    with closing(open_ledger(load(database=postgres_dsn), app=app)) as handle, psycopg.connect(postgres_dsn) as blocker:
        ledger = LedgerClient(handle.dispatcher, Actor(id="service:test"), close=lambda: None)
        ledger.tenants.create("acme")
        _until(lambda: _horizon_age(handle) == 0)
        blocker.execute("SELECT 1")
        ledger.of("acme").dispatch("invoice.send", {"invoice_id": "1"}, connection=blocker)
        assert _horizon_age(handle) == 0, "nobody waits for it yet"
        _dispatch(handle, 2)
        first = _horizon_age(handle)
        assert 0 < first < 60
        _until(lambda: _horizon_age(handle) > max(first, 0.05))
        blocker.commit()
        _until(lambda: _horizon_age(handle) == 0)


def _horizon_age(handle: LedgerHandle) -> float:
    return handle.event_source.lag(()).horizon_age_seconds


def _until(condition: Callable[[], bool]) -> None:
    """The horizon is asked for every 5 ms at most, so its age may lag by as much."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def test_counting_waits_for_nobody(postgres_dsn: str) -> None:
    """Where somebody locks the queue, a scrape does without."""
    with closing(open_ledger(load(database=postgres_dsn), app=app)) as handle, psycopg.connect(postgres_dsn) as locker:
        locker.execute("LOCK TABLE jobledger.open_jobs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LedgerBusy):
            handle.ports.queue.counts()
        locker.rollback()
        assert handle.ports.queue.counts() == []


def test_a_long_read_of_sqlite_is_cut_off(tmp_path: Path) -> None:
    """After its time, with an error that says to try again; the connection goes on."""
    migrate(tmp_path / "ledger.db")
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with closing(Database(tmp_path / "ledger.db")) as database:
        with pytest.raises(LedgerBusy), database.read(at_most_seconds=0.05) as connection:
            connection.execute(endless).fetchone()
        with database.read() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


# --- plans -----------------------------------------------------------------------------------------------------------

COLUMNS = (
    "job_id, tenant_id, version, status, queue, job_type, priority, due_at, attempts_allowed, stalls, worker, "
    "lock_key, lane, spec, identity, thread, payload"
)
READ_FROM = {
    "open_jobs_ready", "open_jobs_ready_in_lane", "open_jobs_ready_stalled", "open_jobs_delayed", "open_jobs_held",
    "open_jobs_parked",
}  # fmt: skip


def _explained(connections: Connections, statement: str) -> tuple[set[str], set[str]]:
    """Kinds of plan nodes, and the indexes that they read."""
    with connections.connection(Role.WORKER) as connection:
        (plan,) = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}").fetchone() or ((),)
    nodes, indexes, left = set[str](), set[str](), [plan[0]["Plan"]]
    while left:
        node = left.pop()
        nodes.add(node["Node Type"])
        indexes |= {node["Index Name"]} if "Index Name" in node else set()
        left += node.get("Plans", [])
    return nodes, indexes


def test_counting_reads_indexes_on_postgres(postgres_dsn: str) -> None:
    """Each part the one that holds its jobs, and not their rows: a backlog's payloads are not read to count it."""
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("SET search_path = jobledger; SET ROLE jobledger_writer")
        connection.execute(
            f"INSERT INTO open_jobs ({COLUMNS}) SELECT gen_random_uuid(), 'acme', 1,"
            " CASE WHEN n % 50 = 0 THEN 'dlq' WHEN n % 49 = 0 THEN 'delayed' ELSE 'pending' END, 'queue-' || n % 3,"
            " 't', 0, now(), 5, 0, NULL, NULL, NULL, '', '', '', repeat('x', 500)::bytea"
            " FROM generate_series(1, 20000) AS n"
        )
        connection.execute("RESET ROLE; ANALYZE open_jobs")
    with closing(Connections(postgres_dsn)) as connections:
        nodes, indexes = _explained(connections, POSTGRES["counts"])
    assert "Seq Scan" not in nodes and "Index Only Scan" in nodes
    assert indexes == READ_FROM


def test_counting_reads_indexes_on_sqlite(tmp_path: Path) -> None:
    """As there."""
    migrate(tmp_path / "ledger.db")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        steps: list[Any] = connection.execute(f"EXPLAIN QUERY PLAN {SQLITE['counts']}").fetchall()
    details = [step[3] for step in steps if "open_jobs" in step[3]]
    assert len(details) == len(READ_FROM) and all("INDEX" in detail for detail in details), json.dumps(details)
    assert {word for detail in details for word in detail.split() if word.startswith("open_jobs_")} == READ_FROM
