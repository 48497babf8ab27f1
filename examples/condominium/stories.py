"""What happens in the example's condominiums, as drafts of events: the seed decides, nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

from . import catalog, library
from .catalog import Tenant
from .routes import EVENT_PREFIX, ROUTES, Route

START = datetime(2026, 3, 2, 11, 0, tzinfo=UTC)
INVOICES_PER_TENANT = 18
CAPTURED_PER_TENANT = 10
RECEIPTS_PER_TENANT = 8
ACTIONS_PER_TENANT = 5
# Of ten documents one may only be kept for a week; the retention events come later than that.
EXPIRING_ONE_IN = 10
SHORT_RETENTION = timedelta(days=7)
RETENTION_DAY = START + timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event without id and time. Drafts are ordered by `place` (0 to 1) within their chapter."""

    chapter: int
    place: float
    tenant: str
    route: Route
    subject: str
    data: dict[str, Any]


def drafts(random: Random) -> list[Draft]:
    """All events of the story in their order: tenants first, then daily life, then questions, retention, a farewell."""
    story = [draft for tenant in catalog.TENANTS for draft in _tenant(random, tenant)]
    story += [*_documents(random), *_questions(random), _farewell()]
    return sorted(story, key=lambda draft: (draft.chapter, draft.place))


def _draft(tenant: str, event: str, subject: str, data: dict[str, Any], *, at: tuple[int, float]) -> Draft:
    """`at`: chapter and place."""
    return Draft(*at, tenant, ROUTES[EVENT_PREFIX + event], subject, data)


def _tenant(random: Random, tenant: Tenant) -> Iterator[Draft]:
    data = {"name": tenant.name, "plan": tenant.plan, "units": tenant.units}
    yield _draft(tenant.slug, "tenant.created", f"tenant/{tenant.slug}", data, at=(0, random.random()))
    for number in range(INVOICES_PER_TENANT):
        yield from _invoice(random, tenant, number)
    for number in range(ACTIONS_PER_TENANT):
        yield _action(random, tenant, number)
    as_of = {"as_of": RETENTION_DAY.isoformat()}
    yield _draft(tenant.slug, "retention.due", "retention/monthly", as_of, at=(3, random.random()))


def _invoice(random: Random, tenant: Tenant, number: int) -> Iterator[Draft]:
    """An invoice is issued, then either collected by us, or paid at a bank."""
    invoice_id = f"INV-2026-{tenant.slug}-{number + 1:03d}"
    invoice = _invoice_data(random, tenant, invoice_id)
    total = sum(line["amount_cents"] for line in invoice["lines"])
    issued = random.random() * 0.6
    later = random.uniform(issued, 1.0)
    money = {"invoice_id": invoice_id, "amount_cents": total, "currency": invoice["currency"]}
    yield _draft(tenant.slug, "invoice.issued", f"invoice/{invoice_id}", invoice, at=(1, issued))
    if number < CAPTURED_PER_TENANT:
        payment_id = f"PAY-{tenant.slug}-{number + 1:03d}"
        data = {"payment_id": payment_id, **money}
        yield _draft(tenant.slug, "payment.requested", f"payment/{payment_id}", data, at=(1, later))
    elif number < CAPTURED_PER_TENANT + RECEIPTS_PER_TENANT:
        payment_id = f"SLIP-{tenant.slug}-{number + 1:03d}"
        paid = {"resident": invoice["resident"], "paid_at": (START + timedelta(hours=number)).isoformat()}
        data = {"payment_id": payment_id, **money, **paid}
        yield _draft(tenant.slug, "invoice.paid", f"payment/{payment_id}", data, at=(1, later))


def _invoice_data(random: Random, tenant: Tenant, invoice_id: str) -> dict[str, Any]:
    charges = random.sample(catalog.CHARGES, random.randint(2, 5))
    return {
        "invoice_id": invoice_id,
        "unit": _unit(random, tenant),
        "resident": random.choice(catalog.RESIDENTS),
        "issued_on": "2026-03-02",
        "due_on": date(2026, 3, random.randint(10, 28)).isoformat(),
        "currency": "BRL",
        "lines": [
            {"description": name, "amount_cents": random.randint(lowest, highest)} for name, lowest, highest in charges
        ],
    }


def _action(random: Random, tenant: Tenant, number: int) -> Draft:
    action_id = f"ACT-{tenant.slug}-{number + 1:03d}"
    data = {
        "action_id": action_id,
        "confirmed_by": random.choice(catalog.RESIDENTS),
        "confirmed_at": (START + timedelta(minutes=7 * number)).isoformat(),
        "action": _what(random, tenant, number),
    }
    # In the order of their numbers, so that of two who want one room always the same one gets it.
    place = (number + random.random()) / ACTIONS_PER_TENANT
    return _draft(tenant.slug, "ai.action.confirmed", f"action/{action_id}", data, at=(1, place))


def _what(random: Random, tenant: Tenant, number: int) -> dict[str, Any]:
    if number == 0:
        place, problem = random.choice(catalog.PLACES), random.choice(catalog.PROBLEMS)
        return {"kind": "open_work_order", "place": place, "problem": problem}
    if number == 1:
        title, text = random.choice(catalog.NOTICES)
        return {"kind": "send_notice", "title": title, "text": text}
    # In one condominium the last two actions want the same room on the same day.
    contested = tenant.slug == catalog.TENANTS[1].slug and number == ACTIONS_PER_TENANT - 1
    day = date(2026, 4, number - 1 if contested else number)
    return {
        "kind": "book_room",
        "room": catalog.ROOMS[0],
        "day": day.isoformat(),
        "unit": _unit(random, tenant),
    }


def _documents(random: Random) -> Iterator[Draft]:
    for number, text in enumerate(library.texts()):
        tenant = owner_of(text.name)
        document_id = text.name.removesuffix(".txt").replace("/", "-")
        data: dict[str, Any] = {"document_id": document_id, "title": text.title, "text": text.name}
        # Never one that a question is about.
        if number % EXPIRING_ONE_IN == 0 and text.name not in dict(catalog.QUESTIONS).values():
            data["expires_at"] = (START + SHORT_RETENTION).isoformat()
        yield _draft(tenant, "document.uploaded", f"document/{document_id}", data, at=(1, random.random() * 0.8))


def _questions(random: Random) -> Iterator[Draft]:
    for number, (question, text) in enumerate(catalog.QUESTIONS):
        question_id = f"Q-{number + 1:03d}"
        data = {"question_id": question_id, "question": question}
        yield _draft(owner_of(text), "question.asked", f"question/{question_id}", data, at=(2, random.random()))


def _farewell() -> Draft:
    data = {"reason": "moves to a self-managed solution", "effective_on": "2026-03-31"}
    tenant = catalog.LEAVING_TENANT
    return _draft(tenant, "subscription.canceled", f"tenant/{tenant}", data, at=(4, 0.0))


def owner_of(text: str) -> str:
    """The tenant that uploads a text of the library."""
    names = [known.name for known in library.texts()]
    return catalog.TENANTS[names.index(text) % len(catalog.TENANTS)].slug


def _unit(random: Random, tenant: Tenant) -> str:
    return str(100 * random.randint(1, 9) + random.randint(1, max(1, min(tenant.units // 9, 8))))
