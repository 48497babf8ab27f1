"""How far the projections of this process have come, for whoever waits to read their own write."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from threading import Condition


def _nobody_to_hurry() -> None:
    pass


class Progress:
    """The positions of projections by name. Thread-safe; those who wait are woken at once.

    A runner sets `hurry`, which is called when somebody begins to wait: it should not dawdle to gather a larger batch.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._positions = dict.fromkeys(names, 0)
        self._changed = Condition()
        self._waiting = 0
        self.hurry: Callable[[], None] = _nobody_to_hurry

    def position(self, name: str) -> int:
        """The last position that the projection has read, as far as this process knows."""
        return self._positions[name]

    def reach(self, name: str, position: int) -> None:
        """Record that the projection stands at `position`; a rebuild may put it back."""
        if self._positions[name] != position:
            with self._changed:
                self._positions[name] = position
                self._changed.notify_all()

    def wait_for(self, position: int, timeout_seconds: float, names: Collection[str] | None = None) -> bool:
        """Wait until these projections (None: all) have reached `position`; False when time ran out."""
        wanted = self._positions.keys() if names is None else names
        with self._changed:
            if self._reached(position, wanted):
                return True
            self._waiting += 1
            self.hurry()
            try:
                return self._changed.wait_for(lambda: self._reached(position, wanted), timeout_seconds)
            finally:
                self._waiting -= 1

    @property
    def is_kept_here(self) -> bool:
        """Whether a runner of this process makes them move."""
        return self.hurry is not _nobody_to_hurry

    @property
    def awaited(self) -> bool:
        """Whether somebody waits right now."""
        return self._waiting > 0

    def _reached(self, position: int, names: Collection[str]) -> bool:
        return all(self._positions[name] >= position for name in names)
