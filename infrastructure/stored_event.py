"""The library's stored event with the two things more that a row of our ledger has: its tenant and its body."""

from __future__ import annotations

from dataclasses import dataclass

from eventsourcing.persistence import StoredEvent

from jobledger.domain.errors import CorruptEvent


@dataclass(frozen=True)
class LedgerStoredEvent(StoredEvent):
    """A row of the ledger as the library's recorders take and give it. `body` is stored with its tag."""

    tenant: str
    body: bytes | None = None


def in_ledger_form(stored_event: StoredEvent) -> LedgerStoredEvent:
    """The event, if it says which tenant it belongs to: nothing is recorded without one."""
    if not isinstance(stored_event, LedgerStoredEvent):
        raise CorruptEvent(f"{stored_event.topic} names no tenant", field="tenant", rule="every event has a tenant")
    return stored_event
