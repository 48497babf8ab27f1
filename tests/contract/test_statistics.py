"""Statistics on all adapters: whatever one groups by, they are what the events of the ledger add up to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st
from psycopg.errors import InsufficientPrivilege

from jobledger.application.ports import GroupBy, StatisticsGroup, StatisticsPage, StatisticsViews
from jobledger.domain import job as jobs
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import AttemptError, JobCompleted, JobFacts, JobFailed, Lease, Measured
from jobledger.domain.moment import MOMENT_MAX, MOMENT_MIN
from jobledger.infrastructure.memory.statistics import MemoryStatistics
from jobledger.infrastructure.postgres.connections import Connections, Role
from jobledger.infrastructure.postgres.statistics import PostgresStatistics
from jobledger.infrastructure.sqlite.statistics import SqliteStatistics
from jobledger.projections.histogram import BOUNDS_SECONDS
from jobledger.projections.job_statistics import COUNTER_OF
from tests.support.given import NOW
from tests.support.seen import histories, moves

from .support import LedgerUnderTest, job_id
from .views_support import OpenedPostgres, OpenedSqlite, ReadSide, open_read_side

TENANTS = ("acme", "beta", "tenant-0", "tenant-1")
EVERY_GROUPING = [frozenset(by) for size in range(5) for by in combinations(GroupBy, size)]
QUEUES_BY = [by for by in EVERY_GROUPING if by <= {GroupBy.BUCKET, GroupBy.QUEUE}]


class Counting(NamedTuple):
    """A ledger, its statistics, and how they are brought up to date."""

    ledger: LedgerUnderTest
    statistics: StatisticsViews
    project: Callable[[], None]
    side: ReadSide
    known: set[tuple[str, UUID]]

    def of_tenant(
        self,
        tenant: str,
        *by: GroupBy,
        since: datetime = MOMENT_MIN,
        until: datetime = MOMENT_MAX,
        limit: int = 1_000,
    ) -> StatisticsPage:
        """A tenant's."""
        return self.statistics.of_tenant(tenant, frozenset(by), since=since, until=until, limit=limit)

    def of_queues(
        self, *by: GroupBy, since: datetime = MOMENT_MIN, until: datetime = MOMENT_MAX, limit: int = 1_000
    ) -> StatisticsPage:
        """Those of the queues."""
        return self.statistics.of_queues(frozenset(by), since=since, until=until, limit=limit)

    def run(self, *, seconds_in_queue: float = 0.0, seconds_running: float = 0.0, cost: float = 0.0) -> None:
        """Claim the only job that is ready and complete it."""
        job = self.ledger.claim_one()
        lease = Lease("w1", job.state.attempt)
        measured = Measured(seconds_in_queue, seconds_running, estimated_cost=cost)
        assert self.ledger.change(job, *jobs.complete(job.state, lease, measured), lease=lease).position is not None

    def fail_for_good(self, *, seconds_running: float = 0.0) -> None:
        """Claim the only job that is ready and send it to the DLQ."""
        job = self.ledger.claim_one()
        lease = Lease("w1", job.state.attempt)
        error = AttemptError("Broken", "it broke", "f", dlq_reason="unrecoverable")
        measured = Measured(0.0, seconds_running)
        facts = jobs.fail(job.state, lease, error, now=NOW, jitter=0, measured=measured)
        assert self.ledger.change(job, *facts, lease=lease).position is not None

    def events(self) -> list[tuple[str, RecordedEvent]]:
        """The events of known jobs with their tenants, from their streams."""
        return [(tenant, event) for tenant, job in self.known for event in self.ledger.reader.stream(tenant, job)]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def counting(request: pytest.FixtureRequest) -> Iterator[Counting]:
    """Once per adapter."""
    ledger: LedgerUnderTest = request.getfixturevalue(f"{request.param}_ledger")
    for tenant in TENANTS:
        ledger.create_tenant(tenant)
    with ExitStack() as closing:
        if request.param == "memory":
            store = ledger.queue._store  # type: ignore[attr-defined]
            yield Counting(ledger, MemoryStatistics(store), lambda: None, ReadSide(ledger, None), set())  # type: ignore[arg-type]
            return
        own = closing.enter_context(open_read_side(ledger))
        yield Counting(ledger, _statistics(own, closing), own.project, ReadSide(ledger, own), set())


def _statistics(own: object, closing: ExitStack) -> StatisticsViews:
    if isinstance(own, OpenedSqlite):
        return SqliteStatistics(own.database)
    assert isinstance(own, OpenedPostgres)
    connections = Connections(own.dsn)
    closing.callback(connections.close)
    return PostgresStatistics(connections)


# --- what the ledger says --------------------------------------------------------------------------------------------


def key_of(event: RecordedEvent, by: frozenset[GroupBy], bucket: str) -> tuple[object, ...]:
    """What a group is told apart by, of an event."""
    facts, at = event.facts, event.recorded_at.astimezone(UTC)
    assert isinstance(facts, JobFacts)
    begun = at.replace(second=0, microsecond=0) if bucket == "minute" else at.replace(minute=0, second=0, microsecond=0)
    whole = {
        GroupBy.BUCKET: begun, GroupBy.PERSONA: facts.persona or "", GroupBy.JOB_TYPE: facts.job_type,
        GroupBy.QUEUE: facts.queue,
    }  # fmt: skip
    return tuple(whole[what] if what in by else None for what in GroupBy)


def reckoned(
    events: Sequence[RecordedEvent], by: frozenset[GroupBy], bucket: str
) -> dict[tuple[object, ...], Counter[str]]:
    """Groups and their counts, reckoned from events one by one."""
    groups: dict[tuple[object, ...], Counter[str]] = {}
    for event in events:
        if event.topic in COUNTER_OF:
            counts = groups.setdefault(key_of(event, by, bucket), Counter())
            counts[COUNTER_OF[event.topic]] += 1
            if isinstance(event.facts, JobCompleted | JobFailed):
                counts["cents"] += round(event.facts.estimated_cost * 100)
                counts["running milliseconds"] += round(event.facts.seconds_running * 1_000)
                counts["queue milliseconds"] += round(event.facts.seconds_in_queue * 1_000)
    return groups


def told(group: StatisticsGroup) -> Counter[str]:
    """The same of what the statistics say."""
    counts = Counter({name: getattr(group, name) for name in COUNTER_OF.values()})
    counts["cents"] = round(group.estimated_cost * 100)
    counts["running milliseconds"] = round(group.ran.sum_seconds * 1_000)
    counts["queue milliseconds"] = round(group.waited.sum_seconds * 1_000)
    assert group.ran.measured == group.waited.measured == group.completed + group.failed
    assert group.ran.bounds_seconds == BOUNDS_SECONDS
    return counts


def assert_says(page: StatisticsPage, expected: dict[tuple[object, ...], Counter[str]]) -> None:
    """Exactly these groups, in the order that is promised."""
    assert {tuple(group[:4]): told(group) for group in page.groups} == expected
    assert len(page.groups) == len(expected) and page.more is False
    order = [(group.bucket_at or NOW, group.dispatched + group.started) for group in page.groups]
    assert order == sorted(order, reverse=True)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@for_all(chosen=moves, ran=st.integers(0, 5_000_000))
def test_statistics_are_what_the_ledger_says(
    counting: Counting, chosen: list[tuple[int, str, float]], ran: int
) -> None:
    """Random histories of jobs of two tenants: every grouping adds up to the events, for tenants and for queues."""
    decisions = histories(chosen, [job_id() for _ in range(6)])
    measured = [
        [(job, tenant, _measured(facts, ran + number)) for job, tenant, facts in decision]
        for number, decision in enumerate(decisions)
    ]
    counting.side.append(measured)
    counting.project()
    counting.known.update((tenant, job) for decision in decisions for job, tenant, _ in decision)
    every = counting.events()  # those of earlier examples, too: they share a ledger
    for by in EVERY_GROUPING:
        for name in ("tenant-0", "tenant-1"):
            own = [event for tenant, event in every if tenant == name]
            assert_says(counting.of_tenant(name, *by), reckoned(own, by, "hour"))
    for by in QUEUES_BY:
        assert_says(counting.of_queues(*by), reckoned([event for _, event in every], by, "minute"))


def _measured(facts: JobFacts, milliseconds: int) -> JobFacts:
    if not isinstance(facts, JobCompleted | JobFailed):
        return facts
    took = {"seconds_in_queue": milliseconds / 1_000, "seconds_running": milliseconds / 2_000, "estimated_cost": 0.25}
    return facts.model_copy(update=took)


# --- what is asked for -----------------------------------------------------------------------------------------------


def test_a_tenant_is_told_nothing_of_another(counting: Counting) -> None:
    """Each sees its own jobs; the queues' statistics are of both."""
    for tenant in ("acme", "acme", "beta"):
        counting.ledger.dispatch(tenant=tenant)
    counting.project()
    assert [group.dispatched for group in counting.of_tenant("acme").groups] == [2]
    assert [group.dispatched for group in counting.of_tenant("beta").groups] == [1]
    assert counting.of_tenant("tenant-0").groups == ()
    assert [group.dispatched for group in counting.of_queues().groups] == [3]


def test_how_long_it_took_is_told_by_its_class(counting: Counting) -> None:
    """Ten attempts: nine took no time, one took a while; both percentiles are bounds of what they took."""
    for number in range(10):
        counting.ledger.dispatch()
        slow = number == 9
        counting.run(seconds_in_queue=45.0 if slow else 0.005, seconds_running=4_000.0 if slow else 0.02, cost=0.5)
    counting.project()
    (group,) = counting.of_tenant("acme").groups
    assert group.waited.quantile(0.5) == (0.0, 0.01) and group.waited.quantile(0.95) == (30.0, 120.0)
    assert group.ran.quantile(0.5) == (0.01, 0.03) and group.ran.quantile(0.99) == (3_600.0, None)
    assert (group.completed, group.ran.measured) == (10, 10) and group.estimated_cost == pytest.approx(5.0)
    assert group.ran.sum_seconds == pytest.approx(4_000.18)


def test_only_the_time_that_is_asked_for_counts(counting: Counting) -> None:
    """From a bucket on, inclusive, up to another, exclusive."""
    job = counting.ledger.dispatch()
    counting.project()
    (event,) = counting.ledger.reader.stream("acme", job)
    hour = event.recorded_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    minute = event.recorded_at.astimezone(UTC).replace(second=0, microsecond=0)
    assert counting.of_tenant("acme", since=hour, until=hour + timedelta(hours=1)).groups != ()
    assert counting.of_tenant("acme", since=hour - timedelta(hours=1), until=hour).groups == ()
    assert counting.of_tenant("acme", since=hour + timedelta(microseconds=1)).groups == ()
    (group,) = counting.of_queues(GroupBy.BUCKET, since=minute, until=minute + timedelta(minutes=1)).groups
    assert group.bucket_at == minute
    assert counting.of_queues(until=minute).groups == ()


def test_more_groups_than_asked_for_are_mentioned(counting: Counting) -> None:
    """The busiest come first; whether others were left out is said."""
    for persona, number in {"one": 1, "two": 2, "three": 3}.items():
        for _ in range(number):
            counting.ledger.dispatch(persona=persona)
    counting.ledger.dispatch()
    counting.project()
    page = counting.of_tenant("acme", GroupBy.PERSONA, limit=2)
    assert ([group.persona for group in page.groups], page.more) == (["three", "two"], True)
    page = counting.of_tenant("acme", GroupBy.PERSONA, limit=4)
    assert ([group.persona for group in page.groups], page.more) == (["three", "two", "", "one"], False)


def test_statistics_say_how_fresh_they_are(counting: Counting) -> None:
    """Nothing before they are projected; afterwards their position is the ledger's head."""
    counting.ledger.dispatch()
    counting.project()
    for page in (counting.of_tenant("acme"), counting.of_queues()):
        fresh = page.freshness
        assert fresh.position >= fresh.head > 0 and isinstance(fresh.recorded_at, datetime)


def test_dead_jobs_are_counted_where_they_died(counting: Counting) -> None:
    """The failed attempt is measured, the death is counted beside it."""
    counting.ledger.dispatch()
    counting.fail_for_good(seconds_running=2.0)
    counting.project()
    (group,) = counting.of_tenant("acme", GroupBy.QUEUE, GroupBy.JOB_TYPE).groups
    assert (group.queue, group.job_type, group.persona) == ("default", "invoice.send", None)
    assert (group.failed, group.dead, group.completed) == (1, 1, 0)
    assert group.ran.quantile(0.5) == (1.0, 3.0)


# --- PostgreSQL itself -----------------------------------------------------------------------------------------------


def test_postgres_shows_the_api_its_tenant_and_no_queue(postgres_ledger: LedgerUnderTest) -> None:
    """Row-level security alone: with no condition at all one tenant is seen; the queues' table is refused."""
    for tenant in ("acme", "beta"):
        postgres_ledger.create_tenant(tenant)
        postgres_ledger.dispatch(tenant=tenant)
    with open_read_side(postgres_ledger) as own, ExitStack() as closing:
        assert isinstance(own, OpenedPostgres)
        own.project()
        connections = Connections(own.dsn)
        closing.callback(connections.close)
        with connections.tenant_transaction("acme") as connection:
            assert connection.execute("SELECT tenant_id FROM tenant_statistics").fetchall() == [("acme",)]
        with connections.connection(Role.API) as connection:
            assert connection.execute("SELECT tenant_id FROM tenant_statistics").fetchall() == []
        with connections.tenant_transaction("acme") as connection, pytest.raises(InsufficientPrivilege):
            connection.execute("SELECT queue FROM queue_statistics").fetchall()
        with connections.connection(Role.AUDITOR) as connection:
            assert len(connection.execute("SELECT queue FROM queue_statistics").fetchall()) >= 1
