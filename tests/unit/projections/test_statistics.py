"""Statistics: every event is counted once, in its hour or minute; what took how long stands in a class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.domain.job import JobCompleted, JobFacts, JobFailed
from jobledger.projections.histogram import BOUNDS_SECONDS, SUFFIXES
from jobledger.projections.job_statistics import COUNTED_COLUMNS, COUNTED_TOPICS, COUNTER_OF, RAN, WAITED
from jobledger.projections.projection import KnownFacts, Projection, Row, SeenEvent
from jobledger.projections.queue_statistics import QUEUE_STATISTICS
from jobledger.projections.tenant_statistics import TENANT_STATISTICS
from tests.support.given import ABOUT, completed, dispatched, failed, retried, sent_to_dlq, started
from tests.support.seen import JOB, as_seen, fold_all, histories, moves, seen

BOTH = pytest.mark.parametrize("projection", [TENANT_STATISTICS, QUEUE_STATISTICS], ids=lambda each: each.name)
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def at(moment: datetime, facts: JobFacts, tenant: str = "acme") -> SeenEvent:
    """An event recorded at a moment."""
    return SeenEvent(JOB, 1, tenant, 1, moment, facts.topic, b"", KnownFacts(facts))


def rows_of(projection: Projection, events: Iterable[SeenEvent]) -> list[Row]:
    """The rows of a view, in the order of their keys."""
    return [row for _, row in sorted(fold_all(projection, events).items(), key=repr)]


def test_a_life_is_counted_where_it_belongs() -> None:
    """One row an hour, persona, type and queue; the failed attempt and the completed one are both measured."""
    took = {"seconds_in_queue": 0.02, "seconds_running": 5.0, "estimated_cost": 0.25}
    life = (
        dispatched(), started(), failed().model_copy(update=took), retried(), started(2),
        completed(2).model_copy(update={**took, "seconds_in_queue": 4_000.0}),
    )  # fmt: skip
    (row,) = rows_of(TENANT_STATISTICS, [seen(facts, number) for number, facts in enumerate(life, start=1)])
    assert {name: value for name, value in row.items() if value} == {
        "tenant_id": "acme", "bucket_at": NOON, **ABOUT,
        "dispatched": 1, "started": 2, "failed": 1, "retried": 1, "completed": 1, "waited_30ms": 1, "waited_more": 1,
        "waited_seconds": 4_000.02, "ran_10s": 2, "ran_seconds": 10.0, "estimated_cost": 0.5,
    }  # fmt: skip
    assert set(row) == {column.name for column in TENANT_STATISTICS.columns}


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=45))], ids=["UTC", "Kathmandu"])
def test_buckets_are_hours_and_minutes_in_utc(zone: timezone) -> None:
    """An event belongs to the hour (a tenant's) and the minute (a queue's) in which it was recorded."""
    moments = [NOON, NOON + timedelta(minutes=59, seconds=59.999999), NOON + timedelta(hours=1)]
    events = [at(moment.astimezone(zone), dispatched()) for moment in moments]
    hours = [(row["bucket_at"], row["dispatched"]) for row in rows_of(TENANT_STATISTICS, events)]
    assert hours == [(NOON, 2), (NOON + timedelta(hours=1), 1)]
    minutes = {row["bucket_at"] for row in rows_of(QUEUE_STATISTICS, events)}
    assert minutes == {NOON, NOON + timedelta(minutes=59), NOON + timedelta(hours=1)}


def test_a_job_without_persona_is_counted_under_none() -> None:
    """Its persona is the empty text, which no persona is called."""
    events = [seen(dispatched().model_copy(update={"persona": None})), seen(dispatched())]
    assert [row["persona"] for row in rows_of(TENANT_STATISTICS, events)] == ["", "billing-bot"]


def test_tenants_have_rows_of_their_own_and_share_those_of_queues() -> None:
    """A tenant's row holds nothing of another; the row of a queue is of all."""
    events = [at(NOON, dispatched(), tenant) for tenant in ("acme", "beta", "beta")]
    assert [(row["tenant_id"], row["dispatched"]) for row in rows_of(TENANT_STATISTICS, events)] == [
        ("acme", 1), ("beta", 2),
    ]  # fmt: skip
    (row,) = rows_of(QUEUE_STATISTICS, events)
    assert (row["queue"], row["dispatched"], "tenant_id" in row) == ("billing", 3, False)


@pytest.mark.parametrize(
    ("seconds", "suffix"),
    [(-1.0, "10ms"), (0.0, "10ms"), *zip(BOUNDS_SECONDS, SUFFIXES, strict=False), (3_600.001, "more"), (1e300, "more")],
)
def test_a_bound_belongs_to_its_class(seconds: float, suffix: str) -> None:
    """Up to and including; what clocks that disagree make negative took no time at all."""
    took = completed().model_copy(update={"seconds_in_queue": seconds, "seconds_running": seconds})
    (row,) = rows_of(QUEUE_STATISTICS, [seen(took)])
    assert [name for name in (*WAITED.counts, *RAN.counts) if row[name]] == [f"waited_{suffix}", f"ran_{suffix}"]
    assert row["waited_seconds"] == row["ran_seconds"] == max(0.0, seconds)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")], ids=str)
def test_a_number_that_is_none_spoils_no_sum(number: float) -> None:
    """The attempt is counted; sums stay what the others made them."""
    broken = {"seconds_in_queue": number, "seconds_running": number, "estimated_cost": number}
    sound = completed().model_copy(update={"seconds_running": 2.0, "estimated_cost": 0.5})
    (row,) = rows_of(QUEUE_STATISTICS, [seen(sound), seen(completed().model_copy(update=broken))])
    assert (row["completed"], row["ran_seconds"], row["waited_seconds"], row["estimated_cost"]) == (2, 2.0, 0.0, 0.5)


def test_every_counter_has_its_event() -> None:
    """Each counted topic increases one counter, and that alone."""
    for facts in (dispatched(), started(), sent_to_dlq()):
        (row,) = rows_of(QUEUE_STATISTICS, [seen(facts)])
        assert {name for name in COUNTER_OF.values() if row[name]} == {COUNTER_OF[facts.topic]}
    assert len(set(COUNTER_OF.values())) == len(COUNTED_TOPICS) == 9
    assert ABOUT["queue"] == row["queue"]


# --- of any histories ------------------------------------------------------------------------------------------------

seconds = st.floats(-10, 100_000)


@BOTH
@for_all(chosen=moves, took=st.lists(st.tuples(seconds, seconds), min_size=1), gap=st.integers(0, 4_000))
def test_sums_over_buckets_are_the_counts_of_events(
    projection: Projection, chosen: list[tuple[int, str, float]], took: list[tuple[float, float]], gap: int
) -> None:
    """Random histories spread over any time: nothing is left out, nothing is counted twice."""
    events = [_measured(event, took, gap) for event in as_seen(histories(chosen))]
    rows = list(fold_all(projection, events).values())
    counted = Counter(event.topic for event in events)
    assert {topic: sum(int(str(row[name])) for row in rows) for topic, name in COUNTER_OF.items()} == {
        topic: counted[topic] for topic in COUNTER_OF
    }
    for row in rows:
        ended = row["completed"] + row["failed"]  # type: ignore[operator]
        for histogram in (WAITED, RAN):
            assert sum(row[name] for name in histogram.counts) == ended  # type: ignore[misc]
        assert set(row) == {column.name for column in projection.columns}
    ran = [
        max(0.0, event.figures.seconds_running) for event in events if event.topic in ("job.completed", "job.failed")
    ]
    assert sum(row["ran_seconds"] for row in rows) == pytest.approx(sum(ran))  # type: ignore[misc]


def _measured(event: SeenEvent, took: list[tuple[float, float]], gap: int) -> SeenEvent:
    facts = event.facts
    if isinstance(facts, JobCompleted | JobFailed):
        in_queue, running = took[event.position % len(took)]
        facts = facts.model_copy(update={"seconds_in_queue": in_queue, "seconds_running": running})
    moment = event.recorded_at + timedelta(seconds=gap * event.position)
    return event._replace(recorded_at=moment, reader=KnownFacts(facts))


def test_columns_are_of_types_that_add_up() -> None:
    """Counts are integers, sums are real, and there is one class more than bounds."""
    assert {column.type for column in COUNTED_COLUMNS} == {"integer", "real"}
    assert len(SUFFIXES) == len(BOUNDS_SECONDS) + 1 == len(WAITED.counts)
    assert list(BOUNDS_SECONDS) == sorted(BOUNDS_SECONDS)
