"""Payloads of the job types. Money is integer cents, times are aware; the tenant is the job's, never a field here."""

from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]
Name = Annotated[str, Field(min_length=1, max_length=120)]
Cents = Annotated[int, Field(strict=True, gt=0, le=100_000_000)]
Currency = Literal["BRL", "EUR", "USD"]


class Payload(BaseModel):
    """What all payloads share: they are immutable and refuse fields they do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProvisionTenant(Payload):
    """`tenant.provision` (orchestration)."""

    name: Name
    plan: Literal["basic", "standard", "premium"]
    units: int = Field(strict=True, ge=1, le=2_000)


class CancelTenant(Payload):
    """`tenant.cancel` (orchestration)."""

    reason: Name
    effective_on: date


class InvoiceLine(Payload):
    """One line of an invoice."""

    description: Name
    amount_cents: Cents


class RenderInvoice(Payload):
    """`invoice.render`: an invoice as it was issued."""

    invoice_id: Identifier
    unit: Name
    resident: Name
    issued_on: date
    due_on: date
    currency: Currency
    lines: tuple[InvoiceLine, ...] = Field(min_length=1, max_length=20)

    @property
    def total_cents(self) -> int:
        """The sum of all lines, in cents."""
        return sum(line.amount_cents for line in self.lines)


class IssueReceipt(Payload):
    """`receipt.issue` (reactive: an invoice was paid)."""

    payment_id: Identifier
    invoice_id: Identifier
    resident: Name
    amount_cents: Cents
    currency: Currency
    paid_at: AwareDatetime


class CapturePayment(Payload):
    """`payment.capture`: collect the money of one invoice from the (flaky) provider."""

    payment_id: Identifier
    invoice_id: Identifier
    amount_cents: Cents
    currency: Currency


class EmbedDocument(Payload):
    """`document.embed` (ai). `text` names a file of the library, e.g. `kjv/08-ruth.txt`."""

    document_id: Identifier
    title: Name
    text: str = Field(pattern=r"^[a-z]+/[a-z0-9-]+\.txt$")
    expires_at: AwareDatetime | None = None


class PurgeExpired(Payload):
    """`document.purge_expired` (system): forget what expired at or before `as_of`."""

    as_of: AwareDatetime


class AnswerQuestion(Payload):
    """`document.answer` (ai): the passages of the tenant's documents nearest to a question."""

    question_id: Identifier
    question: str = Field(min_length=3, max_length=500)
    limit: int = Field(default=3, strict=True, ge=1, le=20)


class BookRoom(Payload):
    """Reserve a common room for a day."""

    kind: Literal["book_room"] = "book_room"
    room: Name
    day: date
    unit: Name


class SendNotice(Payload):
    """Put a notice on the board."""

    kind: Literal["send_notice"] = "send_notice"
    title: Name
    text: str = Field(min_length=1, max_length=2_000)


class OpenWorkOrder(Payload):
    """Ask a contractor to repair something."""

    kind: Literal["open_work_order"] = "open_work_order"
    place: Name
    problem: Name


Action = Annotated[BookRoom | SendNotice | OpenWorkOrder, Field(discriminator="kind")]


class ApplyAction(Payload):
    """`assistant.apply_action` (reactive): what the assistant proposed and a person has confirmed."""

    action_id: Identifier
    confirmed_by: Name
    confirmed_at: AwareDatetime
    action: Action
