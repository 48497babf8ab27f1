"""The ports: what the application needs from the outside. Adapters are folders in `infrastructure/`.

A port is a singular noun, in a module with what it is asked and answers; everybody imports it from here. Positions are
plain integers here; outside the process they are strings `incarnation.position` (`Positions`). Everything that takes a
tenant returns that tenant's data only, on every adapter.
"""

from .attempt_transactions import AttemptTransaction, AttemptTransactions
from .catalogue import Catalogue
from .clock import Clock
from .event_reader import EVERY_EVENT, SCAN_EVENTS, EventBatch, EventFilter, EventReader, StreamPart, StreamReader
from .freshness import HELD_SECONDS_MIN, Freshness, HorizonHold
from .identifiers import Identifiers
from .job_repository import Job, JobRepository
from .job_views import (
    EVERY_VIEW,
    DlqError,
    DlqErrors,
    DlqGroup,
    DlqPage,
    DlqRow,
    DlqSummary,
    JobFilter,
    JobListRow,
    JobPage,
    JobViews,
    PageKey,
    TracedJob,
    TracePage,
    ViewName,
)
from .ledger_writer import AtOnceWriter, LedgerWriter, TransactionWriter
from .liveness import HeldLease, Renewal, WorkerHeartbeat, WorkerReport, WorkerRow
from .queue import (
    COUNT_SECONDS_MAX,
    TURN_SECONDS_MAX,
    Claim,
    ClaimRequest,
    ExpiredLease,
    OpenJob,
    Queue,
    QueueCount,
    Standing,
)
from .secret_vault import SecretVault
from .statistics_views import GroupBy, StatisticsGroup, StatisticsPage, StatisticsViews
from .wake_up import WakeUp

__all__ = [
    "COUNT_SECONDS_MAX",
    "EVERY_EVENT",
    "EVERY_VIEW",
    "HELD_SECONDS_MIN",
    "SCAN_EVENTS",
    "TURN_SECONDS_MAX",
    "AtOnceWriter",
    "AttemptTransaction",
    "AttemptTransactions",
    "Catalogue",
    "Claim",
    "ClaimRequest",
    "Clock",
    "DlqError",
    "DlqErrors",
    "DlqGroup",
    "DlqPage",
    "DlqRow",
    "DlqSummary",
    "EventBatch",
    "EventFilter",
    "EventReader",
    "ExpiredLease",
    "Freshness",
    "GroupBy",
    "HeldLease",
    "HorizonHold",
    "Identifiers",
    "Job",
    "JobFilter",
    "JobListRow",
    "JobPage",
    "JobRepository",
    "JobViews",
    "LedgerWriter",
    "OpenJob",
    "PageKey",
    "Queue",
    "QueueCount",
    "Renewal",
    "SecretVault",
    "Standing",
    "StatisticsGroup",
    "StatisticsPage",
    "StatisticsViews",
    "StreamPart",
    "StreamReader",
    "TracePage",
    "TracedJob",
    "TransactionWriter",
    "ViewName",
    "WakeUp",
    "WorkerHeartbeat",
    "WorkerReport",
    "WorkerRow",
]
