"""The eventsourcing library's application over our ledger, with either `PERSISTENCE_MODULE`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventsourcing.persistence import IntegrityError

from jobledger.domain.errors import InvalidInput
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated, TenantSuspended
from jobledger.infrastructure.ledger_application import LedgerApplication

from .support import metadata, new_job


@pytest.fixture(params=["sqlite", "postgres"])
def application(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LedgerApplication]:
    """An application over an empty ledger, once per engine."""
    if request.param == "sqlite":
        where = {"SQLITE_DBNAME": str(tmp_path / "ledger.db")}
    else:
        where = {"POSTGRES_DBNAME": request.getfixturevalue("postgres_dsn")}
    application = LedgerApplication({"PERSISTENCE_MODULE": f"jobledger.infrastructure.{request.param}", **where})
    yield application
    application.close()


def _created(name: str) -> Event:
    return Event(stream_id(name, "tenant", name), 1, name, metadata(), TenantCreated(name=name), b"about them")


def test_events_come_back_as_they_were(application: LedgerApplication) -> None:
    """What was appended is the stream's history, with tenant, metadata and body."""
    created = _created("acme")
    suspended = created._replace(originator_version=2, facts=TenantSuspended(name="acme", reason="unpaid"), body=None)
    application.append([created])
    application.append([suspended])
    first, second = application.history(created.originator_id)
    assert isinstance(first, Event)
    assert (first.tenant, first.facts, first.body) == ("acme", created.facts, b"about them")
    assert second == suspended


def test_positions_order_all_streams(application: LedgerApplication) -> None:
    """Notifications of several streams come in the order in which they were appended, and can be followed."""
    for name in ("acme", "beta", "gamma"):
        application.append([_created(name)])
    first, *others = application.notifications()
    assert first.originator_id == _created("acme").originator_id
    assert application.notifications(after=first.id) == others
    with application.recorder.subscribe(gt=first.id) as subscription:
        assert next(subscription) == others[0]


def test_a_version_is_taken_once(application: LedgerApplication) -> None:
    """Appending a version that exists stores nothing of the call."""
    application.append([_created("acme")])
    with pytest.raises(IntegrityError):
        application.append([_created("beta"), _created("acme")])
    assert len(application.notifications()) == 1


def test_jobs_are_not_written_this_way(application: LedgerApplication) -> None:
    """An event of a job is refused: the queue would not hear of it."""
    with pytest.raises(InvalidInput, match=r"jobledger\.Ledger"):
        application.append([new_job().event])
