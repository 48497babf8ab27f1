"""The statements of the queue and of the ledger read by indexes, however large the tables are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from jobledger.application.writes import AppendEvents, TenantRow
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.connections import Role
from jobledger.infrastructure.postgres.statements import SQL
from tests.contract.support import job_id, metadata, new_job

SOME = job_id()

_OF_TENANT: dict[str, object] = {
    "tenant": "acme", "after": 0, "until": 1 << 40, "limit": 10, "topics": ["job.started"],
    "recorded_from": datetime(2026, 1, 1, tzinfo=UTC), "recorded_to": None, "families": [], "without": ["t"],
    "marked": "t", "mark": b"m",
}  # fmt: skip

PLANS: list[tuple[str, Role, tuple[object, ...] | dict[str, object], str]] = [
    (SQL["stream"], Role.API, ("acme", SOME, 0, 10), "originator_id"),
    (SQL["stream_with_bodies"], Role.API, ("acme", SOME, 0, 10), "originator_id"),
    (SQL["streams"], Role.API, ([SOME], "acme"), "originator_id"),
    (SQL["read_after"], Role.PROJECTOR, (0, 1 << 40, 10), "notification_id"),
    (SQL["read_topics_after"], Role.PROJECTOR, (0, 1 << 40, ["t"], 10), "notification_id"),
    (SQL["tenant_events"], Role.API, _OF_TENANT, "tenant_id_notification_id"),
    (SQL["tenant_events_with_bodies"], Role.API, _OF_TENANT, "tenant_id_notification_id"),
    (SQL["events_of_all"], Role.PROJECTOR, _OF_TENANT, "notification_id"),
    (SQL["stored_events"], Role.API, ("acme", [SOME]), "originator_id"),
    (SQL["open_jobs"], Role.API, ("acme", [SOME]), "open_jobs_pkey"),
    (SQL["expired"], Role.WORKER, (10,), "open_jobs_held"),
    (SQL["next_due"], Role.WORKER, (["default"],), "open_jobs_delayed"),
    (SQL["next_due"], Role.WORKER, (["default"],), "open_jobs_ready"),
    (SQL["heartbeat"], Role.WORKER, ("w", "v", ["q"], 1, 0, 30.0, "{}", "w"), "open_jobs_held"),
]


@pytest.fixture(scope="module")
def filled(request: pytest.FixtureRequest) -> Iterator[PostgresLedger]:
    """A ledger with some thousand jobs and current statistics."""
    cluster = request.getfixturevalue("postgres_cluster")
    with cluster.database(migrated=True) as dsn, closing(open_ledger(dsn)) as ledger:
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        about = metadata()
        ledger.writer.write([new_job(about=about) for _ in range(3_000)])
        ledger.writer.write([new_job(about=about, status="delayed", due_in_seconds=60) for _ in range(500)])
        yield ledger


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_a_statement_reads_by_an_index(filled: PostgresLedger, number: int) -> None:
    """No sequential scan of the ledger or the queue, and the index that is meant for it."""
    statement, role, parameters, index = PLANS[number]
    with filled.connections.connection(role) as connection:
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {statement}".encode(), parameters))
    assert "Seq Scan on ledger" not in plan, plan
    assert "Seq Scan on open_jobs" not in plan, plan
    assert index in plan, plan
