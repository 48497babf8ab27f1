"""Hands what arrived to jobledger, a batch at a time: each line is taken or refused on its own."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from jobledger import Receipt, Refusal, Refused, Result
from jobledger.application.client import LedgerClient

from .inbox import Delivery
from .routes import EVENT_PREFIX

_TENANT_CREATED = f"{EVENT_PREFIX}tenant.created"


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line of the input that led to nothing, and why."""

    line: int
    field: str
    rule: str
    message: str


@dataclass(slots=True)
class Outcome:
    """What became of lines of the input. Some say again what was said before: the same event (by source and id), or
    another one with the same business key."""

    lines: int = 0
    jobs: dict[int, UUID] = field(default_factory=dict)
    refused: list[RefusedLine] = field(default_factory=list)
    repeated_events: int = 0
    repeated_keys: int = 0

    def add(self, other: "Outcome") -> None:
        """Count another outcome in."""
        self.lines += other.lines
        self.jobs |= other.jobs
        self.refused += other.refused
        self.repeated_events += other.repeated_events
        self.repeated_keys += other.repeated_keys


def take_in(ledger: LedgerClient, deliveries: Sequence[Delivery]) -> Outcome:
    """Dispatch what follows from these deliveries."""
    _create_tenants(ledger, deliveries)
    items = [item for delivery in deliveries for item in delivery.items]
    outcome = Outcome(lines=len(deliveries), repeated_events=sum(delivery.is_duplicate for delivery in deliveries))
    for item, result in zip(items, ledger.dispatch_many(items), strict=True):
        _count(outcome, item.line or 0, result)
    return outcome


def _create_tenants(ledger: LedgerClient, deliveries: Iterable[Delivery]) -> None:
    """A new customer must be known to jobledger before anything can be dispatched for it."""
    for delivery in deliveries:
        if delivery.event is not None and delivery.event.type == _TENANT_CREATED and not delivery.is_duplicate:
            name = delivery.event.data.get("name")
            with suppress(Refusal):  # it is there already, or may not be: the line's dispatches tell
                ledger.tenants.create(delivery.event.tenant, display_name=str(name or ""))


def _count(outcome: Outcome, line: int, result: Result[Receipt]) -> None:
    if isinstance(result, Refused):
        error = result.error
        outcome.refused.append(RefusedLine(line, error.field or "-", error.rule or error.code, error.message))
    elif result.value.duplicate:
        outcome.repeated_keys += 1
    else:
        outcome.jobs[line] = result.value.job_id
