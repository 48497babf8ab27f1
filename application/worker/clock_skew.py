"""How far this machine's clock is from the database's.

Due times of retries and snoozes, and the times that events carry, come from the worker's clock; leases and the moment
at which a job becomes due go by the database's. A worker whose clock is wrong retries too early or too late.
"""

from __future__ import annotations

from datetime import datetime

from .events import WorkerEvent, WorkerEventName, WorkerEvents
from .log import say

SKEW_SECONDS_MAX = 1.0
"""A clock that differs by more is told of."""
_CHANGED_BY = 0.25
"""Once told, it is told again when it changed by more than this part of itself, and by more than a second."""


class ClockSkew:
    """Learns from each renewal, and says so when the clocks differ."""

    def __init__(self, worker: str, events: WorkerEvents) -> None:
        self._worker = worker
        self._events = events
        self._told_seconds = 0.0
        self.seconds = 0.0
        """How far this clock is ahead of the database's; below 0: behind."""

    def learn(self, before: datetime, database_now: datetime, after: datetime) -> None:
        """The database said what time it is, between two looks at our own clock.

        The database read its clock at some moment between them, so nothing between `before - database_now` and
        `after - database_now` can be told from no change: a slow answer is never taken for skew. Of what is possible,
        the nearest to what was known is believed.
        """
        least, most = (before - database_now).total_seconds(), (after - database_now).total_seconds()
        self.seconds = min(max(self.seconds, least), most)
        self._tell()

    @property
    def is_too_large(self) -> bool:
        """Whether the clocks differ by more than a second."""
        return abs(self.seconds) > SKEW_SECONDS_MAX

    def _tell(self) -> None:
        change = abs(self.seconds - self._told_seconds)
        if self.is_too_large:
            if change > max(SKEW_SECONDS_MAX, abs(self._told_seconds) * _CHANGED_BY):
                self._told_seconds = self.seconds
                self._say("warning")
        elif self._told_seconds:
            self._told_seconds = 0.0
            self._say("info")

    def _say(self, level: str) -> None:
        detail = skew_text(self.seconds)
        name = "worker.clock_skew" if level == "warning" else "worker.clock_skew_over"
        say(
            "warning" if level == "warning" else "info", name, worker=self._worker,
            skew_seconds=round(self.seconds, 3), hint="synchronise the clocks of this machine and the database (NTP)",
        )  # fmt: skip
        self._events.emit(WorkerEvent(WorkerEventName.CLOCK_SKEW, self._worker, detail=detail))


def skew_text(seconds: float) -> str:
    """For people."""
    direction = "ahead of" if seconds > 0 else "behind"
    return f"this worker's clock is {abs(seconds):.3g} s {direction} the database's"
