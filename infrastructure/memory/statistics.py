"""The statistics in memory: the same projections as everywhere, folded and summed up when somebody looks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from jobledger.application.ports import Freshness, GroupBy, StatisticsPage
from jobledger.projections.job_statistics import COUNTED_COLUMNS
from jobledger.projections.projection import Projection
from jobledger.projections.queue_statistics import QUEUE_STATISTICS
from jobledger.projections.tenant_statistics import TENANT_STATISTICS

from ..statistics_rows import page
from .store import Store
from .views import View

_KEY = ("bucket_at", "persona", "job_type", "queue")
_NAMES = {GroupBy.BUCKET: "bucket_at", GroupBy.PERSONA: "persona", GroupBy.JOB_TYPE: "job_type", GroupBy.QUEUE: "queue"}
_COUNTED = tuple(column.name for column in COUNTED_COLUMNS)
_STARTED = len(_KEY) + _COUNTED.index("started")


class MemoryStatistics:
    """The `StatisticsViews`; always current."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._views = {projection.name: View(store, projection) for projection in (TENANT_STATISTICS, QUEUE_STATISTICS)}

    def of_tenant(
        self, tenant: str, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int
    ) -> StatisticsPage:
        """What happened to a tenant's jobs, by hours."""
        return self._page(
            TENANT_STATISTICS, by, lambda row: row["tenant_id"] == tenant and since <= row["bucket_at"] < until, limit
        )

    def of_queues(self, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int) -> StatisticsPage:
        """What happened in the queues, by minutes."""
        return self._page(QUEUE_STATISTICS, by, lambda row: since <= row["bucket_at"] < until, limit)

    def _page(
        self, projection: Projection, by: frozenset[GroupBy], belongs: Callable[[dict[str, Any]], bool], limit: int
    ) -> StatisticsPage:
        named = {_NAMES[what] for what in by}
        sums: dict[tuple[Any, ...], list[Any]] = {}
        for row in self._views[projection.name].rows():
            if belongs(row):
                key = tuple(row[name] if name in named else None for name in _KEY)
                group = sums.setdefault(key, [0] * len(_COUNTED))
                group[:] = [total + row[name] for total, name in zip(group, _COUNTED, strict=True)]
        rows = sorted(([*key, *group] for key, group in sums.items()), key=_order)
        events = self._store.events
        return page(rows, limit, Freshness(len(events), len(events), events[-1].recorded_at if events else None))


def _order(row: list[Any]) -> tuple[Any, ...]:
    """The newest bucket first, then the busiest, then by name."""
    dispatched, started = row[len(_KEY)], row[_STARTED]
    return (-row[0].timestamp() if row[0] else 0, -(dispatched + started), *(name or "" for name in row[1 : len(_KEY)]))
