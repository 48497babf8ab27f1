"""`ledger.dlq`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypedDict, Unpack
from uuid import UUID

from jobledger.domain.job import DlqReason, JobKind

from .client_part import ClientPart
from .dlq_messages import (
    BulkActOfDlq,
    CountDlq,
    DeadJob,
    DiscardDlq,
    DlqBulkDone,
    DlqCount,
    DlqProgress,
    GetDeadJob,
    GetDlqAct,
    ListDlqActs,
    ListDlqErrors,
    RequeueDlq,
)
from .ports import DlqErrors
from .queries import DlqList, ListDlq

Report = Callable[[DlqProgress], None]


class DlqFilters(TypedDict, total=False):
    """Which dead jobs are meant; times bound the moment of death. With `after` (a position) one's own writes count."""

    job_type: str
    kind: JobKind
    queue: str
    persona: str
    dlq_reason: DlqReason
    error_type: str
    fingerprint: str
    dead_from: datetime
    dead_to: datetime
    after: str


class DlqOptions(DlqFilters, total=False):
    """Filters and paging of the dead-letter queue."""

    cursor: str
    limit: int


class DlqOf(ClientPart):
    """Jobs that failed for good. Single ones are requeued and discarded with `ledger.jobs`, many at once here:

    seen = ledger.dlq.count(error_type="TimeoutError")
    if seen.summary.jobs:
        ledger.dlq.requeue(seen, reason="gateway fixed")
    """

    def list(self, *, tenant: str | None = None, **options: Unpack[DlqOptions]) -> DlqList:
        """A page of the dead jobs of a tenant, most recently dead first."""
        return self._ask(ListDlq, tenant=self._tenant_or(tenant), **options)

    def get(self, job: UUID | str, *, tenant: str | None = None, bodies: bool = False) -> DeadJob:
        """Why a job is dead. Raises `NotFound`, or `InvalidInput` for one that is not."""
        return self._ask(GetDeadJob, tenant=self._tenant_or(tenant), job=job, bodies=bodies)

    def count(self, *, tenant: str | None = None, **filters: Unpack[DlqFilters]) -> DlqCount:
        """How many dead jobs match, and of what: look at it, then hand it to `requeue` or `discard`."""
        return self._ask(CountDlq, tenant=self._tenant_or(tenant), **filters)

    def requeue(
        self,
        seen: DlqCount,
        *,
        reason: str,
        ticket: str | None = None,
        attempts: int | None = None,
        progress: Report | None = None,
    ) -> DlqBulkDone:
        """Give new attempts to what was counted: no more jobs than that, and none that died afterwards. Raises
        `CountChanged` where more match now."""
        return self._ask(
            RequeueDlq, **_confirmed(seen), reason=reason, ticket=ticket, attempts=attempts, progress=progress
        )

    def discard(
        self, seen: DlqCount, *, reason: str, ticket: str | None = None, progress: Report | None = None
    ) -> DlqBulkDone:
        """Give up for good what was counted; as `requeue`."""
        return self._ask(DiscardDlq, **_confirmed(seen), reason=reason, ticket=ticket, progress=progress)

    def errors(self, *, tenant: str | None = None, **filters: Unpack[DlqFilters]) -> DlqErrors:
        """Of which errors the dead jobs that match died, by fingerprint, the most frequent first."""
        return self._ask(ListDlqErrors, tenant=self._tenant_or(tenant), **filters)

    def act(self, act: str, *, tenant: str | None = None) -> BulkActOfDlq:
        """One act on many dead jobs, by the id of its record: how far it has come, or how it ended."""
        return self._ask(GetDlqAct, tenant=self._tenant_or(tenant), act=act)

    def acts(self, *, tenant: str | None = None, limit: int | None = None) -> tuple[BulkActOfDlq, ...]:
        """What was done to many dead jobs at once, the latest first."""
        return self._ask(ListDlqActs, tenant=self._tenant_or(tenant), limit=limit)


def _confirmed(seen: DlqCount) -> dict[str, object]:
    """The fields of a command about what was counted."""
    fields = dict(seen.where)
    fields["dlq_reason"] = fields.pop("reason")
    return {**fields, "dead_to": seen.until, "tenant": seen.tenant, "confirmed": seen.summary.jobs}
