"""The example's jobs from the event to what they leave behind, in memory: what the errors of its services mean for a
job, and that nothing happens twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from examples.condominium import wiring
from examples.condominium.catalog import TENANTS, UNKNOWN_TENANT
from examples.condominium.domain_event import DomainEvent
from examples.condominium.errors import PaymentDeclinedError, ProviderRateLimitedError, ProviderUnavailableError
from examples.condominium.events import generate
from examples.condominium.inbox import Inbox
from examples.condominium.jobs import app
from examples.condominium.payloads import CapturePayment
from examples.condominium.results import Capture
from examples.condominium.services.assistant import Assistant
from examples.condominium.services.documents import Documents
from examples.condominium.services.invoices import Invoices
from examples.condominium.services.payments import Payments
from examples.condominium.services.tenants import Tenants
from examples.condominium.wiring import Services
from examples.condominium.workspace import Workspace
from jobledger.testing import InMemoryLedger

TENANT_CREATED = "com.condominium.tenant.created"
PAYMENT = {"payment_id": "PAY-1", "invoice_id": "INV-1", "amount_cents": 990, "currency": "BRL"}


class Bank:
    """The payment provider: raises what it was given, then collects once for each key."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.captures: dict[str, Capture] = {}

    def capture(self, tenant: str, request: CapturePayment, idempotency_key: str) -> Capture:
        """Collect the money."""
        if self.errors:
            raise self.errors.pop(0)
        capture = Capture(
            payment_id=request.payment_id, capture_id=f"C-{len(self.captures)}", amount_cents=request.amount_cents,
            currency=request.currency,
        )  # fmt: skip
        return self.captures.setdefault(idempotency_key, capture)


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """The provider of the services that handlers use, whose files lie in a folder of the test's."""
    bank, workspace = Bank(), Workspace(tmp_path)
    services = Services(
        Tenants(workspace), Invoices(workspace), Payments(workspace, bank), Documents(workspace), Assistant(workspace)
    )
    monkeypatch.setattr(wiring, "services", lambda: services)
    return bank


@pytest.fixture
def ledger(bank: Bank) -> InMemoryLedger:
    """The example's ledger, with a tenant that is ready."""
    ledger = InMemoryLedger(app, tenants=("aurora",))
    ledger.receive(event("tenant.created", {"name": "Aurora", "plan": "basic", "units": 3}))
    ledger.drain()
    ledger.assert_completed(type="tenant.provision")
    return ledger


def event(name: str, data: Mapping[str, object]) -> DomainEvent:
    """An event of aurora's; its id is its name."""
    return DomainEvent(
        name, "/tenants/aurora/desk", f"com.condominium.{name}", "aurora", None, None, None, data, 1
    )  # fmt: skip


def test_a_payment_is_captured_for_the_event_that_asked_for_it_once(ledger: InMemoryLedger, bank: Bank) -> None:
    """However often the event arrives; the job knows which event caused it, and for which persona it runs."""
    asked = event("payment.requested", PAYMENT)
    for _ in range(2):
        ledger.receive(asked)
        ledger.drain()
    job = ledger.assert_completed(type="payment.capture", persona="billing-bot", payload=CapturePayment(**PAYMENT)).only
    assert ledger.jobs.get(job.job_id, tenant="aurora").correlation_id == asked.id
    assert [capture.model_dump() for capture in bank.captures.values()] == [job.result]


def test_a_permanent_error_ends_the_job(ledger: InMemoryLedger, bank: Bank) -> None:
    """What can never succeed is not tried again; who looks at it sees what the service said, and where."""
    bank.errors = [PaymentDeclinedError("no money")]
    ledger.dispatch("payment.capture", PAYMENT, tenant="aurora")
    ledger.drain()
    dead = ledger.assert_dead(type="payment.capture", reason="unrecoverable").only
    assert dead.errors == ("NeverRetry: no money",)
    assert "PaymentDeclinedError" in dead.traceback


def test_a_provider_that_names_a_time_is_obeyed(ledger: InMemoryLedger, bank: Bank) -> None:
    """Retry-After of the provider becomes the delay of the retry."""
    bank.errors = [ProviderRateLimitedError("slow down", retry_after_seconds=7)]
    ledger.dispatch("payment.capture", PAYMENT, tenant="aurora")
    ledger.drain()
    ledger.clock.advance(seconds=6.9)
    assert ledger.drain() == 0
    ledger.clock.advance(seconds=0.1)
    ledger.drain()
    ledger.assert_completed(type="payment.capture")


def test_any_other_temporary_error_is_left_to_the_policy(ledger: InMemoryLedger, bank: Bank) -> None:
    """It is tried again until it works, or five times."""
    bank.errors = [ProviderUnavailableError("503") for _ in range(4)]
    recovers = ledger.dispatch("payment.capture", PAYMENT, tenant="aurora")
    ledger.drain(until_idle=True)
    ledger.assert_completed(recovers)
    bank.errors = [ProviderUnavailableError("503") for _ in range(5)]
    stays = ledger.dispatch("payment.capture", {**PAYMENT, "payment_id": "PAY-2"}, tenant="aurora")
    ledger.drain(until_idle=True)
    ledger.assert_dead(stays, reason="attempts_exhausted")


def test_money_is_collected_once_however_often_the_job_is_delivered(ledger: InMemoryLedger, bank: Bank) -> None:
    """Its worker may die between the capture and its record, or later."""
    ledger.crash_next("payment.capture", after_step="capture")
    receipt = ledger.dispatch("payment.capture", PAYMENT, tenant="aurora")
    ledger.drain(until_idle=True)
    assert ledger.events(receipt).count("job.stalled") == 1
    ledger.assert_idempotent(receipt, effects=lambda: dict(bank.captures))
    assert len(bank.captures) == 1


def test_a_tenant_is_provisioned_once_whichever_step_was_cut_off(ledger: InMemoryLedger, tmp_path: Path) -> None:
    """Files and database rows are the same after each of its steps has run again."""

    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*.md")}

    provisioned = ledger.jobs(type="tenant.provision").only
    assert list(provisioned.steps) == ["directory", "database", "personas", "welcome"]
    assert files()
    ledger.assert_idempotent(provisioned, effects=files)


def test_the_tenants_of_the_story_become_ready(bank: Bank) -> None:
    """Its events come in as lines; each new tenant leads to one job, which completes."""
    ledger, inbox = InMemoryLedger(app, tenants=[tenant.slug for tenant in TENANTS]), Inbox(app)
    for number, line in enumerate(generate(seed=7), start=1):
        arrived = inbox.receive(line.text.encode(), number).event
        if arrived is not None and arrived.type == TENANT_CREATED and arrived.tenant != UNKNOWN_TENANT:
            ledger.receive(arrived)
    ledger.drain()
    completed = ledger.assert_completed(type="tenant.provision")
    assert sorted(job.tenant for job in completed) == sorted(tenant.slug for tenant in TENANTS)
