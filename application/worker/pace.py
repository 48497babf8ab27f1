"""How fast a worker gets through its jobs, to know how many it may claim ahead."""

from __future__ import annotations

AHEAD_SECONDS = 1.0
_SAMPLE_SECONDS = 0.1


class Pace:
    """The mean running time of recent attempts. Threads add without a lock: a lost sample does not matter here."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._attempts = 0
        self._sampled_at = 0.0

    def add(self, seconds_running: float) -> None:
        """An attempt ended after so many seconds."""
        self._seconds += seconds_running
        self._attempts += 1

    def ahead(self, concurrency: int, limit: int, *, now: float, full: bool) -> int:
        """How many jobs begin within a second at this pace: what may be held ready beyond those that run.

        By Little's law, `concurrency` over the mean running time. `full`: all slots are taken, so that an attempt
        that has not ended yet says something too.
        """
        seconds, attempts, elapsed = self._seconds, self._attempts, now - self._sampled_at
        if elapsed >= _SAMPLE_SECONDS and attempts:
            self._seconds, self._attempts, self._sampled_at = seconds / 2, attempts // 2, now
        elif elapsed >= AHEAD_SECONDS and full:
            return 0
        if not attempts:
            return 0
        return min(limit, int(AHEAD_SECONDS * concurrency * attempts / max(seconds, 1e-6)))
