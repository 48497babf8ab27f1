"""Bounds of a period leave nothing out, however unevenly positions and times rise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple, cast

from hypothesis import example, given
from hypothesis import strategies as st

from jobledger.application.audit_bounds import DISORDER, Bounds, safe_bounds
from jobledger.domain.event import RecordedEvent

START = datetime(2026, 3, 1, tzinfo=UTC)


class At(NamedTuple):
    """As much of an event as bounds look at."""

    position: int
    recorded_at: datetime


@st.composite
def ledgers(draw: st.DrawFn) -> list[At]:
    """Positions with gaps; times that rise by and large, and go back by less than the disorder that is allowed for."""
    steps = draw(st.lists(st.tuples(st.integers(1, 5_000), st.integers(0, 90), st.integers(0, 60)), max_size=40))
    position, minutes, made = 0, 0, []
    for gap, later, early in steps:
        position, minutes = position + gap, minutes + later
        made.append(At(position, START + timedelta(minutes=minutes - early)))
    return made


def bounds_of(ledger: list[At], since: datetime | None, until: datetime | None) -> tuple[Bounds, int]:
    """The bounds, and how many look-ups they cost."""
    looked: list[int] = []

    def probe(position: int) -> RecordedEvent | None:
        looked.append(position)
        found = next((event for event in ledger if event.position > position), None)
        return cast("RecordedEvent | None", found)

    return safe_bounds(probe, ledger[-1].position if ledger else 0, since, until), len(looked)


minutes = st.none() | st.integers(-60, 3_600).map(lambda number: START + timedelta(minutes=number))


@given(ledgers(), minutes, minutes)
@example([At(1, START), At(2, START - timedelta(minutes=59)), At(3, START)], START, START + timedelta(hours=1))
def test_every_event_of_the_period_lies_within(
    ledger: list[At], since: datetime | None, until: datetime | None
) -> None:
    """Whatever lies outside the bounds was recorded before or after the period."""
    bounds, _ = bounds_of(ledger, since, until)
    outside = [event for event in ledger if not bounds.after < event.position <= bounds.until]
    assert all(
        (since is not None and event.recorded_at < since) or (until is not None and event.recorded_at >= until)
        for event in outside
    )


@given(ledgers(), minutes)
def test_a_period_is_closed_once_something_lies_clearly_behind_it(ledger: list[At], until: datetime | None) -> None:
    """And only then: what is still to come might belong to it."""
    bounds, _ = bounds_of(ledger, None, until)
    behind = [event for event in ledger if until is not None and event.recorded_at >= until + DISORDER]
    assert not bounds.is_closed or behind
    assert bounds.is_closed or until is None or all(event not in behind for event in ledger[-1:])


def test_a_day_within_a_year_is_found_by_a_few_dozen_look_ups() -> None:
    """Neither the year before nor the one after is read."""
    hourly = [At(1_000_000 * number, START + timedelta(hours=number)) for number in range(24 * 365)]
    since = START + timedelta(days=200)
    bounds, look_ups = bounds_of(hourly, since, since + timedelta(days=1))
    inside = [event for event in hourly if bounds.after < event.position <= bounds.until]
    assert 24 <= len(inside) <= 24 + 4 and bounds.is_closed
    assert look_ups <= 2 * 34
