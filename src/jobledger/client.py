"""For programs that dispatch jobs and look at them over the network: needs pydantic and httpx, nothing of the server.

with Client("https://jobs.example", key, tenant="acme") as client:
    client.dispatch("invoice.send", {"invoice_id": "42"})

`AsyncClient` is the same for coroutines; `jobledger.testing` has fakes of both.
"""

from .infrastructure.api.dlq import Count, DeadJob, DeadRow
from .infrastructure.api.events import LiveEvent
from .infrastructure.api.history import HistoryEvent, JobResult
from .infrastructure.api.jobs import Dispatched, DispatchRequest, Job, JobChanged
from .infrastructure.api.lists import JobRow
from .infrastructure.api.operations import Operation
from .infrastructure.api.problems import Problem
from .infrastructure.api.queues import Queue
from .infrastructure.api.statistics import Statistics
from .infrastructure.api.tenants import Tenant
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
    "ApiProblem", "AsyncClient", "Client", "ClientError", "Conflict", "Count", "DeadJob", "DeadRow",
    "DispatchRequest", "Dispatched", "HistoryEvent", "InvalidRequest", "ItemResult", "Job", "JobChanged",
    "JobResult", "JobRow", "LiveEvent", "NotFinished", "NotFound", "NotPermitted", "NotYetVisible", "Operation",
    "Problem", "Queue", "ServerProblem", "Statistics", "Tenant", "TooManyRequests", "Unauthenticated",
    "Unreachable", "Unreadable", "VersionConflict",
]  # fmt: skip
