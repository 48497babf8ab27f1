"""What the statistics of all engines have in common: rows of their queries as the application knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobledger.application.distribution import Distribution
from jobledger.application.ports import Freshness, GroupBy, StatisticsGroup, StatisticsPage
from jobledger.projections.histogram import BOUNDS_SECONDS, SUFFIXES
from jobledger.projections.job_statistics import COUNTER_OF

_KEY = 4
_COUNTERS_END = _KEY + len(COUNTER_OF)
_HISTOGRAM = len(SUFFIXES) + 1


def grouping(by: frozenset[GroupBy]) -> dict[str, bool]:
    """What a query groups by, as the values of its parameters."""
    return {f"by_{what.value}": what in by for what in GroupBy}


def page(rows: Sequence[Sequence[Any]], limit: int, freshness: Freshness) -> StatisticsPage:
    """At most `limit` of the rows, of which one more was asked for: key, counters, histograms, cost."""
    return StatisticsPage(tuple(_group(row) for row in rows[:limit]), len(rows) > limit, freshness)


def _group(row: Sequence[Any]) -> StatisticsGroup:
    waited, ran = row[_COUNTERS_END:][:_HISTOGRAM], row[_COUNTERS_END + _HISTOGRAM :][:_HISTOGRAM]
    return StatisticsGroup._make((*row[:_COUNTERS_END], _distribution(waited), _distribution(ran), row[-1]))


def _distribution(values: Sequence[Any]) -> Distribution:
    return Distribution(BOUNDS_SECONDS, tuple(values[:-1]), values[-1])
