"""A worker that drains, and jobs that a rate holds back."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from jobledger import App, Dispatch, JobContext, Ledger
from jobledger.application.writes import AppendEvents, LimitRow
from jobledger.domain.event import Event
from jobledger.domain.limit import FlowState, Limits, Rate, TenantLimited, tenant_target
from tests.contract.support import metadata
from tests.support.watched_worker import WAIT_SECONDS


class Nothing(BaseModel):
    """No fields."""


app = App("tested", code_version="1")


@app.job("noop", effects="none")
def noop(_context: JobContext, _payload: Nothing) -> None:
    """Do nothing."""


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_draining_waits_for_a_rate_as_for_what_becomes_due(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    """Without a time to wait the worker ends once the rate is used up; with one it stays until all is done."""
    database = f"sqlite:///{tmp_path}/ledger.db" if engine == "sqlite" else request.getfixturevalue("postgres_dsn")
    target, limits = tenant_target("acme"), Limits(rate=Rate(count=2, seconds=1.0))
    facts = TenantLimited(subject="acme", reason="small", limits=limits)
    event = Event(target.stream, 1, "acme", metadata(), facts)
    with Ledger.open(database, app=app, create=True) as ledger:
        ledger.tenants.create("acme", reason="a customer")
        ledger._handle.ports.writer.write([AppendEvents((event,), LimitRow(target, FlowState(limits)))])
        ledger.dispatch_many(Dispatch("noop", {}, tenant="acme") for _ in range(5))
        ledger.worker(app, drain=True).run()
        at_once = _completed(ledger)
        ledger.worker(app, drain=True, drain_wait_seconds=WAIT_SECONDS).run()
        assert at_once < 5
        assert _completed(ledger) == 5


def _completed(ledger: Ledger) -> int:
    events = ledger._handle.ports.reader.read_after(0, limit=1000).events
    return sum(event.topic == "job.completed" for event in events)
