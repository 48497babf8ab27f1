"""What each message needs: which permission, and for what. A test goes over all messages, so none can be forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from jobledger.domain.identity import Permission

from .access_messages import RecordAllowedAccess, RecordRefusedAccess
from .audit_messages import BeginExport, EndExport, GetExport, ListManualActs
from .commands import (
    CancelJob,
    CreateTenant,
    DiscardJob,
    DispatchJob,
    DispatchJobs,
    RegisterJobTypes,
    RequeueJob,
    RescheduleJob,
    ResumeTenant,
    SuspendTenant,
    UpdateJobStatus,
)
from .dlq_messages import CountDlq, DiscardDlq, GetDeadJob, GetDlqAct, ListDlqActs, ListDlqErrors, RequeueDlq
from .key_messages import CreateFirstKey, CreateKey, GetKey, ListKeys, RevokeKey, RotateKey
from .lease_messages import (
    ClaimJobs,
    CompleteAttempt,
    FailAttempt,
    GiveBackAttempt,
    RecordStep,
    RenewLeases,
    ReportLog,
    ReportProgress,
    RetireWorker,
    SnoozeAttempt,
)
from .limit_messages import (
    ExplainJob,
    GetLimitHistory,
    ListLimits,
    ListQueues,
    PauseTarget,
    RemoveLimits,
    ResumeTarget,
    SetLimits,
)
from .message import Message
from .projection_messages import (
    BeginRebuild,
    CancelRebuild,
    DropPrevious,
    EndRebuild,
    ListSkips,
    RecordParkedRetried,
    SkipParked,
    SkippedEvents,
    WithdrawSkip,
)
from .queries import (
    DiffJob,
    GetCauses,
    GetJob,
    GetJobHistory,
    ListDlq,
    ListJobsAsOf,
    ListJobTypes,
    ListPersonaJobs,
    ListTenantJobs,
    ListTenants,
    ListWorkers,
    TraceRequest,
)
from .statistics import GetQueueStatistics, GetTenantStatistics


class Scope(Enum):
    """What a message is about, and so what a grant has to cover."""

    INSTALLATION = "the installation: a grant for all tenants and queues"
    TENANT = "the message's tenant, all of its queues"
    LIST = "the message's tenant, and the queue that it filters by, else all of its queues"
    JOB = "one job: its tenant, and the queue that it is in"
    DISPATCH = "the tenants of the items, and the queues that they go into"
    TARGET = "the queue, tenant, persona or key that is asked about"
    CONTROL = "what is paused or limited: a queue, for all tenants; a persona or key of the tenant; a tenant, as NAME"
    NAME = "the tenant that the message names, as the installation sees it: a grant for all tenants and queues"
    WORK = "the tenants and queues whose jobs are worked on: its grants go along with the message"
    OWN = "whoever is known: the answer holds what is its own"
    INTERNAL = "nobody: only the program itself sends it"


class Need(NamedTuple):
    """All of `permissions`, for what `scope` says; what shows bodies needs `payloads.read`, too (`permissions_of`).
    A refusal is recorded where `recorded`: of what changes something, or shows customers' data or the audit. What is
    allowed is recorded by what it does; where it `leaves_no_record`, as `access.allowed`."""

    scope: Scope
    permissions: tuple[Permission, ...]
    recorded: bool = True
    leaves_no_record: bool = False


def permissions_of(message: Message[Any], need: Need) -> tuple[Permission, ...]:
    """All that a message needs. Whoever edits a payload is told what fits it, and so what is in it."""
    edits = isinstance(message, RequeueJob) and (message.payload is not None or message.put or message.without)
    if edits or getattr(message, "bodies", False):
        return (*need.permissions, Permission.READ_PAYLOADS)
    return need.permissions


def _reading(scope: Scope, permission: Permission = Permission.READ) -> Need:
    return Need(scope, (permission,), recorded=False)


NEEDS: Final[Mapping[type[Message[Any]], Need]] = {
    DispatchJob: Need(Scope.DISPATCH, (Permission.DISPATCH,)),
    DispatchJobs: Need(Scope.DISPATCH, (Permission.DISPATCH,)),
    CancelJob: Need(Scope.JOB, (Permission.OPERATE,)),
    RescheduleJob: Need(Scope.JOB, (Permission.OPERATE,)),
    DiscardJob: Need(Scope.JOB, (Permission.OPERATE,)),
    RequeueJob: Need(Scope.JOB, (Permission.REQUEUE,)),
    UpdateJobStatus: Need(Scope.JOB, (Permission.OPERATE, Permission.REQUEUE)),
    GetJob: _reading(Scope.JOB),
    GetJobHistory: _reading(Scope.JOB),
    GetDeadJob: _reading(Scope.JOB),
    DiffJob: _reading(Scope.JOB),
    GetCauses: _reading(Scope.JOB),
    ExplainJob: _reading(Scope.JOB),
    TraceRequest: _reading(Scope.TENANT),
    ListTenantJobs: _reading(Scope.LIST),
    ListPersonaJobs: _reading(Scope.LIST),
    ListJobsAsOf: _reading(Scope.LIST),
    ListDlq: _reading(Scope.LIST),
    CountDlq: _reading(Scope.LIST),
    ListDlqErrors: _reading(Scope.LIST),
    ListDlqActs: _reading(Scope.TENANT),
    GetDlqAct: _reading(Scope.LIST),
    RequeueDlq: Need(Scope.LIST, (Permission.REQUEUE,)),
    DiscardDlq: Need(Scope.LIST, (Permission.OPERATE,)),
    GetTenantStatistics: _reading(Scope.TENANT),
    GetQueueStatistics: _reading(Scope.INSTALLATION),
    ListWorkers: _reading(Scope.INSTALLATION),
    ListQueues: _reading(Scope.INSTALLATION),
    ListJobTypes: Need(Scope.OWN, (), recorded=False),
    ListTenants: Need(Scope.OWN, (), recorded=False),
    CreateTenant: Need(Scope.INSTALLATION, (Permission.TENANTS,)),
    SuspendTenant: Need(Scope.NAME, (Permission.TENANTS,)),
    ResumeTenant: Need(Scope.NAME, (Permission.TENANTS,)),
    RegisterJobTypes: Need(Scope.INSTALLATION, (Permission.REGISTER_TYPES,)),
    SetLimits: Need(Scope.CONTROL, (Permission.FLOW,)),
    RemoveLimits: Need(Scope.CONTROL, (Permission.FLOW,)),
    PauseTarget: Need(Scope.CONTROL, (Permission.FLOW,)),
    ResumeTarget: Need(Scope.CONTROL, (Permission.FLOW,)),
    ListLimits: _reading(Scope.TARGET),
    GetLimitHistory: _reading(Scope.TARGET),
    BeginExport: Need(Scope.TENANT, (Permission.AUDIT,)),
    EndExport: Need(Scope.TENANT, (Permission.AUDIT,)),
    GetExport: Need(Scope.TENANT, (Permission.AUDIT,), leaves_no_record=True),
    ListManualActs: Need(Scope.TENANT, (Permission.AUDIT,), leaves_no_record=True),
    BeginRebuild: Need(Scope.INSTALLATION, (Permission.VIEWS,)),
    EndRebuild: Need(Scope.INSTALLATION, (Permission.VIEWS,)),
    CancelRebuild: Need(Scope.INSTALLATION, (Permission.VIEWS,)),
    DropPrevious: Need(Scope.INSTALLATION, (Permission.VIEWS,)),
    SkipParked: Need(Scope.INSTALLATION, (Permission.VIEWS,)),
    RecordParkedRetried: Need(Scope.INSTALLATION, (Permission.VIEWS,)),
    WithdrawSkip: Need(Scope.INSTALLATION, (Permission.VIEWS,)),
    ListSkips: _reading(Scope.INSTALLATION, Permission.VIEWS),
    SkippedEvents: _reading(Scope.INSTALLATION, Permission.VIEWS),
    CreateKey: Need(Scope.INSTALLATION, (Permission.KEYS,)),
    CreateFirstKey: Need(Scope.INTERNAL, ()),
    RotateKey: Need(Scope.INSTALLATION, (Permission.KEYS,)),
    RevokeKey: Need(Scope.INSTALLATION, (Permission.KEYS,)),
    ListKeys: _reading(Scope.INSTALLATION, Permission.KEYS),
    GetKey: _reading(Scope.INSTALLATION, Permission.KEYS),
    RecordRefusedAccess: Need(Scope.INTERNAL, ()),
    RecordAllowedAccess: Need(Scope.INTERNAL, ()),
    ClaimJobs: Need(Scope.WORK, (Permission.WORK,)),
    RenewLeases: Need(Scope.WORK, (Permission.WORK,)),
    RetireWorker: Need(Scope.WORK, (Permission.WORK,)),
    ReportProgress: Need(Scope.WORK, (Permission.WORK,)),
    ReportLog: Need(Scope.WORK, (Permission.WORK,)),
    RecordStep: Need(Scope.WORK, (Permission.WORK,)),
    CompleteAttempt: Need(Scope.WORK, (Permission.WORK,)),
    FailAttempt: Need(Scope.WORK, (Permission.WORK,)),
    SnoozeAttempt: Need(Scope.WORK, (Permission.WORK,)),
    GiveBackAttempt: Need(Scope.WORK, (Permission.WORK,)),
}
"""By message."""
