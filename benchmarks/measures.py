"""What a run measures, and how several runs become one figure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple


class Sample(NamedTuple):
    """What one run of one scenario gave; None is what it does not measure.

    `lists_rate` counts until every list had reached the last position, `rate` until nothing was unfinished. CPU is in
    seconds for 1,000 units: ours (all processes of jobledger) and the database server's. Latencies in milliseconds.
    `peak_mb`: the resident memory of the process of jobledger's that ever had the most.
    """

    scenario: str
    engine: str
    batch: int | None = None
    unit: str = "jobs"
    seconds: float | None = None
    rate: float | None = None
    lists_rate: float | None = None
    own_cpu: float | None = None
    server_cpu: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    longest_ms: float | None = None
    peak_mb: float | None = None

    @property
    def key(self) -> Key:
        """Samples of one key are runs of the same thing."""
        return Key(self.scenario, self.engine, self.batch)


class Key(NamedTuple):
    """Names a figure."""

    scenario: str
    engine: str
    batch: int | None = None


class Spread(NamedTuple):
    """The lowest and highest rate of the runs, to tell a difference from noise."""

    low: float
    high: float


Medians = dict[Key, Sample]


def medians(samples: Iterable[Sample]) -> Medians:
    """The median of each figure over the runs of one key (of peaks the highest), in the order in which the keys first
    came."""
    runs: dict[Key, list[Sample]] = {}
    for sample in samples:
        runs.setdefault(sample.key, []).append(sample)
    return {key: _median_of(of_key) for key, of_key in runs.items()}


def spread_of(samples: Sequence[Sample], key: Key) -> Spread | None:
    """Lowest and highest rate of a key; None where it has no rate."""
    rates = [sample.rate for sample in samples if sample.key == key and sample.rate is not None]
    return Spread(min(rates), max(rates)) if rates else None


def _median_of(runs: Sequence[Sample]) -> Sample:
    return runs[0]._replace(
        seconds=_middle(sample.seconds for sample in runs),
        rate=_middle(sample.rate for sample in runs),
        lists_rate=_middle(sample.lists_rate for sample in runs),
        own_cpu=_middle(sample.own_cpu for sample in runs),
        server_cpu=_middle(sample.server_cpu for sample in runs),
        p50_ms=_middle(sample.p50_ms for sample in runs),
        p95_ms=_middle(sample.p95_ms for sample in runs),
        p99_ms=_middle(sample.p99_ms for sample in runs),
        longest_ms=max((sample.longest_ms for sample in runs if sample.longest_ms is not None), default=None),
        peak_mb=max((sample.peak_mb for sample in runs if sample.peak_mb is not None), default=None),
    )


def _middle(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return median(known) if known else None


class Percentiles(NamedTuple):
    """Latencies in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """The nearest-rank percentiles of durations."""
    ordered = sorted(seconds)
    return Percentiles(*(1_000 * ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.95, 0.99)))
