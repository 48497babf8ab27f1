"""Where in the order of positions a period of time lies, found by a few dozen look-ups instead of a scan.

Positions and `recorded_at` rise together, nearly: an append reads the clock a moment before it draws its position, and
may wait in between. Every event's time is compared in the end; what is proved here is only that none is left out:

Let no event be recorded more than `DISORDER` before one of a smaller position. Then

- if an event at position p was recorded before `from - DISORDER`, so was, up to `DISORDER`, all before it: nothing at
  or before p lies in the period, and reading may begin after p;
- if an event at position p was recorded at `to + DISORDER` or later, everything after p was recorded at `to` or later:
  nothing at or after p lies in the period, and reading may end before p.

Both hold for any p that is looked at: it does not matter that bisecting something not quite sorted may not find the
first one. An append never takes an hour between the two (locks are waited for 100 ms); who sets the clock of the
database back by more than that, exports without times.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from jobledger.domain.event import RecordedEvent

DISORDER = timedelta(hours=1)

Probe = Callable[[int], RecordedEvent | None]
"""The first event after a position; None: there is none (below the horizon)."""


class Bounds(NamedTuple):
    """Positions `after` (exclusive) to `until` (inclusive) hold every event of the period. `is_closed`: so they will
    for ever, an event that lies clearly behind the period has been read."""

    after: int
    until: int
    is_closed: bool


def safe_bounds(probe: Probe, head: int, recorded_from: datetime | None, recorded_to: datetime | None) -> Bounds:
    """Bounds for the events up to `head`."""
    after = 0 if recorded_from is None else _after(probe, head, recorded_from)
    if recorded_to is None:
        return Bounds(after, head, is_closed=False)
    until, is_closed = _until(probe, after, head, recorded_to)
    return Bounds(after, until, is_closed)


def _after(probe: Probe, head: int, recorded_from: datetime) -> int:
    low, high = 0, head
    while low < high:
        middle = (low + high) // 2
        event = probe(middle)
        if event is not None and recorded_from - event.recorded_at > DISORDER:
            low = event.position
        else:
            high = middle
    return low


def _until(probe: Probe, after: int, head: int, recorded_to: datetime) -> tuple[int, bool]:
    low, high, is_closed = after, head, False
    while low < high:
        middle = (low + high) // 2
        event = probe(middle)
        if event is None:
            high = middle
        elif event.recorded_at - recorded_to >= DISORDER:
            high, is_closed = middle, True
        else:
            low = event.position
    return high, is_closed
