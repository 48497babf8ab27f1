"""Every use case on real ledgers, through the public interface (R0.3)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest

from jobledger import (
    Dispatch,
    IdempotencyConflict,
    IllegalTransition,
    InvalidInput,
    JobStatus,
    Ledger,
    NotFound,
    Rate,
    Refused,
    UnknownTenant,
)
from jobledger.application.client import LedgerClient
from jobledger.application.limit_messages import HoldKind, TargetChanged
from jobledger.application.message import Actor
from jobledger.application.ports import ClaimRequest
from jobledger.application.queries import ListTenantJobs
from jobledger.application.result import Accepted
from jobledger.domain.errors import NotYetVisible, TenantSuspended
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.limit import FlowState, Limits
from jobledger.domain.refusal import DispatchRefused
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.projecting import catch_up
from jobledger.infrastructure.settings import load
from tests.support.use_cases import app, item

_SECONDS = 20.0
_NOBODY = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


class Opened(NamedTuple):
    """A ledger with the tenants `acme` and `other`, and what a test needs of it."""

    url: str
    handle: LedgerHandle
    ledger: LedgerClient
    connect: Callable[[], Any]
    """A caller's own connection, with a transaction that was begun and a table `invoices`."""

    @property
    def acme(self) -> LedgerClient:
        """The ledger for one tenant."""
        return self.ledger.of("acme")

    def dead(self) -> UUID:
        """A job in the DLQ: it ran and reported that it cannot succeed."""
        receipt = self.acme.dispatch("invoice.send", {"invoice_id": "42"}, max_stalled=0)
        self.acme.jobs.update_status(receipt.job_id, "dlq", reason="cannot succeed")
        return receipt.job_id

    def claim(self) -> UUID:
        """Let worker w1 begin the only ready job."""
        request = ClaimRequest("w1", ("default",), tuple(app.jobs), 1, "v1", 30.0, datetime.now(UTC))
        (job,) = self.handle.ports.queue.claim(request).jobs
        return job.job_id

    def refusals(self) -> list[str]:
        """The codes of the refused dispatches that were recorded."""
        events = self.handle.ports.reader.read_after(0, limit=10_000).events
        found = [event.facts for event in events if event.tenant == SYSTEM_TENANT]
        return [facts.code for facts in found if isinstance(facts, DispatchRefused)]


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Once per engine."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("postgres_dsn")
        connect: Callable[[], Any] = lambda: psycopg.connect(url)  # noqa: E731
    else:
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
        connect = lambda: _sqlite(tmp_path / "ledger.db")  # noqa: E731
    handle = open_ledger(load(database=url), create=True, app=app)
    with LedgerClient(handle.dispatcher, Actor(id="service:test"), close=handle.close) as ledger:
        for tenant in ("acme", "other"):
            ledger.tenants.create(tenant)
        with closing(connect()) as connection:
            connection.execute("CREATE TABLE invoices (id text)")
            connection.commit()
        yield Opened(url, handle, ledger, lambda: _begun(connect))


def _sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=20)


@contextmanager
def _begun(connect: Callable[[], Any]) -> Iterator[Any]:
    with closing(connect()) as connection:
        connection.execute("INSERT INTO invoices VALUES ('42')")
        yield connection


# --- dispatch --------------------------------------------------------------------------------------------------------


def test_a_job_is_dispatched_and_shown(opened: Opened) -> None:
    """With what was given, and its history; ids by their end; nothing for another tenant."""
    due_at = datetime.now(UTC) + timedelta(hours=1)
    receipt = opened.acme.dispatch(
        "invoice.locked", {"invoice_id": "42"}, persona="billing-bot", priority=3, run_at=due_at
    )
    job = opened.acme.jobs.get(receipt.job_id.hex[-8:], after=receipt.position, bodies=True)
    assert (job.job_id, job.status, job.state.priority, job.state.due_at) == (
        receipt.job_id, JobStatus.DELAYED, 3, due_at,
    )  # fmt: skip
    assert (job.state.persona, job.state.lock_key) == ("billing-bot", "invoice:42")
    assert job.payload == b'{"invoice_id":"42","note":"","lines":[],"copies":1}'
    (event,) = opened.acme.jobs.history(receipt.job_id, bodies=True).events
    assert (event.topic, event.body, event.metadata.actor) == ("job.dispatched", job.payload, "service:test")
    with pytest.raises(NotFound):
        opened.ledger.of("other").jobs.get(receipt.job_id)


def test_keys_give_the_first_job_back(opened: Opened) -> None:
    """One job a key, whoever asks; another payload is a conflict."""
    first = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"})
    again = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"})
    assert (again.job_id, again.duplicate) == (first.job_id, True)
    with pytest.raises(IdempotencyConflict):
        opened.acme.dispatch("invoice.keyed", {"invoice_id": "42", "copies": 2})
    assert opened.refusals() == ["idempotency_conflict"]


def test_in_a_batch_only_the_bad_items_are_refused(opened: Opened) -> None:
    """A thousand good ones, four bad ones, one that was there before."""
    items: list[Dispatch] = [item("invoice.keyed", str(number)) for number in range(1_000)]
    items[7] = item(payload={})
    items[500] = item(tenant="ghost")
    items[501] = item("no.such")
    items[502] = item(timeout_seconds=0)
    items[999] = item("invoice.keyed", "3")
    results = opened.ledger.dispatch_many(items)
    assert [n for n, result in enumerate(results) if isinstance(result, Refused)] == [7, 500, 501, 502]
    assert isinstance(results[3], Accepted) and isinstance(results[999], Accepted)
    assert results[999].value.job_id == results[3].value.job_id
    assert opened.refusals() == ["invalid_input", "unknown_tenant", "unknown_job_type", "invalid_input"]


def test_a_dispatch_commits_with_the_callers_transaction(opened: Opened) -> None:
    """Invoice and job together."""
    with opened.connect() as connection:
        receipt = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"}, connection=connection)
        with pytest.raises(NotFound):
            opened.acme.jobs.get(receipt.job_id)
        connection.commit()
    assert opened.acme.jobs.get(receipt.job_id).status is JobStatus.PENDING
    again = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"})
    assert again.job_id == receipt.job_id


def test_a_dispatch_vanishes_with_the_callers_transaction(opened: Opened) -> None:
    """Neither invoice nor job; the key is free again."""
    with opened.connect() as connection:
        lost = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"}, connection=connection)
        connection.rollback()
    with pytest.raises(NotFound):
        opened.acme.jobs.get(lost.job_id)
    assert not opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"}).duplicate


def test_a_refusal_inside_a_transaction_leaves_it_usable(opened: Opened) -> None:
    """It answers at once, is recorded on its own, and the caller goes on."""
    with opened.connect() as connection:
        with pytest.raises(UnknownTenant):
            opened.ledger.dispatch("invoice.send", {"invoice_id": "1"}, tenant="ghost", connection=connection)
        opened.acme.dispatch("invoice.send", {"invoice_id": "1"}, connection=connection)
        connection.commit()
    opened.acme.dispatch("invoice.send", {"invoice_id": "2"})  # behind the record, in the same queue of writes
    assert opened.refusals() == ["unknown_tenant"]


def test_a_duplicate_inside_a_transaction_is_the_first_job(opened: Opened) -> None:
    """Whether the first was dispatched before or in the same transaction."""
    first = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"})
    with opened.connect() as connection:
        again = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"}, connection=connection)
        assert (again.job_id, again.duplicate) == (first.job_id, True)
        one = opened.acme.dispatch("invoice.keyed", {"invoice_id": "43"}, connection=connection)
        two = opened.acme.dispatch("invoice.keyed", {"invoice_id": "43"}, connection=connection)
        assert (two.job_id, two.duplicate) == (one.job_id, True)


def test_a_connection_of_another_kind_is_refused(opened: Opened) -> None:
    """With the field's name."""
    with pytest.raises(InvalidInput) as caught:
        opened.acme.dispatch("invoice.send", {"invoice_id": "1"}, connection=object())
    assert caught.value.field == "connection"


def test_a_client_without_the_code_dispatches_by_the_registry(opened: Opened) -> None:
    """What a worker published is enough to validate; keys are the same as with the code."""
    assert opened.ledger.types.register(app).changed == tuple(sorted(app.jobs))
    assert opened.ledger.types.register(app).changed == ()
    with_code = opened.acme.dispatch("invoice.keyed", {"invoice_id": "42"})
    with Ledger.open(opened.url) as other:
        assert [row.definition.name for row in other.types.list()] == sorted(app.jobs)
        again = other.dispatch("invoice.keyed", {"invoice_id": "42"}, tenant="acme")
        assert (again.job_id, again.duplicate) == (with_code.job_id, True)
        with pytest.raises(InvalidInput, match="required"):
            other.dispatch("invoice.keyed", {}, tenant="acme")


# --- control ---------------------------------------------------------------------------------------------------------


def test_jobs_are_cancelled_rescheduled_requeued_and_discarded(opened: Opened) -> None:
    """Each act is a decision on record; what is over is over."""
    jobs = opened.acme.jobs
    one = opened.acme.dispatch("invoice.send", {"invoice_id": "42"}).job_id
    later = datetime.now(UTC) + timedelta(hours=1)
    assert jobs.reschedule(one, reason="later", due_at=later, priority=9).status is JobStatus.DELAYED
    assert jobs.cancel(one, reason="not needed").status is JobStatus.CANCELLED
    with pytest.raises(IllegalTransition, match="cancelled cannot become cancelled"):
        jobs.cancel(one, reason="again")
    dead = opened.dead()
    assert jobs.requeue(dead, reason="typo", payload={"invoice_id": "43"}).status is JobStatus.PENDING
    assert b'"43"' in (jobs.get(dead, bodies=True).payload or b"")
    assert opened.claim() == dead
    jobs.update_status(dead, "failed", worker="w1", attempt=1, reason="printer on fire")
    jobs.update_status(dead, "dlq", reason="cannot succeed")
    assert jobs.discard(dead, reason="hopeless").status is JobStatus.DISCARDED


def test_who_runs_a_job_reports_its_end(opened: Opened) -> None:
    """The result is stored; a second report is refused, and so is one of somebody else."""
    job_id = opened.acme.dispatch("invoice.send", {"invoice_id": "42"}).job_id
    opened.claim()
    asked = opened.acme.jobs.cancel(job_id, reason="perhaps")
    assert asked.status is JobStatus.IN_PROGRESS
    report = {"worker": "w1", "attempt": 1, "result": {"sent": 1}}
    assert opened.acme.jobs.update_status(job_id, "completed", **report).status is JobStatus.COMPLETED  # type: ignore[arg-type]
    with pytest.raises(IllegalTransition, match="completed cannot become completed"):
        opened.acme.jobs.update_status(job_id, "completed", **report)  # type: ignore[arg-type]
    assert opened.acme.jobs.get(job_id, bodies=True).result == b'{"sent":1}'


def test_nobody_touches_another_tenants_job(opened: Opened) -> None:
    """It is not there, as if it never was."""
    job_id = opened.acme.dispatch("invoice.send", {"invoice_id": "42"}).job_id
    other = opened.ledger.of("other").jobs
    for reference in (job_id, job_id.hex[-8:], _NOBODY):
        with pytest.raises(NotFound):
            other.cancel(reference, reason="x")
    assert opened.acme.jobs.get(job_id).status is JobStatus.PENDING


# --- lists -----------------------------------------------------------------------------------------------------------


def test_lists_show_what_was_written(opened: Opened) -> None:
    """By tenant, by persona, the DLQ; with filters and pages; once the projections have read it."""
    mine = opened.acme.dispatch("invoice.keyed", {"invoice_id": "1"}, persona="billing-bot")
    others = [opened.acme.dispatch("invoice.send", {"invoice_id": str(n)}) for n in range(3)]
    opened.ledger.dispatch("invoice.send", {"invoice_id": "1"}, tenant="other")
    dead = opened.dead()
    with pytest.raises(NotYetVisible):
        opened.ledger.dispatcher.send(
            ListTenantJobs, actor=opened.ledger.actor, tenant="acme", after=mine.position, timeout_seconds=0
        ).unwrap()
    assert catch_up(opened.handle, _SECONDS)
    newest_first = [dead, *(receipt.job_id for receipt in reversed(others)), mine.job_id]
    jobs = opened.acme.jobs
    assert [row.job_id for row in jobs.list(after=others[-1].position or "").rows] == newest_first
    first = jobs.list(limit=3)
    second = jobs.list(limit=3, cursor=first.cursor or "")
    assert [row.job_id for row in (*first.rows, *second.rows)] == newest_first
    assert second.cursor is None
    assert [row.job_id for row in jobs.list(persona="billing-bot").rows] == [mine.job_id]
    assert [row.job_id for row in jobs.list(kind="ai").rows] == [mine.job_id]
    assert [row.job_id for row in jobs.list(status="dlq", failed=True).rows] == [dead]
    assert [row.job_id for row in jobs.dlq(dead_from=datetime.now(UTC) - timedelta(minutes=1)).rows] == [dead]
    assert jobs.dlq(dead_to=datetime.now(UTC) - timedelta(minutes=1)).rows == ()
    row = jobs.list(queue="keyed").rows[0]
    assert (row.tenant, row.persona, row.job_type, row.kind, row.priority) == (
        "acme", "billing-bot", "invoice.keyed", "ai", 5,
    )  # fmt: skip


# --- tenants ---------------------------------------------------------------------------------------------------------


def test_tenants_are_managed(opened: Opened) -> None:
    """Created once, suspended and resumed; a suspended one dispatches nothing."""
    tenants = opened.ledger.tenants
    assert tenants.create("nova", display_name="Nova Ltd.").status == "active"
    with pytest.raises(IllegalTransition, match="exists already"):
        tenants.create("nova")
    tenants.suspend("nova", reason="unpaid")
    with pytest.raises(TenantSuspended):
        opened.ledger.dispatch("invoice.send", {"invoice_id": "1"}, tenant="nova")
    tenants.resume("nova", reason="paid")
    opened.ledger.dispatch("invoice.send", {"invoice_id": "1"}, tenant="nova")
    assert {row.name: row.display_name for row in tenants.list()}["nova"] == "Nova Ltd."


# --- limits ----------------------------------------------------------------------------------------------------------


def test_limits_that_are_changed_at_once_are_all_recorded(opened: Opened) -> None:
    """Several people set the first limits of a target in the same moment: each is decided anew after the others, none
    is lost, none overwrites what another one set."""
    together = threading.Barrier(4)

    def change(**limits: Any) -> TargetChanged:  # noqa: ANN401 - goes through
        together.wait()
        return opened.acme.limits.set(tenant="acme", reason="at once", **limits)

    with ThreadPoolExecutor(4) as people:
        wanted = ({"concurrency": 5}, {"rate": "100/60s"}, {"weight": 7}, {"concurrency": 5})
        changed = [done.result(_SECONDS) for done in [people.submit(change, **limits) for limits in wanted]]
    (row,) = opened.ledger.limits.list()
    assert row.state == FlowState(Limits(concurrency=5, rate=Rate(count=100, seconds=60), weight=7))
    past = opened.ledger.limits.history(tenant="acme")
    assert [event.originator_version for event in past.events] == [1, 2, 3]
    assert (past.state, sum(one.changed for one in changed)) == (row.state, 3)


def test_what_is_limited_is_seen_and_explained(opened: Opened) -> None:
    """Through every adapter: the list, the queues, the history, and why a job waits."""
    waiting = opened.acme.dispatch("invoice.locked", {"invoice_id": "42"}, persona="billing-bot", limit_key="gateway:7")
    opened.ledger.limits.pause(queue="default", reason="deploy")
    opened.acme.limits.set(persona="billing-bot", concurrency=1, rate="1/1h", reason="one mailbox")
    opened.acme.limits.pause(key="gateway:*", reason="down")
    assert [(row.target.scope, row.state.paused) for row in opened.ledger.limits.list()] == [
        ("key", True), ("persona", False), ("queue", True),
    ]  # fmt: skip
    (queue,) = opened.ledger.queues.list()
    assert (queue.queue, queue.state.paused, queue.jobs) == ("default", True, {JobStatus.PENDING: 1})
    kinds = [hold.kind for hold in opened.acme.jobs.explain(waiting.job_id).holds]
    assert kinds == [HoldKind.PAUSED, HoldKind.PAUSED, HoldKind.NO_WORKER]

    opened.ledger.limits.resume(queue="default", reason="deployed")
    opened.acme.limits.resume(key="gateway:*", reason="back")
    assert opened.claim() == waiting.job_id
    held = opened.acme.dispatch("invoice.locked", {"invoice_id": "42"}, persona="billing-bot")
    holds = {hold.kind: hold for hold in opened.acme.jobs.explain(held.job_id).holds}
    assert list(holds) == [HoldKind.CONCURRENCY, HoldKind.RATE, HoldKind.LOCKED, HoldKind.NO_WORKER]
    assert holds[HoldKind.LOCKED].job_id == waiting.job_id
    assert (holds[HoldKind.CONCURRENCY].used, holds[HoldKind.RATE].used) == (1, 1)
    opened.acme.limits.remove(persona="billing-bot", reason="two mailboxes")
    assert [hold.kind for hold in opened.acme.jobs.explain(held.job_id).holds] == [HoldKind.LOCKED, HoldKind.NO_WORKER]
