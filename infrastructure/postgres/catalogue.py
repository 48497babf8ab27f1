"""What the installation knows: its tenants and job types."""

from __future__ import annotations

from jobledger.application.writes import JobTypeRow, LimitRow, TenantRow
from jobledger.domain.job_type import JobTypeDefinition
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target
from jobledger.domain.tenant import TenantStatus

from .connections import READS_ALL, Connections, Role
from .statements import SQL, Row


class PostgresCatalogue:
    """The `Catalogue` on PostgreSQL. It reads as a worker does: whose tenants exist is no tenant's data. A login of
    the API sees the tenants that it can name, and the job types."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def tenant(self, name: str) -> TenantRow | None:
        """A tenant, or None."""
        role = self._connections.acting(*READS_ALL, Role.API)
        if role is Role.API:
            with self._connections.tenant_transaction(name) as connection:
                rows = connection.execute(SQL["tenant"], (name,)).fetchall()
        else:
            rows = self._rows(role, SQL["tenant"], (name,))
        return _tenant_row(rows[0]) if rows else None

    def tenants(self) -> list[TenantRow]:
        """All tenants by name."""
        return [_tenant_row(row) for row in self._rows(self._connections.acting(*READS_ALL), SQL["tenants"])]

    def job_type(self, name: str) -> JobTypeRow | None:
        """A job type, or None."""
        rows = self._job_types(SQL["job_type"], (name,))
        return rows[0] if rows else None

    def job_types(self) -> list[JobTypeRow]:
        """All job types by name."""
        return self._job_types(SQL["job_types"])

    def limits(self) -> list[LimitRow]:
        """All targets that are limited or paused: by scope, tenant and subject."""
        return [_limit_row(row) for row in self._rows(self._connections.acting(*READS_ALL), SQL["limits"])]

    def _job_types(self, statement: str, parameters: tuple[str, ...] = ()) -> list[JobTypeRow]:
        rows = self._rows(self._connections.acting(*READS_ALL, Role.API), statement, parameters)
        return [
            JobTypeRow(JobTypeDefinition.model_validate_json(definition), fingerprint, code_version, app)
            for definition, fingerprint, code_version, app in rows
        ]

    def _rows(self, role: Role, statement: str, parameters: tuple[str, ...] = ()) -> list[Row]:
        with self._connections.connection(role) as connection:
            return connection.execute(statement, parameters).fetchall()


def _tenant_row(row: Row) -> TenantRow:
    name, status, display_name = row
    return TenantRow(name, TenantStatus(status), display_name)


def _limit_row(row: Row) -> LimitRow:
    scope, tenant, subject, concurrency, rate_count, rate_seconds, weight, paused = row
    rate = None if rate_count is None else Rate(count=rate_count, seconds=rate_seconds)
    limits = Limits(concurrency=concurrency, rate=rate, weight=weight)
    return LimitRow(Target(Scope(scope), tenant, subject), FlowState(limits, paused))
