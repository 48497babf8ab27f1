"""What the installation knows: its tenants and job types."""

from __future__ import annotations

from jobledger.application.writes import JobTypeRow, LimitRow, TenantRow
from jobledger.domain.job_type import JobTypeDefinition
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target
from jobledger.domain.tenant import TenantStatus

from .connections import Connections, Role
from .statements import SQL, Row


class PostgresCatalogue:
    """The `Catalogue` on PostgreSQL. It reads as a worker does: whose tenants exist is not one tenant's data."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant, or None."""
        rows = self._tenants(SQL["tenant"], (name,))
        return rows[0] if rows else None

    def tenants(self) -> list[TenantRow]:
        """All tenants by name."""
        return self._tenants(SQL["tenants"])

    def job_type(self, name: str) -> JobTypeRow | None:
        """A job type, or None."""
        rows = self._job_types(SQL["job_type"], (name,))
        return rows[0] if rows else None

    def job_types(self) -> list[JobTypeRow]:
        """All job types by name."""
        return self._job_types(SQL["job_types"])

    def limits(self) -> list[LimitRow]:
        """All targets that are limited or paused: by scope, tenant and subject."""
        with self._connections.connection(Role.WORKER) as connection:
            rows = connection.execute(SQL["limits"]).fetchall()
        return [_limit_row(row) for row in rows]

    def _tenants(self, statement: str, parameters: tuple[str, ...] = ()) -> list[TenantRow]:
        with self._connections.connection(Role.WORKER) as connection:
            rows = connection.execute(statement, parameters).fetchall()
        return [TenantRow(name, TenantStatus(status), display_name) for name, status, display_name in rows]

    def _job_types(self, statement: str, parameters: tuple[str, ...] = ()) -> list[JobTypeRow]:
        with self._connections.connection(Role.WORKER) as connection:
            rows = connection.execute(statement, parameters).fetchall()
        return [
            JobTypeRow(JobTypeDefinition.model_validate_json(definition), fingerprint, code_version, app)
            for definition, fingerprint, code_version, app in rows
        ]


def _limit_row(row: Row) -> LimitRow:
    scope, tenant, subject, concurrency, rate_count, rate_seconds, weight, paused = row
    rate = None if rate_count is None else Rate(count=rate_count, seconds=rate_seconds)
    limits = Limits(concurrency=concurrency, rate=rate, weight=weight)
    return LimitRow(Target(Scope(scope), tenant, subject), FlowState(limits, paused))
