"""Pages of a job's history: lines for people, in which runs of progress reports and logs are one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from jobledger.application.queries import HISTORY_LIMIT_MAX, History
from jobledger.domain.event import RecordedEvent

from .timeline import Entry, folded, folded_count, timeline

READ_MAX = 3_000
"""Events that one page reads, about, however few lines they make: a page is shown within a fifth of a second."""
LOOK_BACK = 200
"""Events in front of a page that are looked at, to say how long an attempt took that began before it."""

Read = Callable[[int, int], History]
"""Reads events after a version, so many."""


class HistoryPage(NamedTuple):
    """Lines of a job's history. `next_version` begins the next page, or None."""

    entries: tuple[Entry, ...]
    next_version: int | None


def read_page(read: Read, *, after: int, limit: int, fold: bool) -> HistoryPage:
    """At most `limit` lines after a version; each is one event, unless `fold` makes one of runs of noise."""
    before = read(max(0, after - LOOK_BACK), min(after, LOOK_BACK)).events if after else ()
    if not fold:
        past = read(after, limit)
        return HistoryPage(tuple(timeline(past.events, before=before)), past.next_version)
    return _folded_page(read, before, after, limit)


def _folded_page(read: Read, before: Sequence[RecordedEvent], after: int, limit: int) -> HistoryPage:
    events: list[RecordedEvent] = []
    reached: int | None = after
    number = limit
    while reached is not None and folded_count(events) <= limit and len(events) < READ_MAX:
        past = read(reached, number)
        number = min(2 * number, HISTORY_LIMIT_MAX)  # more and more, because they make few lines
        events += past.events
        reached = past.next_version
    lines = folded(timeline(events, before=before))
    if len(lines) > limit:
        lines = lines[:limit]
        reached = lines[-1].last.originator_version
    return HistoryPage(tuple(lines), reached)
