"""Statistics."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict
from pydantic.config import JsonDict

from .jobs import Answer
from .lists import FRESHNESS_EXAMPLE, Freshness

_MEASURED: JsonDict = {
    "count": 3, "mean_seconds": 0.5, "p50_at_most_seconds": 0.5, "p95_at_most_seconds": 1.0,
    "p99_at_most_seconds": 1.0, "bounds_seconds": [0.5, 1.0], "counts": [2, 1, 0],
}  # fmt: skip


class Measured(Answer):
    """How long something took. `p95` 3.0: 95 % took 3 s at most; null: nothing was measured or, where `count` is not 0,
    longer than the last bound. `counts` has one more than `bounds_seconds`: what was longer than all of them."""

    count: int
    mean_seconds: float | None
    p50_at_most_seconds: float | None
    p95_at_most_seconds: float | None
    p99_at_most_seconds: float | None
    bounds_seconds: list[float]
    counts: list[int]


class StatisticsGroup(Answer):
    """What was counted of a group; it holds what the groups are told apart by, `persona` null for jobs without one."""

    bucket_at: datetime | None = None
    type: str | None = None
    queue: str | None = None
    persona: str | None = None
    dispatched: int
    started: int
    completed: int
    failed: int
    retried: int
    dead: int
    stalled: int
    interrupted: int
    cancelled: int
    waited: Measured
    ran: Measured
    estimated_cost: float


class Statistics(Answer):
    """Groups, the newest bucket first, then the busiest, from `since` (inclusive) to `until` (exclusive): the times
    that were asked for, in whole buckets. `more`: there are other groups."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "since": "2026-03-01T09:00:00Z", "until": None, "by": ["type"], "more": False,
                    "freshness": FRESHNESS_EXAMPLE,
                    "groups": [
                        {
                            "type": "invoice.send", "dispatched": 4, "started": 3, "completed": 3, "failed": 0,
                            "retried": 0, "dead": 0, "stalled": 0, "interrupted": 0, "cancelled": 0,
                            "waited": _MEASURED, "ran": _MEASURED, "estimated_cost": 0.0,
                        }
                    ],
                }
            ]
        }
    )  # fmt: skip

    since: datetime | None
    until: datetime | None
    by: list[str]
    groups: list[StatisticsGroup]
    more: bool
    freshness: Freshness
