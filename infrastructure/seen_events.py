"""Rows of the ledger as projections see them: facts decoded, never metadata, never a body."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from jobledger.domain.errors import CorruptEvent, UnknownTopic
from jobledger.projections.ports import SeenBatch, Unreadable
from jobledger.projections.projection import SeenEvent

from .mapper import decode_facts

LedgerRow = tuple[UUID, int, str, int, datetime, str, bytes]
"""originator_id, originator_version, tenant_id, notification_id, recorded_at, topic, state."""


def seen_batch(rows: Sequence[LedgerRow], *, after: int, limit: int, readable_to: int) -> SeenBatch:
    """The rows, in order, as a batch. Fewer rows than `limit` mean that all up to `readable_to` was read."""
    events: list[SeenEvent] = []
    append = events.append
    for originator_id, version, tenant, position, recorded_at, topic, state in rows:
        try:
            facts = decode_facts(topic, state)
        except (UnknownTopic, CorruptEvent) as error:
            return SeenBatch(
                events, events[-1].position if events else after, unreadable=Unreadable(position, topic, error)
            )
        append(SeenEvent(originator_id, version, tenant, position, recorded_at, topic, facts))
    if len(rows) < limit:
        return SeenBatch(events, max(after, readable_to))
    return SeenBatch(events, events[-1].position, more=True)
