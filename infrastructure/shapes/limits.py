"""What was done to limits, in words."""

from __future__ import annotations

from collections.abc import Sequence

from jobledger.domain.event import RecordedEvent
from jobledger.domain.limit import NO_LIMITS

from .timeline import Entry, entries


def limit_entries(events: Sequence[RecordedEvent]) -> list[Entry]:
    """The events of a target, oldest first."""
    return entries(events, what=_what, why=_why)


def _what(event: RecordedEvent) -> str:
    limits = getattr(event.facts, "limits", None)
    return "unlimited" if limits == NO_LIMITS else event.topic.partition(".")[2]


def _why(event: RecordedEvent) -> str:
    limits = getattr(event.facts, "limits", None)
    reason = str(getattr(event.facts, "reason", ""))
    if limits is None or limits == NO_LIMITS:
        return reason
    return f"{limits}: {reason}" if reason else str(limits)  # tenants are not told the installation's reasons
