"""The horizon, asked at most every few milliseconds by all consumers of a process."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock

MAX_AGE_SECONDS = 0.005
ORDINAL_BITS = 12
"""A position is a ticket and the event's place among those of the same ticket."""


class Horizon:
    """Remembers the last answer. `ask` returns the last finished ticket, from a statement of its own."""

    def __init__(self, ask: Callable[[], int], *, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._ask = ask
        self._max_age_seconds = max_age_seconds
        self._lock = Lock()
        self._position = 0
        self._asked_at = float("-inf")

    def position(self) -> int:
        """The last position that can be read: nothing will ever appear at or below it."""
        with self._lock:
            if time.monotonic() - self._asked_at >= self._max_age_seconds:
                asked_at = time.monotonic()
                self._position = ((self._ask() + 1) << ORDINAL_BITS) - 1
                self._asked_at = asked_at
            return self._position
