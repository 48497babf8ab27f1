"""The statistics on SQLite. The tenant stands in the query of a tenant's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from jobledger.application.ports import GroupBy, StatisticsPage
from jobledger.projections.queue_statistics import QUEUE_STATISTICS
from jobledger.projections.tenant_statistics import TENANT_STATISTICS

from ..sql_blocks import load
from ..statistics_rows import grouping, page
from .database import Database
from .freshness import read_freshness
from .types import microseconds, optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/statistics.sql")

Wanted = Mapping[str, str | int]


class SqliteStatistics:
    """The `StatisticsViews` port on SQLite."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_tenant(
        self, tenant: str, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int
    ) -> StatisticsPage:
        """What happened to a tenant's jobs, by hours."""
        values = {**wanted(by, since, until, limit), "tenant": tenant}
        return self._page(TENANT_STATISTICS.name, tenant, SQL["tenant_statistics"], values, limit)

    def of_queues(self, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int) -> StatisticsPage:
        """What happened in the queues, by minutes."""
        values = wanted(by, since, until, limit)
        return self._page(QUEUE_STATISTICS.name, None, SQL["queue_statistics"], values, limit)

    def _page(self, name: str, tenant: str | None, statement: str, values: Wanted, limit: int) -> StatisticsPage:
        with self._database.read() as connection:
            freshness = read_freshness(connection, name, tenant)
            found = connection.execute(statement, values).fetchall()
        return page([(optional_moment(row[0]), *row[1:]) for row in found], limit, freshness)


def wanted(by: frozenset[GroupBy], since: datetime, until: datetime, limit: int) -> Wanted:
    """The values of a query; one row more than the limit tells whether there are others."""
    return {**grouping(by), "since": microseconds(since), "until": microseconds(until), "limit": limit + 1}
