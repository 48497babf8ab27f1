"""A service that ends: its lists catch up first, unless there is no time for that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from jobledger import Ledger
from jobledger.application.worker import WorkerEventName
from jobledger.infrastructure import service as service_module
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.service import Service, worker_options
from jobledger.infrastructure.settings import Settings
from jobledger.projections.catalogue import ALL_PROJECTIONS
from tests.support.sample_app import app

WAIT_SECONDS = 30.0


@pytest.fixture
def handle(postgres_dsn: str) -> Iterator[LedgerHandle]:
    """An open ledger with a tenant and a job."""
    with Ledger.open(postgres_dsn, app=app) as ledger:
        ledger.tenants.create("acme", reason="a customer")
        ledger.types.register(app)
        ledger.dispatch("sample.ok", {"text": "hello"}, tenant="acme")
    with closing(open_ledger(Settings(database=postgres_dsn), app=app)) as handle:
        yield handle


def test_a_stop_at_once_does_not_wait_for_the_lists(
    handle: LedgerHandle, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody else owns the lists a service that stops gracefully waits for them; asked again, it ends."""
    monkeypatch.setattr(service_module, "_CATCH_UP_SECONDS", 3_600.0)
    service = Service(handle, app, worker_options(handle.settings, app))
    processed, closed = threading.Event(), threading.Event()
    service.events.on(WorkerEventName.PROCESSED, lambda _: processed.set())
    service.events.on(WorkerEventName.CLOSED, lambda _: closed.set())
    other = open_ledger(Settings(database=postgres_dsn))
    with closing(other), other.view_store.begin(ALL_PROJECTIONS) as owned:
        assert owned is not None
        service.start()
        assert processed.wait(WAIT_SECONDS)
        service.request_stop()
        assert closed.wait(WAIT_SECONDS)
        service.request_stop_now()
        assert service.close(WAIT_SECONDS)
