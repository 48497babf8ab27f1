"""Dispatching one job: what is checked, what is decided, what is recorded, and what is refused."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from jobledger import App, JobContext, Retry
from jobledger.application.commands import DispatchJob, SuspendTenant
from jobledger.application.preparing import OptionDefaults
from jobledger.domain.errors import (
    IdempotencyConflict,
    InvalidInput,
    LedgerUnavailable,
    PayloadTooLarge,
    ProtectedTenant,
    ReasonRequired,
    Refusal,
    TenantSuspended,
    UnknownJobType,
    UnknownTenant,
    VersionConflict,
)
from jobledger.domain.identifiers import uuid7
from jobledger.domain.job import JobDispatched, JobStatus
from jobledger.domain.options import JobOptions
from tests.support.use_cases import ACTOR, START, Invoice, UseCases, item


def dispatched(cases: UseCases, **options: object) -> JobDispatched:
    """The facts of a dispatch."""
    facts = cases.events(cases.dispatch(**options).job_id)[0].facts  # type: ignore[arg-type]
    assert isinstance(facts, JobDispatched)
    return facts


def test_a_job_is_dispatched() -> None:
    """Its stream begins with `job.dispatched`, its row waits in the queue, the caller gets id and position."""
    cases = UseCases()
    receipt = cases.dispatch(persona="billing-bot")
    (event,) = cases.events(receipt.job_id)
    assert (event.topic, event.originator_version, event.tenant) == ("job.dispatched", 1, "acme")
    assert receipt.position == f"memory.{event.position}"
    assert not receipt.duplicate
    row = cases.ledger.queue.open_jobs("acme", [receipt.job_id])[receipt.job_id]
    assert (row.state.status, row.state.persona, row.payload) == (JobStatus.PENDING, "billing-bot", event.body)


def test_the_payload_is_stored_as_the_type_writes_it() -> None:
    """Canonical JSON, defaults filled in; its hash and length are facts."""
    cases = UseCases()
    event = cases.events(cases.dispatch().job_id)[0]
    assert event.body == b'{"invoice_id":"42","note":"","lines":[],"copies":1}'
    assert event.metadata.body_sha256 == hashlib.sha256(event.body).hexdigest()
    assert event.metadata.body_length == len(event.body)


@pytest.mark.parametrize(
    "payload", [{"invoice_id": "42"}, Invoice(invoice_id="42"), b'{"invoice_id": "42"}', '{"invoice_id":"42"}']
)
def test_a_payload_may_come_in_any_form(payload: object) -> None:
    """A mapping, a model, or JSON text: the same bytes are stored."""
    cases = UseCases()
    event = cases.events(cases.dispatch(payload=payload).job_id)[0]
    assert event.body == b'{"invoice_id":"42","note":"","lines":[],"copies":1}'


def test_every_job_carries_who_and_why() -> None:
    """Actor, correlation id and trace are never absent: what was not given is made (R4.4)."""
    cases = UseCases()
    metadata = cases.events(cases.dispatch().job_id)[0].metadata
    assert (metadata.actor, metadata.authenticated, metadata.time) == (ACTOR.id, True, START)
    assert metadata.correlation_id and len(metadata.trace_id) == 32
    own = {"correlation_id": "order-7", "trace_parent": f"00-{'c' * 32}-{'d' * 16}-01", "causation_id": "event-9"}
    given = cases.events(cases.dispatch(**own).job_id)[0].metadata
    assert (given.correlation_id, given.trace_parent, given.causation_id) == tuple(own.values())


# --- options ---------------------------------------------------------------------------------------------------------


def test_options_resolve_job_then_type_then_queue_then_installation() -> None:
    """And what was resolved is recorded with the dispatch (R3.1)."""
    defaults = OptionDefaults(
        installation=JobOptions(max_stalled=9, priority=1, timeout_seconds=30),
        queues={"keyed": JobOptions(max_stalled=8, priority=2), "other": JobOptions(max_stalled=7)},
    )
    cases = UseCases(defaults=defaults)
    facts = dispatched(cases, job_type="invoice.keyed")
    assert (facts.queue, facts.priority, facts.max_stalled, facts.timeout_seconds) == ("keyed", 5, 8, 60)
    own = dispatched(cases, job_type="invoice.keyed", invoice_id="43", queue="other", priority=-3)
    assert (own.queue, own.priority, own.max_stalled) == ("other", -3, 7)
    assert dispatched(cases).max_stalled == 9


def test_a_job_may_override_every_option() -> None:
    """All of them are recorded."""
    policy = Retry.delays(1, 2)
    facts = dispatched(
        UseCases(), queue="slow", priority=9, retry=policy, timeout_seconds=100, soft_timeout_seconds=50,
        max_stalled=0, lock_key="account-1",
    )  # fmt: skip
    assert (facts.queue, facts.priority, facts.retry) == ("slow", 9, policy)
    assert (facts.timeout_seconds, facts.soft_timeout_seconds, facts.max_stalled) == (100, 50, 0)
    assert facts.lock_key == "account-1"


def test_kind_and_rate_card_come_from_the_type() -> None:
    """The kind is recorded and filterable (R4.2), the version of the prices too (R4.8)."""
    facts = dispatched(UseCases(), job_type="invoice.keyed")
    assert (facts.kind, facts.rate_card_version) == ("ai", "2026-01")
    assert len(facts.payload_schema) == 16


def test_a_delayed_job_waits() -> None:
    """Until its time, given or counted."""
    cases = UseCases()
    later = dispatched(cases, delay_seconds=90)
    assert (later.status, later.due_at) == ("delayed", START + timedelta(seconds=90))
    at = dispatched(cases, run_at=START + timedelta(hours=1))
    assert (at.status, at.due_at) == ("delayed", START + timedelta(hours=1))
    assert dispatched(cases, run_at=START - timedelta(hours=1)).status == "pending"


def test_times_count_from_each_dispatch() -> None:
    """What is remembered between dispatches of the same shape is not the time."""
    cases = UseCases()
    first = dispatched(cases, delay_seconds=10)
    cases.clock.advance(1)
    assert dispatched(cases, delay_seconds=10).due_at == first.due_at + timedelta(seconds=1)


def test_a_lock_key_comes_from_the_payload() -> None:
    """By a pattern or by code; the job's own beats both."""
    cases = UseCases()
    assert dispatched(cases, job_type="invoice.locked").lock_key == "invoice:42"
    assert dispatched(cases, job_type="invoice.computed").lock_key == "lock-42"
    assert dispatched(cases, job_type="invoice.locked", lock_key="mine").lock_key == "mine"


def test_a_limit_key_is_the_jobs_own_or_its_types() -> None:
    """By a pattern of the type's, with and without the type's code; the job's own beats it; most have none."""
    program = App("test", code_version="v1")

    @program.job("invoice.limited", effects="none", limit_key="customer:{invoice_id}")
    def limited(context: JobContext, payload: Invoice) -> None:
        """Limited by customer."""

    for cases in (UseCases(program), UseCases(None)):
        cases.register_types(program)
        assert dispatched(cases, job_type="invoice.limited").limit_key == "customer:42"
        assert dispatched(cases, job_type="invoice.limited", limit_key="mine").limit_key == "mine"
    assert dispatched(UseCases()).limit_key is None
    assert dispatched(UseCases(), limit_key="gateway:7").limit_key == "gateway:7"


@pytest.mark.parametrize("invoice_id", ["x" * 300, "a\x00b"])
def test_no_value_slips_through_a_limit_of_a_prefix(invoice_id: str) -> None:
    """A key that no database holds is hashed behind the beginning that its type gave it; two still differ."""
    program = App("test", code_version="v1")

    @program.job("invoice.limited", effects="none", limit_key="customer:{invoice_id}")
    def limited(context: JobContext, payload: Invoice) -> None:
        """Limited by customer."""

    cases = UseCases(program)
    first, second = (
        dispatched(cases, job_type="invoice.limited", invoice_id=invoice_id + end).limit_key or "" for end in "ab"
    )
    assert first.startswith("customer:sha256:")
    assert len(first) <= 255
    assert first != second


def test_a_manual_dispatch_carries_a_reason() -> None:
    """Without one it is refused (R4.13)."""
    cases = UseCases()
    facts = dispatched(cases, manual=True, reason="asked by phone")
    assert (facts.manual, facts.reason) == (True, "asked by phone")
    cases.refused(ReasonRequired, DispatchJob, item=item(manual=True, reason=" "))


# --- idempotency -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"idempotency_key": "k"}, {"job_type": "invoice.keyed"}, {"job_type": "invoice.computed"}]
)
def test_the_same_key_gives_the_first_job_back(options: dict[str, str]) -> None:
    """Given, made of a field, or computed (rule 3); also when the first job is long done."""
    cases = UseCases()
    first = cases.dispatch(**options)
    again = cases.dispatch(**options)
    assert (again.job_id, again.duplicate) == (first.job_id, True)
    assert len(cases.events(first.job_id)) == 1
    (job,) = cases.claim()
    cases.complete(job)
    assert cases.dispatch(**options).job_id == first.job_id


def test_a_key_with_another_payload_is_a_conflict() -> None:
    """The refusal names the first job, and is recorded."""
    cases = UseCases()
    first = cases.dispatch(idempotency_key="k")
    refusal = cases.refused(IdempotencyConflict, DispatchJob, item=item(invoice_id="43", idempotency_key="k"))
    assert refusal.job_id == first.job_id
    assert [facts.code for facts in cases.refusals()] == ["idempotency_conflict"]


def test_keys_are_per_tenant_and_type() -> None:
    """The same word elsewhere is another key."""
    cases = UseCases()
    ids = {
        cases.dispatch(idempotency_key="k").job_id,
        cases.dispatch(idempotency_key="k", tenant="other").job_id,
        cases.dispatch("invoice.locked", idempotency_key="k").job_id,
    }
    assert len(ids) == 3


def test_a_given_key_beats_the_computed_one() -> None:
    """Two invoices with one given key are one job."""
    cases = UseCases()
    facts = dispatched(cases, job_type="invoice.keyed", idempotency_key="mine")
    assert facts.idempotency_key == "mine"
    assert dispatched(cases, job_type="invoice.keyed").idempotency_key == "42"


def test_a_request_that_is_sent_again_is_the_same_job() -> None:
    """Its key counts where there is no other one: a type that computes its own goes on telling its jobs apart by it."""
    cases = UseCases()
    first, again, other = (cases.dispatch(request_key=key) for key in ("r1", "r1", "r2"))
    assert (again.job_id, again.duplicate) == (first.job_id, True)
    assert (other.job_id != first.job_id, other.duplicate) == (True, False)
    assert dispatched(cases, request_key="r3", idempotency_key="mine").idempotency_key == "mine"
    assert dispatched(cases, request_key="r4", job_type="invoice.keyed").idempotency_key == "42"


def test_a_supplied_id_is_taken_once() -> None:
    """It must be a UUIDv7 of about now; the second of the same id is refused."""
    cases = UseCases()
    job_id = uuid7(int(START.timestamp() * 1000), 5)
    assert cases.dispatch(job_id=job_id).job_id == job_id
    assert cases.refused(VersionConflict, DispatchJob, item=item(job_id=job_id)).field == "job_id"
    assert cases.refused(InvalidInput, DispatchJob, item=item(job_id=uuid4())).field == "job_id"


# --- refusals --------------------------------------------------------------------------------------------------------

_BAD: list[tuple[dict[str, Any], type[Refusal], str]] = [
    ({"tenant": "ghost"}, UnknownTenant, "tenant"),
    ({"tenant": "system"}, ProtectedTenant, "tenant"),
    ({"tenant": "Not A Name"}, InvalidInput, "tenant"),
    ({"tenant": ""}, InvalidInput, "tenant"),
    ({"job_type": "no.such"}, UnknownJobType, "type"),
    ({"payload": {}}, InvalidInput, "payload.invoice_id"),
    ({"payload": {"invoice_id": 7}}, InvalidInput, "payload.invoice_id"),
    ({"payload": {"invoice_id": "1", "lines": [{"amount_cents": 0}]}}, InvalidInput, "payload.lines.0.amount_cents"),
    ({"payload": {"invoice_id": "1", "extra": 1}}, InvalidInput, "payload.extra"),
    ({"payload": b"{"}, InvalidInput, "payload"),
    ({"payload": [1]}, InvalidInput, "payload"),
    ({"payload": {"invoice_id": "1", "note": "x" * 2_000}}, PayloadTooLarge, "payload"),
    ({"payload": {"invoice_id": "1", "note": "AKIA" + "A" * 16}}, InvalidInput, "payload.note"),
    ({"persona": "not a persona"}, InvalidInput, "persona"),
    ({"queue": "Not A Queue"}, InvalidInput, "queue"),
    ({"priority": 101}, InvalidInput, "priority"),
    ({"priority": "high"}, InvalidInput, "priority"),
    ({"timeout_seconds": 0}, InvalidInput, "timeout_seconds"),
    ({"retry": {"max_attempts": 0}}, InvalidInput, "retry.max_attempts"),
    ({"run_at": datetime(2026, 3, 2)}, InvalidInput, "run_at"),  # noqa: DTZ001 - naive on purpose
    ({"run_at": START, "delay_seconds": 5}, InvalidInput, "options"),
    ({"idempotency_key": ""}, InvalidInput, "idempotency_key"),
    ({"idempotency_key": "k" * 256}, InvalidInput, "idempotency_key"),
    ({"idempotency_key": "a\x00b"}, InvalidInput, "idempotency_key"),
    ({"idempotency_key": "\ud800"}, InvalidInput, "idempotency_key"),
    ({"idempotency_key": 7}, InvalidInput, "idempotency_key"),
    ({"lock_key": "a\x00b"}, InvalidInput, "lock_key"),
    ({"limit_key": "a\x00b"}, InvalidInput, "limit_key"),
    ({"limit_key": ""}, InvalidInput, "limit_key"),
    ({"reason": "\ud800"}, InvalidInput, "reason"),
    ({"job_type": 7}, InvalidInput, "job_type"),
    ({"correlation_id": "\ud800"}, InvalidInput, "correlation_id"),
    ({"causation_id": ""}, InvalidInput, "causation_id"),
    ({"trace_parent": 7}, InvalidInput, "trace_parent"),
    ({"payload": {"invoice_id": "\ud800"}}, InvalidInput, "payload.invoice_id"),
    ({"payload": {"invoice_id": "1", "note": "\ud800"}}, InvalidInput, "payload"),
    ({"trace_parent": "nonsense"}, InvalidInput, "trace_parent"),
    ({"job_id": "nonsense"}, InvalidInput, "job_id"),
    ({"depends_on": (uuid4(),)}, InvalidInput, "depends_on"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "refusal", "field"), _BAD)
def test_bad_input_is_refused_and_recorded(options: dict[str, Any], refusal: type[Refusal], field: str) -> None:
    """One clear error that names the field and the rule; nothing written but the refusal (R4.4)."""
    cases = UseCases()
    before = len(cases.ledger.reader.read_after(0, limit=1_000).events)
    error = cases.refused(refusal, DispatchJob, item=item(**options))
    assert error.field == field
    assert error.rule
    (recorded,) = cases.refusals()
    assert (recorded.code, recorded.field) == (refusal.code, field)
    assert recorded.tenant_claimed == options.get("tenant", "acme")
    assert len(cases.ledger.reader.read_after(0, limit=1_000).events) == before + 1


def test_a_claim_that_no_database_holds_is_recorded_all_the_same() -> None:
    """A lone surrogate is no text; the refusal is."""
    cases = UseCases()
    assert cases.refused(InvalidInput, DispatchJob, item=item(tenant="a\ud800")).field == "tenant"
    assert cases.refusals()[0].tenant_claimed == "a?"


def test_a_refusal_never_repeats_a_value_of_the_payload() -> None:
    """Neither the answer nor the record."""
    cases = UseCases()
    error = cases.refused(InvalidInput, DispatchJob, item=item(payload={"invoice_id": "1", "copies": "top-secret"}))
    assert "top-secret" not in str(error)
    assert "top-secret" not in cases.refusals()[0].message


def test_several_wrong_fields_are_named_at_once() -> None:
    """The first with its rule, the others by name."""
    error = UseCases().refused(InvalidInput, DispatchJob, item=item(payload={"copies": "many", "lines": 3}))
    assert {"payload.copies", "payload.lines"} <= set(str(error).replace(",", " ").split())
    assert error.field == "payload.invoice_id"


def test_a_suspended_tenant_dispatches_nothing() -> None:
    """From the moment that this process knows, until it is resumed."""
    cases = UseCases()
    cases.dispatch()
    cases.ask(SuspendTenant, name="acme", reason="unpaid")
    cases.clock.advance(3)
    cases.refused(TenantSuspended, DispatchJob, item=item())


def test_a_new_tenant_is_known_at_once() -> None:
    """A miss is looked up again."""
    from jobledger.application.commands import CreateTenant

    cases = UseCases()
    cases.refused(UnknownTenant, DispatchJob, item=item(tenant="late"))
    cases.ask(CreateTenant, name="late")
    assert cases.dispatch(tenant="late").position


def test_a_ledger_that_does_not_answer_is_an_error_and_no_refusal() -> None:
    """The caller gets it raised, and may try again."""
    cases = UseCases()
    cases.ledger.writer.unavailable = LedgerUnavailable("the database is down")
    with pytest.raises(LedgerUnavailable):
        cases.send(DispatchJob, item=item())


# --- inside a caller's transaction -----------------------------------------------------------------------------------


def test_a_dispatch_commits_or_vanishes_with_the_callers_transaction() -> None:
    """Nothing is visible before the commit, nothing stays after a rollback."""
    cases = UseCases()
    transaction = cases.ledger.transaction()
    kept = cases.ask(DispatchJob, item=item(), connection=transaction)
    assert kept.position is None
    assert cases.events(kept.job_id) == []
    transaction.commit()
    assert cases.topics(kept.job_id) == ["job.dispatched"]
    lost = cases.ask(DispatchJob, item=item(), connection=transaction)
    transaction.rollback()
    assert cases.events(lost.job_id) == []


def test_a_connection_of_another_kind_is_refused() -> None:
    """With the field's name; and a refusal inside a transaction is recorded outside of it."""
    cases = UseCases()
    assert cases.refused(InvalidInput, DispatchJob, item=item(), connection=object()).field == "connection"
    transaction = cases.ledger.transaction()
    cases.refused(UnknownTenant, DispatchJob, item=item(tenant="ghost"), connection=transaction)
    transaction.rollback()
    assert [facts.code for facts in cases.refusals()] == ["invalid_input", "unknown_tenant"]
