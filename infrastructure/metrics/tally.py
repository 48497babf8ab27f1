"""Counts what this process commits, batch by batch, after the commit: nothing happens while a job runs.

Registered as a listener of the ledger's writer only where metrics were asked for. A scrape takes a copy.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import NamedTuple

from jobledger.application.writes import ChangeJob, NewJob, Outcome, Write, WriteStatus
from jobledger.domain.event import Facts
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobFacts,
    JobFailed,
    JobInterrupted,
    JobRetried,
    JobSentToDlq,
    JobSnoozed,
    JobStalled,
)

QUEUE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400)
RUN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600)
"""Upper bounds of the histograms, inclusive."""

OUTCOMES: Mapping[type[Facts], str] = {
    JobCompleted: "completed", JobFailed: "failed", JobRetried: "retried", JobSentToDlq: "dead",
    JobSnoozed: "snoozed", JobInterrupted: "interrupted", JobCancelled: "cancelled", JobStalled: "stalled",
}  # fmt: skip
"""What is counted, by the event that says it."""

_MEASURED = (JobCompleted, JobFailed)

OTHER = "(other)"
"""In place of a label that would be one too many."""
TENANTS_MAX, SERIES_MAX, UNITS_MAX = 200, 2_000, 200


class SeriesKey(NamedTuple):
    """The labels of a series; `tenant` is empty unless it was asked for."""

    job_type: str
    queue: str
    tenant: str = ""


class Histogram:
    """Observations by bucket; the last bucket has no bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def copy(self) -> Histogram:
        """As it is now."""
        copied = Histogram(self.bounds)
        copied.counts, copied.total = self.counts.copy(), self.total
        return copied


class Series:
    """What was counted under one set of labels."""

    __slots__ = ("cost", "cpu_seconds", "dispatched", "outcomes", "queued", "ran")

    def __init__(self) -> None:
        self.dispatched = 0
        self.outcomes: Counter[str] = Counter()
        self.queued = Histogram(QUEUE_SECONDS)
        self.ran = Histogram(RUN_SECONDS)
        self.cost = 0.0
        self.cpu_seconds = 0.0

    def copy(self) -> Series:
        """As it is now."""
        copied = Series()
        copied.dispatched, copied.outcomes = self.dispatched, self.outcomes.copy()
        copied.queued, copied.ran = self.queued.copy(), self.ran.copy()
        copied.cost, copied.cpu_seconds = self.cost, self.cpu_seconds
        return copied


class Tallied(NamedTuple):
    """All that was counted so far. Units are by job type and name of the unit."""

    series: Mapping[SeriesKey, Series]
    units: Mapping[tuple[str, str], float]


class Tally:
    """Adds up commits; see the module. Thread-safe."""

    def __init__(self, *, tenant_label: bool = False) -> None:
        self._tenant_label = tenant_label
        self._lock = Lock()
        self._series: dict[tuple[str, str, str], Series] = {}
        self._tenants: set[str] = set()
        self._units: dict[tuple[str, str], float] = {}

    def committed(self, writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        """Count what was stored. Called after each commit, on the thread that made it."""
        with self._lock:
            for write, outcome in zip(writes, outcomes, strict=True):
                if outcome.status is not WriteStatus.WRITTEN:
                    continue
                if isinstance(write, ChangeJob):
                    for event in write.events:
                        outcome_name = OUTCOMES.get(type(event.facts))
                        if outcome_name is not None:
                            self._count(outcome_name, event.facts, write.tenant)  # type: ignore[arg-type]
                elif isinstance(write, NewJob):
                    self._of(write.state.job_type, write.state.queue, write.event.tenant).dispatched += 1

    def snapshot(self) -> Tallied:
        """A copy of all that was counted so far."""
        with self._lock:
            return Tallied(
                {SeriesKey(*key): series.copy() for key, series in self._series.items()}, self._units.copy()
            )  # fmt: skip

    def _count(self, outcome: str, facts: JobFacts, tenant: str) -> None:
        series = self._of(facts.job_type, facts.queue, tenant)
        series.outcomes[outcome] += 1
        if isinstance(facts, _MEASURED):
            series.queued.observe(facts.seconds_in_queue)
            series.ran.observe(facts.seconds_running)
            series.cost += facts.estimated_cost
            series.cpu_seconds += facts.usage.cpu_seconds
            if facts.usage.units:
                self._add_units(facts.job_type, facts.usage.units)

    def _of(self, job_type: str, queue: str, tenant: str) -> Series:
        labelled = self._tenant(tenant) if self._tenant_label else ""
        key = (job_type, queue, labelled)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= SERIES_MAX:
                key = (OTHER, OTHER, OTHER if self._tenant_label else "")
            series = self._series.setdefault(key, Series())
        return series

    def _tenant(self, tenant: str) -> str:
        if tenant not in self._tenants:
            if len(self._tenants) >= TENANTS_MAX:
                return OTHER
            self._tenants.add(tenant)
        return tenant

    def _add_units(self, job_type: str, units: Mapping[str, float]) -> None:
        for unit, amount in units.items():
            key = (job_type, unit)
            if key not in self._units and len(self._units) >= UNITS_MAX:
                key = (job_type, OTHER) if len(self._units) < 2 * UNITS_MAX else (OTHER, OTHER)
            self._units[key] = self._units.get(key, 0.0) + amount
