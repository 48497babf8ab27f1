"""The statistics on SQLite. The tenant stands in the query of a tenant's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from jobledger.application.ports import Freshness, GroupBy, StatisticsPage
from jobledger.projections.queue_statistics import QUEUE_STATISTICS
from jobledger.projections.tenant_statistics import TENANT_STATISTICS

from ..sql_blocks import load
from ..statistics_rows import grouping, page
from .database import Database
from .types import microseconds, optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/statistics.sql", "sql/reading.sql")

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
        return self._page(TENANT_STATISTICS.name, SQL["tenant_statistics"], values, limit)

    def of_queues(self, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int) -> StatisticsPage:
        """What happened in the queues, by minutes."""
        return self._page(QUEUE_STATISTICS.name, SQL["queue_statistics"], wanted(by, since, until, limit), limit)

    def _page(self, name: str, statement: str, values: Wanted, limit: int) -> StatisticsPage:
        with self._database.read() as connection:
            head: int = connection.execute(SQL["head"]).fetchone()[0]
            checkpoint = connection.execute(SQL["statistics_checkpoint"], (name,)).fetchone()
            found = connection.execute(statement, values).fetchall()
        position, recorded_at = (0, None) if checkpoint is None else checkpoint
        rows = [(optional_moment(row[0]), *row[1:]) for row in found]
        return page(rows, limit, Freshness(position, head, optional_moment(recorded_at)))


def wanted(by: frozenset[GroupBy], since: datetime, until: datetime, limit: int) -> Wanted:
    """The values of a query; one row more than the limit tells whether there are others."""
    return {**grouping(by), "since": microseconds(since), "until": microseconds(until), "limit": limit + 1}
