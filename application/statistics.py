"""Statistics: what happened to a tenant's jobs, or in the queues, within a time, summed up as one asks.

What is counted stands in buckets, so a time is widened to whole ones: the answer says from when to when it is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from jobledger.domain.errors import InvalidInput
from jobledger.domain.moment import MOMENT_MAX, MOMENT_MIN, Moment
from jobledger.domain.tenant import TenantName

from .awaiting import Awaiting, not_yet_visible
from .dispatcher import Dispatcher
from .flow import Flow
from .known import KnownTenants
from .message import Query
from .ports import Freshness, GroupBy, StatisticsGroup, StatisticsPage, StatisticsViews, ViewName
from .result import Accepted

GROUPS_LIMIT_DEFAULT, GROUPS_LIMIT_MAX = 100, 1_000
_WHAT = "statistics"
_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)


class StatisticsReport(NamedTuple):
    """Groups, the newest bucket first, then the busiest, of the buckets from `since` (inclusive) to `until`
    (exclusive). `more`: there are other groups; None as a time: without a bound."""

    since: datetime | None
    until: datetime | None
    groups: tuple[StatisticsGroup, ...]
    more: bool
    freshness: Freshness


class _Asked(Query[StatisticsReport]):
    """A time (None: without a bound) and how many groups at most."""

    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=GROUPS_LIMIT_MAX)] = GROUPS_LIMIT_DEFAULT


class GetTenantStatistics(_Asked):
    """What happened to a tenant's jobs, in hours, told apart by what is named."""

    tenant: TenantName
    by: frozenset[GroupBy] = frozenset()


class GetQueueStatistics(_Asked):
    """What happened in the queues, of all tenants together, in minutes: for operators."""

    by: frozenset[Literal[GroupBy.BUCKET, GroupBy.QUEUE]] = frozenset({GroupBy.QUEUE})


class Statistics:
    """The handlers of the queries about statistics."""

    def __init__(self, *, statistics: StatisticsViews, tenants: KnownTenants, awaiting: Awaiting) -> None:
        self._statistics = statistics
        self._tenants = tenants
        self._awaiting = awaiting

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the queries of this module."""
        dispatcher.register(GetTenantStatistics, self.of_tenant)
        dispatcher.register(GetQueueStatistics, self.of_queues)

    def of_tenant(self, query: GetTenantStatistics, flow: Flow) -> Accepted[StatisticsReport]:
        """A tenant's."""
        self._tenants.require_known(query.tenant)
        position, (since, until) = self._waited_for(query, ViewName.TENANT_STATISTICS), _widened(query, _HOUR)
        page = self._statistics.of_tenant(query.tenant, query.by, since=since, until=until, limit=query.limit)
        return Accepted(_report(query, page, since, until, position))

    def of_queues(self, query: GetQueueStatistics, flow: Flow) -> Accepted[StatisticsReport]:
        """Those of the queues."""
        position, (since, until) = self._waited_for(query, ViewName.QUEUE_STATISTICS), _widened(query, _MINUTE)
        page = self._statistics.of_queues(frozenset(query.by), since=since, until=until, limit=query.limit)
        return Accepted(_report(query, page, since, until, position))

    def _waited_for(self, query: _Asked, view: ViewName) -> int:
        """The position that the answer must have reached; 0 for any."""
        if query.after is None:
            return 0
        return self._awaiting.reach(query.after, query.timeout_seconds, _WHAT, view)


def _widened(query: _Asked, bucket: timedelta) -> tuple[datetime, datetime]:
    """The time that is asked for, in whole buckets."""
    since, until = query.since or MOMENT_MIN, query.until or MOMENT_MAX
    if until <= since:
        raise InvalidInput("the time ends before it begins", field="until", rule="lies after since")
    begun = _begun(since, bucket)
    ended = _begun(until, bucket)
    return begun, ended if ended == until else ended + bucket


def _begun(moment: datetime, bucket: timedelta) -> datetime:
    return moment.astimezone(UTC) - (moment - MOMENT_MIN) % bucket


def _report(query: _Asked, page: StatisticsPage, since: datetime, until: datetime, position: int) -> StatisticsReport:
    if page.freshness.position < position:
        raise not_yet_visible(query.after, query.timeout_seconds, _WHAT)
    return StatisticsReport(
        since if query.since else None, until if query.until else None, page.groups, page.more, page.freshness
    )
