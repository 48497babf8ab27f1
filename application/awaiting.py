"""Waiting until lists show what was written: not for what nobody wrote, and not on every thread there is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore

from jobledger.domain.errors import LedgerBusy, NotYetVisible

from .ports import JobViews, ViewName
from .positions import Positions


class Room:
    """How many may wait at a time: all who like, until somebody bounds it."""

    def __init__(self) -> None:
        self._places: BoundedSemaphore | None = None

    def bound(self, places: int) -> None:
        """From now on so many: a server whose threads all wait answers nobody."""
        self._places = BoundedSemaphore(places)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A place during the block. Raises `LedgerBusy` where there is none."""
        places = self._places
        if places is None:
            yield
            return
        if not places.acquire(blocking=False):
            raise LedgerBusy("too many wait for the lists", hint="try again, or ask without `after`")
        try:
            yield
        finally:
            places.release()


class Awaiting:
    """Waits for positions that callers name."""

    def __init__(self, views: JobViews, positions: Positions, room: Room) -> None:
        self._views = views
        self._positions = positions
        self._room = room

    def reach(self, after: str, timeout_seconds: float, what: str, *views: ViewName) -> int:
        """Wait until these show everything up to a position, which is returned. `InvalidInput` for one that was never
        given out, `NotYetVisible` where time runs out, `LedgerBusy` where too many wait."""
        position, names = self._positions.number(after), frozenset(views)
        if self._views.wait_for(position, 0, names):
            return position
        self._positions.require_given_out(position)
        with self._room.taken():
            reached = timeout_seconds > 0 and self._views.wait_for(position, timeout_seconds, names)
        if not reached:
            raise not_yet_visible(after, timeout_seconds, what)
        return position


def not_yet_visible(after: str | None, timeout_seconds: float, what: str) -> NotYetVisible:
    """`what` (the lists) do not show that position yet."""
    return NotYetVisible(
        f"the {what} did not reach {after} within {timeout_seconds:g} s", field="after", rule="reached in time",
        hint="is a worker running? projections run with `jobledger up` and `work`",
    )  # fmt: skip
