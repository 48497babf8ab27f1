"""Projections never run past a transaction that is still open."""

from __future__ import annotations

import psycopg

from jobledger.application.ports import JobFilter
from jobledger.application.writes import AppendEvents, TenantRow
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from jobledger.infrastructure.postgres.event_source import PostgresEventSource
from jobledger.infrastructure.postgres.job_views import PostgresJobViews
from jobledger.infrastructure.postgres.views import PostgresViewStore
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.runner import Runner

from ..contract.support import metadata, new_job


def create_tenant(ledger: PostgresLedger) -> None:
    event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
    ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])


def test_a_job_that_commits_late_is_not_skipped(postgres_dsn: str) -> None:
    """A caller's open transaction took its position first: later jobs wait for it, then all appear."""
    ledger = open_ledger(postgres_dsn)
    create_tenant(ledger)
    store, source = PostgresViewStore(ledger.connections), PostgresEventSource(ledger.connections)
    runner = Runner(store, source, ALL_PROJECTIONS)
    views = PostgresJobViews(ledger.connections)
    with psycopg.connect(postgres_dsn) as caller:
        slow = new_job()
        ledger.transaction_writer.dispatch(caller, [slow])
        (quick,) = ledger.writer.write([new_job()])
        runner.run_until_current()
        held = views.tenant_jobs("acme", JobFilter(), after=None, limit=9)
        assert held.rows == () and quick.position is not None and held.freshness.head < quick.position
        caller.commit()
    runner.start()
    assert runner.wait_for(quick.position, 10)
    runner.stop()
    rows = views.tenant_jobs("acme", JobFilter(), after=None, limit=9).rows
    assert slow.event.originator_id in {row.job_id for row in rows} and len(rows) == 2
    store.close()
    source.close()
    ledger.close()
