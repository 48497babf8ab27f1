"""The statistics on PostgreSQL: a tenant's as `jobledger_api`, under row-level security; the queues' as an auditor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from jobledger.application.ports import GroupBy, StatisticsPage
from jobledger.projections.queue_statistics import QUEUE_STATISTICS
from jobledger.projections.tenant_statistics import TENANT_STATISTICS

from ..sql_blocks import load
from ..statistics_rows import grouping, page
from .connections import Connections, PgConnection, Role
from .freshness import PostgresFreshness
from .reader import Horizon

SQL = load("jobledger.infrastructure.postgres", "sql/statistics.sql")


class PostgresStatistics:
    """The `StatisticsViews` port on PostgreSQL."""

    def __init__(self, connections: Connections, horizon: Horizon | None = None) -> None:
        self._connections = connections
        self._freshness = PostgresFreshness(connections, horizon or Horizon(connections))

    def of_tenant(
        self, tenant: str, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int
    ) -> StatisticsPage:
        """What happened to a tenant's jobs, by hours."""
        values = {**wanted(by, since, until, limit), "tenant": tenant}
        with self._connections.tenant_transaction(tenant) as connection:
            at, rows = self._ask(connection, TENANT_STATISTICS.name, SQL["tenant_statistics"], values)
        return page(rows, limit, self._freshness.told(TENANT_STATISTICS.name, at))

    def of_queues(self, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int) -> StatisticsPage:
        """What happened in the queues, by minutes."""
        values = wanted(by, since, until, limit)
        with self._connections.transaction(Role.AUDITOR) as connection:
            at, rows = self._ask(connection, QUEUE_STATISTICS.name, SQL["queue_statistics"], values)
        return page(rows, limit, self._freshness.told(QUEUE_STATISTICS.name, at))

    def _ask(
        self, connection: PgConnection, name: str, statement: str, values: Mapping[str, object]
    ) -> tuple[tuple[Any, ...] | None, list[tuple[Any, ...]]]:
        asked = self._freshness.ask(connection, name)
        found = connection.execute(statement, values, prepare=False, binary=True)
        return asked.fetchone(), found.fetchall()


def wanted(by: frozenset[GroupBy], since: datetime, until: datetime, limit: int) -> dict[str, object]:
    """The values of a query; one row more than the limit tells whether there are others."""
    return {**grouping(by), "since": since, "until": until, "limit": limit + 1}
