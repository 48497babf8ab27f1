"""For programs that dispatch jobs and look at them over the network: needs pydantic and httpx, nothing of the server.

with Client("https://jobs.example", key, tenant="acme") as client:
    client.dispatch("invoice.send", {"invoice_id": "42"})

`AsyncClient` is the same for coroutines; `jobledger.testing` has fakes of both.
"""

from .infrastructure.api.audit import Action, AuditEvent, ExportRecord
from .infrastructure.api.dlq import Count, DeadJob, DeadRow, DlqAct
from .infrastructure.api.events import LiveEvent
from .infrastructure.api.history import Causes, Diff, Explanation, HistoryEvent, JobResult
from .infrastructure.api.jobs import Dispatched, DispatchRequest, Job, JobChanged
from .infrastructure.api.keys import GrantRequest, IssuedKey, KeyChanged, KeyView
from .infrastructure.api.leases import AttemptEnded, Heartbeat, Lease, Leases, Reported, StepRecorded
from .infrastructure.api.lists import JobRow, Trace
from .infrastructure.api.operations import Begun, Operation
from .infrastructure.api.problems import Problem
from .infrastructure.api.projections import View, Views
from .infrastructure.api.queues import Limit, LimitHistory, Queue, TargetChanged
from .infrastructure.api.statistics import Statistics
from .infrastructure.api.tenants import Tenant, TenantChanged
from .infrastructure.api.workers import JobType, Worker
from .infrastructure.client.asynchronous import AsyncClient
from .infrastructure.client.dispatching import ItemResult
from .infrastructure.client.errors import (
    ApiProblem,
    ClientError,
    Conflict,
    InvalidRequest,
    NotFinished,
    NotFound,
    NotPermitted,
    NotYetVisible,
    ServerProblem,
    TooManyRequests,
    Unauthenticated,
    Unreachable,
    Unreadable,
    VersionConflict,
)
from .infrastructure.client.threaded import Client

__all__ = [
    "Action", "ApiProblem", "AsyncClient", "AttemptEnded", "AuditEvent", "Begun", "Causes", "Client", "ClientError",
    "Conflict", "Count", "DeadJob", "DeadRow", "Diff", "DispatchRequest", "Dispatched", "DlqAct", "Explanation",
    "ExportRecord", "GrantRequest", "Heartbeat", "HistoryEvent", "InvalidRequest", "IssuedKey", "ItemResult", "Job",
    "JobChanged", "JobResult", "JobRow", "JobType", "KeyChanged", "KeyView", "Lease", "Leases", "Limit",
    "LimitHistory", "LiveEvent", "NotFinished", "NotFound", "NotPermitted", "NotYetVisible", "Operation", "Problem",
    "Queue", "Reported", "ServerProblem", "Statistics", "StepRecorded", "TargetChanged", "Tenant", "TenantChanged",
    "TooManyRequests", "Trace", "Unauthenticated", "Unreachable", "Unreadable", "VersionConflict", "View", "Views",
    "Worker",
]  # fmt: skip
