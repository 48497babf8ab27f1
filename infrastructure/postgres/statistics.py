"""The statistics on PostgreSQL: a tenant's as `jobledger_api`, under row-level security; the queues' as an auditor."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from jobledger.application.ports import Freshness, GroupBy, StatisticsPage
from jobledger.projections.queue_statistics import QUEUE_STATISTICS
from jobledger.projections.tenant_statistics import TENANT_STATISTICS

from ..sql_blocks import load
from ..statistics_rows import grouping, page
from .connections import Connections, PgConnection, Role
from .reader import Horizon

SQL = load("jobledger.infrastructure.postgres", "sql/statistics.sql")


class PostgresStatistics:
    """The `StatisticsViews` port on PostgreSQL."""

    def __init__(self, connections: Connections, horizon: Horizon | None = None) -> None:
        self._connections = connections
        self._horizon = horizon or Horizon(connections)

    def of_tenant(
        self, tenant: str, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int
    ) -> StatisticsPage:
        """What happened to a tenant's jobs, by hours."""
        values = {**wanted(by, since, until, limit), "tenant": tenant}
        with self._connections.tenant_transaction(tenant) as connection:
            return self._page(connection, TENANT_STATISTICS.name, SQL["tenant_statistics"], values, limit)

    def of_queues(self, by: frozenset[GroupBy], *, since: datetime, until: datetime, limit: int) -> StatisticsPage:
        """What happened in the queues, by minutes."""
        values = wanted(by, since, until, limit)
        with self._connections.transaction(Role.AUDITOR) as connection:
            return self._page(connection, QUEUE_STATISTICS.name, SQL["queue_statistics"], values, limit)

    def _page(
        self, connection: PgConnection, name: str, statement: str, values: Mapping[str, object], limit: int
    ) -> StatisticsPage:
        # the checkpoint first: counts may then be newer than it says, never older
        checkpoint = connection.execute(SQL["statistics_checkpoint"], (name,), prepare=True)
        found = connection.execute(statement, values, prepare=False, binary=True)
        at, rows = checkpoint.fetchone(), found.fetchall()
        position, recorded_at = (0, None) if at is None else at
        return page(rows, limit, Freshness(position, max(position, self._horizon.position()), recorded_at))


def wanted(by: frozenset[GroupBy], since: datetime, until: datetime, limit: int) -> dict[str, object]:
    """The values of a query; one row more than the limit tells whether there are others."""
    return {**grouping(by), "since": since, "until": until, "limit": limit + 1}
