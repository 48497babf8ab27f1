"""A worker's own rate: how many jobs it may still start in the window that ends now."""

from __future__ import annotations

from collections import deque

from jobledger.domain.limit import Rate


class RateWindow:
    """Counts starts over a sliding window. Only the claiming thread uses it; times are monotonic."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._starts: deque[tuple[float, int]] = deque()
        self._count = 0

    def room(self, now: float) -> int:
        """How many jobs may start now."""
        while self._starts and self._starts[0][0] <= now - self._rate.seconds:
            self._count -= self._starts.popleft()[1]
        return self._rate.count - self._count

    def take(self, count: int, now: float) -> None:
        """So many jobs start now."""
        if count:
            self._starts.append((now, count))
            self._count += count

    def wait_seconds(self, now: float) -> float:
        """How long until there is room; 0 where there is."""
        return 0.0 if self.room(now) > 0 else max(0.0, self._starts[0][0] + self._rate.seconds - now)
