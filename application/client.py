"""jobledger for the code of a service: plain methods that return a value or raise the refusal.

Everything goes through the one dispatcher; who wants a refusal as a value calls `Ledger.dispatcher` directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypedDict, Unpack
from uuid import UUID

from jobledger.domain.job import JobStatus
from jobledger.domain.retry import Retry

from .app import App
from .audit_client import AuditOf, StatisticsOf
from .client_part import ClientPart as _Client
from .commands import (
    CancelJob,
    CreateTenant,
    DiscardJob,
    DispatchJob,
    DispatchJobs,
    JobChanged,
    JobTypesRegistered,
    Receipt,
    RegisterJobTypes,
    RequeueJob,
    RescheduleJob,
    ResumeTenant,
    SuspendTenant,
    TenantChanged,
    UpdateJobStatus,
)
from .dispatch_item import Dispatch, Malformed, Payload
from .dispatcher import Dispatcher
from .dlq_client import DlqOf, DlqOptions
from .key_client import KeysOf
from .limit_client import LimitsOf, QueuesOf
from .message import Actor
from .past_client import Job, ListOptions, PastOfJobs
from .ports import WorkerRow
from .queries import (
    DlqList,
    JobList,
    ListDlq,
    ListJobTypes,
    ListPersonaJobs,
    ListTenantJobs,
    ListTenants,
    ListWorkers,
)
from .result import Result
from .writes import JobTypeRow, TenantRow


class DispatchOptions(TypedDict, total=False):
    """Options of one job; what is absent comes from its type, its queue or the installation."""

    queue: str
    priority: int
    retry: Retry
    timeout_seconds: float
    soft_timeout_seconds: float
    max_stalled: int
    lock_key: str
    limit_key: str
    run_at: datetime
    delay_seconds: float
    job_id: UUID
    correlation_id: str
    trace_parent: str
    causation_id: str


class Jobs(PastOfJobs):
    """Jobs of a tenant: look at them, and change what waits, runs or is dead. Manual acts carry a reason."""

    def list(self, *, tenant: str | None = None, persona: str | None = None, **options: Unpack[ListOptions]) -> JobList:
        """A page of the jobs of a tenant, or of one persona of it, newest first."""
        if persona is not None:
            return self._ask(ListPersonaJobs, tenant=self._tenant_or(tenant), persona=persona, **options)
        return self._ask(ListTenantJobs, tenant=self._tenant_or(tenant), **options)

    def dlq(self, *, tenant: str | None = None, **options: Unpack[DlqOptions]) -> DlqList:
        """A page of the dead jobs of a tenant."""
        return self._ask(ListDlq, tenant=self._tenant_or(tenant), **options)

    def cancel(self, job: Job, *, reason: str, tenant: str | None = None) -> JobChanged:
        """Cancel a job that waits; ask one that runs to stop."""
        return self._ask(CancelJob, tenant=self._tenant_or(tenant), job=job, reason=reason)

    def reschedule(
        self,
        job: Job,
        *,
        reason: str,
        priority: int | None = None,
        due_at: datetime | None = None,
        tenant: str | None = None,
    ) -> JobChanged:
        """Change when or how urgently a job runs."""
        return self._ask(
            RescheduleJob, tenant=self._tenant_or(tenant), job=job, reason=reason, priority=priority, due_at=due_at
        )

    def requeue(
        self,
        job: Job,
        *,
        reason: str,
        ticket: str | None = None,
        attempts: int | None = None,
        payload: dict[str, object] | None = None,
        put: dict[str, object] | None = None,
        without: Sequence[str] | None = None,
        tenant: str | None = None,
    ) -> JobChanged:
        """Take a job out of the DLQ, with another payload if one is given, or with a few places of its own changed:
        `put={"/customer/email": "a@b.example"}`, `without=["/note"]` (JSON pointers)."""
        return self._ask(
            RequeueJob, tenant=self._tenant_or(tenant), job=job, reason=reason, ticket=ticket, attempts=attempts,
            payload=payload, put=put, without=without,
        )  # fmt: skip

    def discard(self, job: Job, *, reason: str, ticket: str | None = None, tenant: str | None = None) -> JobChanged:
        """Give a dead job up for good."""
        return self._ask(DiscardJob, tenant=self._tenant_or(tenant), job=job, reason=reason, ticket=ticket)

    def update_status(
        self,
        job: Job,
        status: JobStatus | str,
        *,
        reason: str = "",
        due_at: datetime | None = None,
        worker: str | None = None,
        attempt: int | None = None,
        result: object = None,
        tenant: str | None = None,
    ) -> JobChanged:
        """Bring a job to a status, where there is a decision that does. Raises `IllegalTransition`."""
        return self._ask(
            UpdateJobStatus, tenant=self._tenant_or(tenant), job=job, status=status, reason=reason, due_at=due_at,
            worker=worker, attempt=attempt, result=result,
        )  # fmt: skip


class TenantsOf(_Client):
    """The tenants of the installation."""

    def create(self, name: str, *, display_name: str = "", reason: str = "") -> TenantChanged:
        """Create a tenant; its name is its id."""
        return self._ask(CreateTenant, name=name, display_name=display_name, reason=reason)

    def suspend(self, name: str, *, reason: str) -> TenantChanged:
        """Take and run no jobs for a tenant."""
        return self._ask(SuspendTenant, name=name, reason=reason)

    def resume(self, name: str, *, reason: str) -> TenantChanged:
        """Take and run jobs for a tenant again."""
        return self._ask(ResumeTenant, name=name, reason=reason)

    def list(self) -> tuple[TenantRow, ...]:
        """All tenants by name."""
        return self._ask(ListTenants)


class TypesOf(_Client):
    """The job types that the installation knows."""

    def list(self) -> tuple[JobTypeRow, ...]:
        """All job types by name."""
        return self._ask(ListJobTypes)

    def register(self, app: App) -> JobTypesRegistered:
        """Publish an app's job types."""
        return self._ask(RegisterJobTypes, app=app.name, code_version=app.code_version, definitions=app.definitions)


class WorkersOf(_Client):
    """The workers of the installation."""

    def list(self, *, lost: bool = False) -> tuple[WorkerRow, ...]:
        """Who works, the longest running first; with `lost` also those that were not heard of in time."""
        return self._ask(ListWorkers, lost=lost)


class LedgerClient(_Client):
    """An open ledger; a context manager that closes it. Safe to share between threads."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        actor: Actor,
        *,
        tenant: str | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(dispatcher, actor, tenant)
        self._close = close
        self.jobs = Jobs(dispatcher, actor, tenant)
        self.tenants = TenantsOf(dispatcher, actor, tenant)
        self.dlq = DlqOf(dispatcher, actor, tenant)
        self.types = TypesOf(dispatcher, actor, tenant)
        self.limits = LimitsOf(dispatcher, actor, tenant)
        self.queues = QueuesOf(dispatcher, actor, tenant)
        self.keys = KeysOf(dispatcher, actor, tenant)
        self.workers = WorkersOf(dispatcher, actor, tenant)
        self.statistics = StatisticsOf(dispatcher, actor, tenant)
        self.audit = AuditOf(dispatcher, actor, tenant)

    @property
    def dispatcher(self) -> Dispatcher:
        """The one dispatcher, for commands and queries whose refusals are wanted as values."""
        return self._dispatcher

    @property
    def actor(self) -> Actor:
        """Who acts."""
        return self._actor

    def of(self, tenant: str) -> LedgerClient:
        """The same ledger for one tenant: `tenant=` may then be left out. Closing stays with the one that opened."""
        return LedgerClient(self._dispatcher, self._actor, tenant=tenant)

    def dispatch(
        self,
        job_type: str,
        payload: Payload,
        *,
        tenant: str | None = None,
        persona: str | None = None,
        idempotency_key: str | None = None,
        connection: object = None,
        reason: str | None = None,
        **options: Unpack[DispatchOptions],
    ) -> Receipt:
        """Dispatch a job. Raises the `Refusal` that says why not.

        With `connection`, an open psycopg or sqlite3 connection, it commits or vanishes with the caller's own
        transaction. `reason` makes it a manual dispatch, recorded as such.
        """
        item = Dispatch(
            job_type, payload, tenant or self._tenant or "", persona, idempotency_key, **options,
            manual=reason is not None, reason=reason,
        )  # fmt: skip
        return self._dispatcher.execute(DispatchJob(actor=self._actor, item=item, connection=connection)).unwrap()

    def dispatch_many(self, items: Iterable[Dispatch | Malformed]) -> list[Result[Receipt]]:
        """Dispatch many jobs, each accepted or refused on its own; the results are in the order of the items."""
        tenant = self._tenant
        if tenant is not None:
            items = (
                item._replace(tenant=tenant) if isinstance(item, Dispatch) and not item.tenant else item
                for item in items
            )
        receipt = self._dispatcher.execute(DispatchJobs(actor=self._actor, items=items)).unwrap()
        return [item.result for item in receipt.results]

    def close(self) -> None:
        """Let go of the ledger."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
