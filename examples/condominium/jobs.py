"""What the company's jobs are. Handlers hold no business rule: they call a service, and say what its errors mean.

Which event leads to which of them stands in `routes.py`; the reactions at the end are made from that table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jobledger import App, Dispatch, JobContext, NeverRetry, RateCard, Retry, RetryAfter

from .domain_event import DomainEvent
from .errors import PermanentError, TemporaryError
from .payloads import (
    AnswerQuestion,
    ApplyAction,
    CancelTenant,
    CapturePayment,
    EmbedDocument,
    IssueReceipt,
    Payload,
    ProvisionTenant,
    PurgeExpired,
    RenderInvoice,
)
from .results import (
    Answer,
    AppliedAction,
    CancelledTenant,
    Capture,
    EmbeddingReport,
    ProvisionedTenant,
    PurgeReport,
    RenderedFile,
)
from .routes import ROUTES, Route

if TYPE_CHECKING:
    from .wiring import Services

app = App("condominium")

# A tenant is provisioned and cancelled once, and never both at the same time.
ONCE_A_TENANT = "tenant"
# Pauses of a demo; a real provider would be given seconds.
QUICK = Retry.exponential(max_attempts=5, base_seconds=0.4, cap_seconds=1.5)
PRICES = "2026-03"


def once_a_tenant(payload: Payload) -> str:
    """The idempotency key of work that is done once for each tenant, whatever the payload says."""
    return ONCE_A_TENANT


@contextmanager
def retries_decided() -> Iterator[None]:
    """Tell jobledger what the services' errors mean; whatever else is raised is retried by the type's policy."""
    try:
        yield
    except PermanentError as error:
        raise NeverRetry(str(error)) from error
    except TemporaryError as error:
        if error.retry_after_seconds is None:
            raise
        raise RetryAfter(error.retry_after_seconds, str(error)) from error


@app.job(
    "tenant.provision", kind="orchestration", queue="tenants", priority=50, retry=QUICK, timeout_seconds=30,
    idempotency_key=once_a_tenant, effects="steps", lock_key=ONCE_A_TENANT,
)  # fmt: skip
@retries_decided()
def provision_tenant(context: JobContext, payload: ProvisionTenant) -> ProvisionedTenant:
    """Make a new tenant ready to be used, in four steps; a retry goes on where the last attempt stopped."""
    tenants, tenant = services().tenants, context.tenant
    directory = context.step("directory", lambda: tenants.create_directory(tenant))
    context.step("database", lambda: tenants.create_database(tenant, payload))
    context.progress(0.5, "database is ready")
    personas = context.step("personas", lambda: list(tenants.create_personas(tenant)))
    welcome = context.step("welcome", lambda: tenants.write_welcome_document(tenant, payload))
    return ProvisionedTenant(directory=directory, personas=tuple(personas), welcome_document=welcome)


@app.job(
    "tenant.cancel", kind="orchestration", queue="tenants", priority=-50, retry=QUICK, timeout_seconds=30,
    idempotency_key=once_a_tenant, effects="steps", lock_key=ONCE_A_TENANT,
)  # fmt: skip
@retries_decided()
def cancel_tenant(context: JobContext, payload: CancelTenant) -> CancelledTenant:
    """Close a tenant's account, forget its embeddings, write the closing statement."""
    tenants, tenant = services().tenants, context.tenant
    personas = context.step("account", lambda: tenants.close_account(tenant, payload))
    removed = context.step("embeddings", lambda: tenants.remove_embeddings(tenant))
    statement = context.step("statement", lambda: tenants.write_closing_statement(tenant, payload))
    return CancelledTenant(personas_deactivated=personas, embeddings_removed=removed, closing_statement=statement)


@app.job(
    "invoice.render", queue="billing", isolation="thread", retry=QUICK, timeout_seconds=30,
    idempotency_key="invoice_id",
)  # fmt: skip
@retries_decided()
def render_invoice(context: JobContext, payload: RenderInvoice) -> RenderedFile:
    """Render an invoice to a PDF; rendering it again gives the same file."""
    return services().invoices.render(context.tenant, payload)


@app.job(
    "receipt.issue", kind="reactive", queue="billing", priority=10, retry=QUICK, timeout_seconds=30,
    idempotency_key="payment_id",
)  # fmt: skip
@retries_decided()
def issue_receipt(context: JobContext, payload: IssueReceipt) -> RenderedFile:
    """An invoice was paid at a bank: render the receipt."""
    return services().invoices.issue_receipt(context.tenant, payload)


@app.job(
    "payment.capture", queue="billing", priority=20, retry=QUICK, timeout_seconds=15, idempotency_key="payment_id",
    effects="steps", providers=("payments",), rate_card=RateCard(version=PRICES, per_attempt=0.01),
)  # fmt: skip
@retries_decided()
def capture_payment(context: JobContext, payload: CapturePayment) -> Capture:
    """Collect the money of one invoice. The provider gets the key of the step: asked twice, it collects once."""
    payments, key = services().payments, context.step_key("capture")
    captured = context.step("capture", lambda: payments.capture(context.tenant, payload, key).model_dump())
    return Capture.model_validate(captured)


@app.job(
    "document.embed", kind="ai", queue="archive", retry=QUICK, timeout_seconds=60, idempotency_key="document_id",
    rate_card=RateCard(version=PRICES, per_unit={"tokens": 0.00000002}),
)  # fmt: skip
@retries_decided()
def embed_document(context: JobContext, payload: EmbedDocument) -> EmbeddingReport:
    """Turn a document into vectors, so that questions can be answered from it."""
    report = services().documents.embed(context.tenant, payload)
    context.usage(tokens=report.tokens)
    context.log("embedded", chunks=report.chunks, characters=report.characters, tokens=report.tokens)
    return report


@app.job(
    "document.answer", kind="ai", queue="desk", retry=QUICK, timeout_seconds=30, idempotency_key="question_id",
)  # fmt: skip
@retries_decided()
def answer_question(context: JobContext, payload: AnswerQuestion) -> Answer:
    """Find the passages of the tenant's own documents that are nearest to a question."""
    return services().documents.answer(context.tenant, payload)


@app.job(
    "document.purge_expired", kind="system", queue="archive", priority=-10, retry=QUICK, timeout_seconds=60,
    idempotency_key="as_of",
)  # fmt: skip
@retries_decided()
def purge_expired(context: JobContext, payload: PurgeExpired) -> PurgeReport:
    """Forget the documents whose time is over."""
    return services().documents.purge_expired(context.tenant, payload)


@app.job(
    "assistant.apply_action", kind="reactive", queue="desk", retry=QUICK, timeout_seconds=30,
    idempotency_key="action_id",
)  # fmt: skip
@retries_decided()
def apply_action(context: JobContext, payload: ApplyAction) -> AppliedAction:
    """A person has confirmed (elsewhere, before this job was dispatched) what the assistant proposed: do it."""
    return services().assistant.apply(context.tenant, payload)


def services() -> Services:
    """The application services, made when the first handler runs."""
    # Not imported above: who only dispatches or publishes job types needs no PDF, vector and HTTP libraries.
    from .wiring import services as make  # noqa: PLC0415

    return make()


def reaction_for(route: Route) -> Callable[[DomainEvent], Dispatch]:
    """A pure function: event in, dispatch out. What it asks for is checked by jobledger, where it is dispatched."""

    def react(event: DomainEvent) -> Dispatch:
        return Dispatch(
            route.job_type, payload=event.data, tenant=event.tenant, persona=event.persona or route.persona,
            correlation_id=event.id, causation_id=event.id, trace_parent=event.trace_parent, line=event.line,
        )  # fmt: skip

    return react


for _route in ROUTES.values():
    app.reaction(_route.event_type)(reaction_for(_route))
