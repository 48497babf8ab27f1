"""The statistics: what they can be told apart by, and the queries that answer them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from ..distribution import Distribution
from .freshness import Freshness


class GroupBy(StrEnum):
    """What statistics can be told apart by. A bucket is an hour of a tenant, a minute of a queue."""

    BUCKET = "bucket"
    PERSONA = "persona"
    JOB_TYPE = "job_type"
    QUEUE = "queue"


class StatisticsGroup(NamedTuple):
    """What was counted of a group. What it is not grouped by is None; a `persona` of '' are jobs without one. `waited`
    and `ran` are of attempts that completed or failed, as is `estimated_cost`."""

    bucket_at: datetime | None
    persona: str | None
    job_type: str | None
    queue: str | None
    dispatched: int
    started: int
    completed: int
    failed: int
    retried: int
    dead: int
    stalled: int
    interrupted: int
    cancelled: int
    waited: Distribution
    ran: Distribution
    estimated_cost: float


class StatisticsPage(NamedTuple):
    """Groups, the newest bucket first, then the busiest. `more`: there are others behind them."""

    groups: tuple[StatisticsGroup, ...]
    more: bool
    freshness: Freshness


class StatisticsViews(Protocol):
    """The statistics. Buckets from `since` (inclusive) to `until` (exclusive), summed up by what `by` names."""

    def of_tenant(
        self, tenant: str, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int
    ) -> StatisticsPage:
        """What happened to a tenant's jobs; buckets are hours."""
        ...

    def of_queues(self, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int) -> StatisticsPage:
        """What happened in the queues, of all tenants together; buckets are minutes. By bucket and queue only."""
        ...
