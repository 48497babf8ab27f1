"""What only the ledger knows (jobs by queue, lag, horizon): asked rarely, on a thread of its own, only while somebody
scrapes. A scrape never waits long for the ledger, and never makes it work harder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Condition, Thread
from typing import NamedTuple

import structlog

from jobledger.application.ports import Clock, QueueCount
from jobledger.projections.ports import LedgerLag

MEASURED_SECONDS = 10.0
"""Measurements are taken again after so long, at the earliest."""
SHARE_MAX = 0.02
"""The part of the time that measuring may take, where the ledger is large and slow to count."""
STALE_SECONDS = 300.0
"""Older measurements are not shown: no number is better than one that is not true any more."""
WAIT_SECONDS = 1.0
"""How long a scrape waits for a measurement that is due."""

_log = structlog.get_logger("jobledger.metrics")


ParkedCounts = Mapping[str, tuple[int, int]]
"""By projection: events that it could not take, and events that wait behind those."""


def _nothing_parked() -> ParkedCounts:
    return {}


class Measured(NamedTuple):
    """What the ledger said; `at` is monotonic, `took_seconds` how long it took."""

    counts: tuple[QueueCount, ...]
    lag: LedgerLag
    at: float
    took_seconds: float
    parked: ParkedCounts = {}  # noqa: RUF012 - nobody changes it


class Sampler:
    """The latest measurement, renewed when it is asked for and old. Thread-safe."""

    def __init__(
        self,
        counts: Callable[[], list[QueueCount]],
        lag: Callable[[], LedgerLag],
        clock: Clock,
        parked: Callable[[], ParkedCounts] = _nothing_parked,
    ) -> None:
        self._counts = counts
        self._lag = lag
        self._parked = parked
        self._clock = clock
        self._changed = Condition()
        self._measured: Measured | None = None
        self._due_at = float("-inf")
        self._is_measuring = False
        self.failures = 0
        """How often the ledger could not be measured."""

    def latest(self) -> Measured | None:
        """The latest measurement; None while there is none that is still worth something."""
        with self._changed:
            if self._clock.monotonic() >= self._due_at:
                if not self._is_measuring:
                    self._is_measuring = True
                    Thread(target=self._measure, name="jobledger-metrics-sampler", daemon=True).start()
                self._changed.wait_for(lambda: not self._is_measuring, WAIT_SECONDS)
            measured = self._measured
            if measured is None or self._clock.monotonic() - measured.at > STALE_SECONDS:
                return None
            return measured

    def _measure(self) -> None:
        began_at = self._clock.monotonic()
        measured: Measured | None = None
        try:
            counts, lag, parked = tuple(self._counts()), self._lag(), self._parked()
            ended_at = self._clock.monotonic()
            measured = Measured(counts, lag, ended_at, ended_at - began_at, parked)
        except Exception as error:  # noqa: BLE001 - whatever it is: the scrape goes on without
            _log.warning("metrics.ledger_not_measured", error=str(error), error_type=type(error).__name__)
        with self._changed:
            took_seconds = self._clock.monotonic() - began_at
            self._due_at = began_at + took_seconds + max(MEASURED_SECONDS, took_seconds / SHARE_MAX)
            self._measured = measured or self._measured
            self.failures += measured is None
            self._is_measuring = False
            self._changed.notify_all()
