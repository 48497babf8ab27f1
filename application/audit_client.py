"""`ledger.audit` and `ledger.statistics`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from jobledger.domain.audit import ExportFormat

from .audit_messages import BeginExport, EndExport, Export, ExportRecord, GetExport, ListManualActs, ManualActs
from .client_part import ClientPart
from .ports import GroupBy
from .statistics import GetQueueStatistics, GetTenantStatistics, StatisticsReport


class AuditOf(ClientPart):
    """What auditors ask: who intervened, and the events as they were recorded.

    export = ledger.audit.begin_export(tenant="acme", reason="audit 2026")
    for event in export.events: ...
    """

    def actions(
        self,
        *,
        tenant: str | None = None,
        recorded_from: datetime | None = None,
        recorded_to: datetime | None = None,
        by: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
    ) -> ManualActs:
        """A page of what people did by hand, oldest first; without a tenant: of all, and of the installation."""
        return self._ask(
            ListManualActs, tenant=tenant or self._tenant, recorded_from=recorded_from, recorded_to=recorded_to,
            by=by, cursor=cursor, limit=limit,
        )  # fmt: skip

    def begin_export(
        self,
        *,
        tenant: str | None = None,
        recorded_from: datetime | None = None,
        recorded_to: datetime | None = None,
        types: Collection[str] = (),
        by: str | None = None,
        format: ExportFormat = "jsonl",  # noqa: A002 - the word of the command line
        bodies: bool = False,
        reason: str = "",
    ) -> Export:
        """The events of a tenant in the order of the ledger, one by one; that they are handed out is recorded first.
        `format` is what they are written in, for the record."""
        return self._ask(
            BeginExport, tenant=self._tenant_or(tenant), recorded_from=recorded_from, recorded_to=recorded_to,
            types=tuple(types), by=by, format=format, bodies=bodies, reason=reason,
        )  # fmt: skip

    def end_export(
        self, export: Export, *, events: int, first_position: int | None, last_position: int | None, sha256: str
    ) -> str:
        """Record what was handed out of an export, with the SHA-256 of the bytes; the id of the record."""
        return self._ask(
            EndExport, tenant=export.tenant, export_id=export.export_id, events=events,
            first_position=first_position, last_position=last_position, sha256=sha256,
        )  # fmt: skip

    def export_record(self, export_id: UUID, *, tenant: str | None = None) -> ExportRecord:
        """What the ledger says of an export. Raises `NotFound`."""
        return self._ask(GetExport, tenant=self._tenant_or(tenant), export_id=export_id)


class StatisticsOf(ClientPart):
    """What happened, summed up; times are widened to whole hours (queues: minutes), the answer says to which."""

    def of_tenant(
        self,
        *,
        tenant: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Collection[GroupBy | str] = (),
        limit: int | None = None,
        after: str | None = None,
    ) -> StatisticsReport:
        """A tenant's jobs, told apart by `bucket` (hour), `persona`, `job_type`, `queue`, or some of these."""
        return self._ask(
            GetTenantStatistics, tenant=self._tenant_or(tenant), since=since, until=until, by=frozenset(by),
            limit=limit, after=after,
        )  # fmt: skip

    def of_queues(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Collection[GroupBy | str] = (GroupBy.QUEUE,),
        limit: int | None = None,
        after: str | None = None,
    ) -> StatisticsReport:
        """The queues, all tenants together, told apart by `bucket` (minute), `queue`, or both."""
        return self._ask(GetQueueStatistics, since=since, until=until, by=frozenset(by), limit=limit, after=after)
