"""What the statistics count, whatever they are kept by: the columns and the fold that all of them share.

`dispatched`, `started`, `completed`, `failed`, `retried`, `dead` (sent to the DLQ), `stalled`, `interrupted` and
`cancelled` count events, each in the time bucket in which it was recorded (the database's clock, UTC): a job dispatched
at 9:59 and completed at 10:01 stands in two of them. The histograms and `estimated_cost` are of attempts that completed
or failed: how long each had waited before it started, and how long it ran. So the counts of a histogram add up to
completed + failed.

A row has no birth: it begins with whatever event comes first. Sums are added event by event in the order of the ledger,
so they come out the same to the last bit however events are batched.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import inf, isfinite
from typing import cast

from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobDispatched,
    JobFailed,
    JobInterrupted,
    JobRetried,
    JobSentToDlq,
    JobStalled,
    JobStarted,
)

from .histogram import BOUNDS_SECONDS, Histogram
from .projection import Column, Row, SeenEvent, Value

COUNTER_OF: Mapping[str, str] = {
    JobDispatched.topic: "dispatched",
    JobStarted.topic: "started",
    JobCompleted.topic: "completed",
    JobFailed.topic: "failed",
    JobRetried.topic: "retried",
    JobSentToDlq.topic: "dead",
    JobStalled.topic: "stalled",
    JobInterrupted.topic: "interrupted",
    JobCancelled.topic: "cancelled",
}
COUNTED_TOPICS = frozenset(COUNTER_OF)
_MEASURED = frozenset({JobCompleted.topic, JobFailed.topic})

WAITED, RAN = Histogram("waited"), Histogram("ran")

COUNTED_COLUMNS: tuple[Column, ...] = (
    *(Column(name, "integer") for name in COUNTER_OF.values()),
    *WAITED.columns,
    *RAN.columns,
    Column("estimated_cost", "real"),
)
_NOTHING_YET: Row = {column.name: 0 if column.type == "integer" else 0.0 for column in COUNTED_COLUMNS}


def count(row: Row | None, event: SeenEvent, key: Mapping[str, Value]) -> Row:
    """The row after the event; `key` are the key columns of a row that begins with it."""
    if row is None:
        row = {**key, **_NOTHING_YET}
    numbers = cast("dict[str, float]", row)  # this runs for every event: what is counted is a number by its column
    numbers[COUNTER_OF[event.topic]] += 1
    if event.topic in _MEASURED:
        waited, ran, estimated_cost = event.figures
        numbers[WAITED.counts[bisect_left(BOUNDS_SECONDS, waited)]] += 1
        numbers[RAN.counts[bisect_left(BOUNDS_SECONDS, ran)]] += 1
        numbers[WAITED.seconds] += _finite(waited)
        numbers[RAN.seconds] += _finite(ran)
        if estimated_cost and isfinite(estimated_cost):
            numbers["estimated_cost"] += estimated_cost
    return row


def hour_of(moment: datetime) -> datetime:
    """When the hour (UTC) began."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return _bucket(utc.year, utc.month, utc.day, utc.hour * 60)


def minute_of(moment: datetime) -> datetime:
    """When the minute (UTC) began."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return _bucket(utc.year, utc.month, utc.day, utc.hour * 60 + utc.minute)


@lru_cache(maxsize=4_096)
def _bucket(year: int, month: int, day: int, minutes: int) -> datetime:
    """One object for each bucket: thousands of keys share it, and it remembers its hash."""
    return datetime(year, month, day, tzinfo=UTC) + timedelta(minutes=minutes)


def _finite(seconds: float) -> float:
    """Where clocks disagree seconds may lie below 0; and one number that is none must not spoil a sum for good."""
    return seconds if 0 <= seconds < inf else 0.0
