"""Which event leads to which job: a table, and how an event's data becomes the job's payload."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import catalog
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

EVENT_PREFIX = "com.condominium."


@dataclass(frozen=True, slots=True)
class Route:
    """One reaction. `key` names the payload field that, within tenant and job type, identifies the work.

    None: the tenant itself identifies it (a tenant is provisioned once).
    """

    event: str
    job_type: str
    payload: type[Payload]
    persona: str
    department: str
    key: str | None

    @property
    def event_type(self) -> str:
        """The `type` of the CloudEvent."""
        return EVENT_PREFIX + self.event

    def to_payload(self, data: Mapping[str, Any]) -> Payload:
        """Validate an event's data. Raises pydantic.ValidationError, which names the field and the rule."""
        return self.payload.model_validate({name: value for name, value in data.items() if name != "tenant_id"})


_ALL = (
    Route("tenant.created", "tenant.provision", ProvisionTenant, catalog.ONBOARDING_BOT, "sales", None),
    Route("subscription.canceled", "tenant.cancel", CancelTenant, catalog.ONBOARDING_BOT, "sales", None),
    Route("invoice.issued", "invoice.render", RenderInvoice, catalog.BILLING_BOT, "billing", "invoice_id"),
    Route("invoice.paid", "receipt.issue", IssueReceipt, catalog.BILLING_BOT, "billing", "payment_id"),
    Route("payment.requested", "payment.capture", CapturePayment, catalog.BILLING_BOT, "billing", "payment_id"),
    Route("document.uploaded", "document.embed", EmbedDocument, catalog.ARCHIVE_BOT, "archive", "document_id"),
    Route("retention.due", "document.purge_expired", PurgeExpired, catalog.JANITOR_BOT, "archive", "as_of"),
    Route("question.asked", "document.answer", AnswerQuestion, catalog.CONCIERGE_BOT, "desk", "question_id"),
    Route("ai.action.confirmed", "assistant.apply_action", ApplyAction, catalog.CONCIERGE_BOT, "desk", "action_id"),
)

ROUTES: Mapping[str, Route] = {route.event_type: route for route in _ALL}


def tenants_named(event: Mapping[str, Any]) -> set[str]:
    """Every tenant that a CloudEvent names: in `source`, in `tenant`, in its data. More than one is a contradiction."""
    named = [event.get("tenant"), _sender(event.get("source"))]
    data = event.get("data")
    if isinstance(data, Mapping):
        named.append(data.get("tenant_id"))  # which may be anything
    return {name for name in named if isinstance(name, str)}


def _sender(source: object) -> str | None:
    """`/tenants/aurora/billing` was sent by aurora."""
    parts = source.split("/") if isinstance(source, str) else []
    return parts[2] if len(parts) > 2 and parts[1] == "tenants" else None
