"""How fast a worker gets through its jobs, to know how many it may claim ahead."""

from __future__ import annotations

AHEAD_SECONDS = 1.0
_SAMPLE_SECONDS = 0.1


class Pace:
    """The mean running time of recent attempts. Threads add without a lock: a lost sample does not matter here."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._attempts = 0.0
        self._sampled_at = 0.0

    def add(self, seconds_running: float) -> None:
        """An attempt ended after so many seconds."""
        self._seconds += seconds_running
        self._attempts += 1

    def ahead(self, concurrency: int, limit: int, *, now: float) -> int:
        """How many jobs begin within a second at this pace: what may be held ready beyond those that run.

        By Little's law, `concurrency` over the mean running time; and never more than ended lately, because what
        comes next may be slower than what was: a few quick jobs are no promise for hundreds. What is older counts half
        as much with each look, until it is forgotten: a worker that ended nothing lately claims nothing ahead. `now`
        is monotonic.
        """
        seconds, attempts = self._seconds, self._attempts
        if now - self._sampled_at >= _SAMPLE_SECONDS:
            self._seconds, self._attempts, self._sampled_at = seconds / 2, attempts / 2, now
        if attempts < 0.5:
            return 0
        return min(limit, int(attempts), int(AHEAD_SECONDS * concurrency * attempts / max(seconds, 1e-6)))
