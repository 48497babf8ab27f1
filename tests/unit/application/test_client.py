"""jobledger for the code of a service: plain methods over the one dispatcher."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

import jobledger
from jobledger import Dispatch, IllegalTransition, InvalidInput, JobStatus, NotFound, Refused, UnknownTenant
from jobledger.application.client import LedgerClient
from jobledger.application.dlq_messages import DlqProgress
from tests.support.use_cases import ACTOR, START, UseCases, app, item


def opened(cases: UseCases) -> LedgerClient:
    """A client of the use cases."""
    return LedgerClient(cases.dispatcher, ACTOR)


def test_a_service_dispatches_and_looks() -> None:
    """Its own write is seen, its history told."""
    cases = UseCases()
    with opened(cases) as ledger:
        receipt = ledger.dispatch("invoice.send", {"invoice_id": "42"}, tenant="acme", persona="bot", priority=3)
        job = ledger.jobs.get(receipt.job_id, tenant="acme", after=receipt.position)
        assert (job.status, job.state.priority, job.state.persona) == (JobStatus.PENDING, 3, "bot")
        assert [event.topic for event in ledger.jobs.history(receipt.job_id, tenant="acme").events] == [
            "job.dispatched"
        ]


def test_a_refusal_is_raised() -> None:
    """Who wants it as a value asks the dispatcher, or dispatches many."""
    ledger = opened(UseCases())
    with pytest.raises(UnknownTenant):
        ledger.dispatch("invoice.send", {"invoice_id": "42"}, tenant="ghost")
    results = ledger.dispatch_many([item(), item(tenant="ghost")])
    assert [result.is_accepted for result in results] == [True, False]
    assert isinstance(results[1], Refused)


def test_one_tenants_ledger() -> None:
    """`of` names the tenant once; without one the caller is asked."""
    cases = UseCases()
    ledger = opened(cases)
    acme = ledger.of("acme")
    receipt = acme.dispatch("invoice.send", {"invoice_id": "42"})
    acme.dispatch_many([Dispatch("invoice.send", {"invoice_id": "43"}), item(tenant="other")])
    assert acme.jobs.get(receipt.job_id).tenant == "acme"
    assert len(acme.jobs.list().rows) == 2
    with pytest.raises(InvalidInput, match="whose job"):
        ledger.jobs.list()


def test_everything_that_can_be_done_to_jobs() -> None:
    """Each method is a command."""
    cases = UseCases()
    jobs = opened(cases).of("acme").jobs
    one = cases.dispatch(persona="bot").job_id
    assert jobs.reschedule(one, reason="x", due_at=START + timedelta(hours=1)).status is JobStatus.DELAYED
    assert jobs.update_status(one, "pending", reason="x").status is JobStatus.PENDING
    assert jobs.cancel(one, reason="x").status is JobStatus.CANCELLED
    with pytest.raises(IllegalTransition):
        jobs.cancel(one, reason="x")
    dead = cases.dead().job_id
    assert [row.job_id for row in jobs.dlq().rows] == [dead]
    assert jobs.requeue(dead, reason="x", payload={"invoice_id": "43"}).status is JobStatus.PENDING
    cases.fail(cases.claim()[0], for_good=True)
    assert jobs.discard(dead, reason="x", ticket="OPS-1").status is JobStatus.DISCARDED
    assert [row.job_id for row in jobs.list(persona="bot", status="cancelled").rows] == [one]


def test_what_was_counted_is_requeued_or_discarded() -> None:
    """The count itself is the confirmation: what died later stays, however often it is handed in."""
    cases = UseCases()
    dlq = opened(cases).of("acme").dlq
    first = cases.dead(persona="bot").job_id
    cases.clock.advance(1)
    seen = dlq.count(persona="bot", error_type="Broken")
    late = cases.dead(persona="bot").job_id
    assert dlq.get(first).death.reason == "unrecoverable"
    told: list[DlqProgress] = []
    assert dlq.requeue(seen, reason="fixed", ticket="OPS-1", attempts=2, progress=told.append).changed == 1
    assert [progress.changed for progress in told] == [1]
    assert [row.job_id for row in dlq.list(dlq_reason="unrecoverable").rows] == [late]
    assert dlq.discard(seen, reason="twice").changed == 0
    assert dlq.discard(dlq.count(), reason="hopeless").changed == 1
    assert [one.begun.act for one in dlq.acts()] == ["discard", "discard", "requeue"]
    with pytest.raises(InvalidInput):
        dlq.requeue(dlq.count(), reason="there is nothing")


def test_places_of_a_payload_are_changed() -> None:
    """By JSON pointers."""
    cases = UseCases()
    jobs = opened(cases).of("acme").jobs
    dead = cases.dead(payload={"invoice_id": "42", "note": "old", "copies": 2}).job_id
    jobs.requeue(dead, reason="typo", put={"/note": "new"}, without=["/copies"])
    assert jobs.get(dead, bodies=True).payload == b'{"invoice_id":"42","note":"new","lines":[],"copies":1}'


def test_a_manual_dispatch_is_marked() -> None:
    """A reason makes it one."""
    cases = UseCases()
    receipt = opened(cases).dispatch("invoice.send", {"invoice_id": "42"}, tenant="acme", reason="by hand")
    assert "by hand" in repr(cases.events(receipt.job_id)[0].facts)


def test_tenants_and_types() -> None:
    """Created, suspended, resumed, listed; registered and listed."""
    ledger = opened(UseCases())
    assert ledger.tenants.create("nova").status == "active"
    assert ledger.tenants.suspend("nova", reason="x").status == "suspended"
    assert ledger.tenants.resume("nova", reason="x").status == "active"
    assert [row.name for row in ledger.tenants.list()] == ["acme", "nova", "other"]
    assert ledger.types.register(app).changed
    assert len(ledger.types.list()) == len(app.jobs)


def test_closing_lets_go() -> None:
    """Once, by whoever opened it."""
    closed: list[bool] = []
    with LedgerClient(UseCases().dispatcher, ACTOR, close=lambda: closed.append(True)) as ledger:
        with ledger.of("acme"):
            pass
        assert closed == []
    assert closed == [True]


def test_the_public_names_are_there() -> None:
    """What a service imports."""
    assert set(jobledger.__all__) <= set(dir(jobledger))
    assert all(getattr(jobledger, name).__doc__ for name in jobledger.__all__ if name != "Result")


def test_importing_jobledger_is_light() -> None:
    """No driver, no command line, no settings: a service that only declares jobs loads none of them."""
    heavy = ("typer", "psycopg", "sqlite3", "jsonschema_rs", "pydantic_settings", "eventsourcing")
    code = f"import sys, jobledger; print([name for name in {heavy!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_everything_that_can_be_asked_of_the_past() -> None:
    """One job as it was, what changed, what caused what; who intervened; the events themselves; statistics."""
    cases = UseCases()
    acme = opened(cases).of("acme")
    job = acme.dispatch("invoice.send", {"invoice_id": "42"}, correlation_id="order 7").job_id
    first = acme.jobs.history(job).events[0].recorded_at
    acme.jobs.reschedule(job, priority=9, reason="urgent")
    assert (acme.jobs.get(job, as_of=1).state.priority, acme.jobs.get(job).state.priority) == (0, 9)
    assert acme.jobs.get(job, as_of=first + timedelta(days=1)).past is not None
    assert [change.name for change in acme.jobs.diff(job, 1).fields] == ["priority"]
    assert acme.jobs.diff(job, 2, 1).topics == ("job.rescheduled",)
    assert [row.job_id for row in acme.jobs.list_as_of(first + timedelta(days=1)).rows] == [job]
    assert acme.jobs.causes(job).correlation_id == "order 7"
    assert [traced.job_id for traced in acme.jobs.trace("order 7").jobs] == [job]
    with pytest.raises(NotFound):
        acme.jobs.trace("order 8")
    assert [act.act.what for act in acme.audit.actions().acts] == ["created", "rescheduled"]
    export = acme.audit.begin_export(types=["job.*"], reason="audit")
    assert [event.topic for event in export.events] == ["job.dispatched", "job.rescheduled"]
    acme.audit.end_export(export, events=2, first_position=1, last_position=2, sha256="0" * 64)
    ended = acme.audit.export_record(export.export_id).ended
    assert ended is not None and ended.events == 2
    assert acme.statistics.of_tenant(by=["job_type"]).more is False
    assert acme.statistics.of_queues().more is False and acme.workers.list() == ()
