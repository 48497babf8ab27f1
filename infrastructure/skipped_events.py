"""The events that people decided views go without, as projections ask for them."""

from __future__ import annotations

from jobledger.application.message import Actor
from jobledger.application.projection_messages import SkippedEvents
from jobledger.projections.parking import EventId

from .bootstrap import LedgerHandle


def skipped_events(handle: LedgerHandle, actor: Actor, name: str) -> frozenset[EventId]:
    """What a view goes without now, by its name."""
    asked = handle.dispatcher.send(SkippedEvents, actor=actor, projection=name).unwrap()
    return frozenset((event.originator_id, event.originator_version) for event in asked)
