"""Tenants and the registry of job types."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from jobledger import App, JobContext
from jobledger.application.commands import (
    CreateTenant,
    DispatchJob,
    JobTypesRegistered,
    RegisterJobTypes,
    ResumeTenant,
    SuspendTenant,
)
from jobledger.application.queries import ListJobTypes, ListTenants
from jobledger.application.result import Accepted
from jobledger.domain.errors import (
    IllegalTransition,
    InvalidInput,
    PayloadTooLarge,
    ProtectedTenant,
    ReasonRequired,
    Refusal,
    TenantExists,
    TenantSuspended,
    UnknownJobType,
    UnknownTenant,
)
from jobledger.domain.identifiers import SYSTEM_TENANT, stream_id
from jobledger.domain.job import JobDispatched
from tests.support.use_cases import Invoice, UseCases, app, item


def test_a_tenant_is_created_with_its_own_stream() -> None:
    """Its events are its own, its row is in the catalogue at once."""
    cases = UseCases()
    changed = cases.ask(CreateTenant, name="nova", display_name="Nova Ltd.", reason="signed")
    assert changed == ("nova", "active")
    (event,) = cases.ledger.reader.stream("nova", stream_id("nova", "tenant", "nova"))
    assert (event.topic, event.tenant) == ("tenant.created", "nova")
    rows = {row.name: row for row in cases.ask(ListTenants)}
    assert rows["nova"].display_name == "Nova Ltd."
    assert list(rows) == ["acme", "nova", "other"]


def test_a_name_is_taken_once() -> None:
    """The second creation is refused and changes nothing."""
    cases = UseCases()
    assert "exists already" in str(cases.refused(TenantExists, CreateTenant, name="acme"))


@pytest.mark.parametrize("name", ["Acme", "", "a b", "x" * 64, 7])
def test_a_bad_name_is_refused(name: object) -> None:
    """Naming the field."""
    assert UseCases().refused(InvalidInput, CreateTenant, name=name).field == "name"


def test_the_installations_own_tenant_is_protected() -> None:
    """Nobody creates or suspends it."""
    cases = UseCases()
    cases.refused(ProtectedTenant, CreateTenant, name="system")
    cases.refused(UnknownTenant, SuspendTenant, name="system", reason="x")


def test_suspending_and_resuming() -> None:
    """A suspended tenant dispatches nothing; a resumed one does, at once."""
    cases = UseCases()
    assert cases.ask(SuspendTenant, name="acme", reason="unpaid").status == "suspended"
    cases.refused(TenantSuspended, DispatchJob, item=item())
    assert cases.ask(ResumeTenant, name="acme", reason="paid").status == "active"
    cases.dispatch()
    topics = [event.topic for event in cases.ledger.reader.stream("acme", stream_id("acme", "tenant", "acme"))]
    assert topics == ["tenant.created", "tenant.suspended", "tenant.resumed"]


def test_tenants_are_managed_with_reasons() -> None:
    """And only where they exist."""
    cases = UseCases()
    cases.refused(ReasonRequired, SuspendTenant, name="acme")
    cases.refused(UnknownTenant, SuspendTenant, name="ghost", reason="x")
    cases.refused(IllegalTransition, ResumeTenant, name="acme", reason="x")


def test_a_tenant_keeps_its_display_name() -> None:
    """Whatever happens to it."""
    cases = UseCases()
    cases.ask(CreateTenant, name="nova", display_name="Nova Ltd.")
    cases.ask(SuspendTenant, name="nova", reason="x")
    assert {row.name: row.display_name for row in cases.ask(ListTenants)}["nova"] == "Nova Ltd."


# --- the registry ----------------------------------------------------------------------------------------------------


def test_a_worker_publishes_its_types_once() -> None:
    """The second start changes nothing and writes nothing."""
    cases = UseCases(None)
    assert cases.register_types() == tuple(sorted(app.jobs))
    head = cases.ledger.reader.head()
    assert cases.register_types() == ()
    assert cases.ledger.reader.head() == head
    rows = cases.ask(ListJobTypes)
    assert [row.definition.name for row in rows] == sorted(app.jobs)
    assert {(row.app, row.code_version) for row in rows} == {("test", "v1")}


def test_a_changed_type_is_published_again() -> None:
    """As the next event of its stream, of the installation."""
    cases = UseCases(None)
    cases.register_types()
    assert cases.register_types(_program(timeout_seconds=61)) == ("invoice.send",)
    stream = stream_id(SYSTEM_TENANT, "job_type", "invoice.send")
    assert [event.topic for event in cases.ledger.reader.stream(SYSTEM_TENANT, stream)] == ["job_type.registered"] * 2


def test_what_was_registered_has_a_position() -> None:
    """The last one."""
    cases = UseCases(None)
    result = cases.send(RegisterJobTypes, app="test", code_version="v1", definitions=app.definitions)
    assert isinstance(result, Accepted)
    assert isinstance(result.value, JobTypesRegistered)
    assert result.position == f"memory.{cases.ledger.reader.head()}"


def _program(**options: Any) -> App:  # noqa: ANN401
    program = App("test", code_version="v2")

    @program.job("invoice.send", effects="none", **options)
    def send(context: JobContext, payload: Invoice) -> None:
        """Send an invoice."""

    return program


# --- a client without the code ---------------------------------------------------------------------------------------


def test_a_client_without_the_code_dispatches_the_same_bytes() -> None:
    """Validated by the registry's schema, defaults filled in, with the same keys and options."""
    with_code, without = UseCases(), UseCases(None)
    without.register_types()
    for job_type in ("invoice.send", "invoice.keyed", "invoice.locked"):
        mine, theirs = (cases.events(cases.dispatch(job_type).job_id)[0] for cases in (with_code, without))
        assert mine.body == theirs.body
        assert isinstance(mine.facts, JobDispatched)
        assert mine.facts == theirs.facts


@pytest.mark.parametrize(
    ("options", "refusal", "field"),
    [
        ({"payload": {}}, InvalidInput, "payload.invoice_id"),
        ({"payload": {"invoice_id": 7}}, InvalidInput, "payload.invoice_id"),
        ({"payload": {"invoice_id": ""}}, InvalidInput, "payload.invoice_id"),
        (
            {"payload": {"invoice_id": "1", "lines": [{"amount_cents": 0}]}}, InvalidInput,
            "payload.lines.0.amount_cents",
        ),
        ({"payload": {"invoice_id": "1", "extra": 1}}, InvalidInput, "payload.extra"),
        ({"payload": b"{"}, InvalidInput, "payload"),
        ({"payload": b'{"invoice_id":"1","copies":NaN}'}, InvalidInput, "payload"),
        ({"payload": [1]}, InvalidInput, "payload"),
        ({"payload": {"invoice_id": "1", "note": "x" * 2_000}}, PayloadTooLarge, "payload"),
        ({"job_type": "no.such"}, UnknownJobType, "type"),
    ],
)  # fmt: skip
def test_the_registry_refuses_what_does_not_fit(options: dict[str, Any], refusal: type[Refusal], field: str) -> None:
    """Naming field and rule, never a value."""
    cases = UseCases(None)
    cases.register_types()
    error = cases.refused(refusal, DispatchJob, item=item(**options))
    assert error.field == field
    assert error.rule


def test_keys_that_only_code_computes_have_to_be_given() -> None:
    """A client without that code cannot dispatch twice by accident, nor run two at once."""
    cases = UseCases(None)
    cases.register_types()
    assert cases.refused(InvalidInput, DispatchJob, item=item("invoice.computed")).field == "idempotency_key"
    keyed = item("invoice.computed", idempotency_key="k")
    assert cases.refused(InvalidInput, DispatchJob, item=keyed).field == "lock_key"
    assert cases.dispatch("invoice.computed", idempotency_key="k", lock_key="l").position


def test_a_type_that_changes_is_noticed() -> None:
    """Within a moment, without a restart."""
    cases = UseCases(None)
    cases.register_types()
    cases.dispatch(payload={"invoice_id": "1"})

    class Stricter(BaseModel):
        invoice_id: str
        approved_by: str

    program = App("test", code_version="v2")

    @program.job("invoice.send", effects="none")
    def send(context: JobContext, payload: Stricter) -> None:
        """Send an approved invoice."""

    cases.register_types(program)
    cases.clock.advance(3)
    assert cases.refused(InvalidInput, DispatchJob, item=item()).field == "payload.approved_by"


def test_an_unknown_type_lists_the_known_ones() -> None:
    """So that a typo is seen."""
    cases = UseCases()
    assert "invoice.send" in str(cases.refused(UnknownJobType, DispatchJob, item=item("invoice.sned")))
