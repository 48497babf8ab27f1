"""jobledger: a multi-tenant background-job service in which the history of a job is the job.

app = App("condominium")                         what a program declares: job types and reactions
with Ledger.open() as ledger:                    what a service does: dispatch, look, change
    ledger.dispatch("invoice.send", {...}, tenant="acme")
"""

from __future__ import annotations

from .application.app import App
from .application.client import LedgerClient
from .application.commands import Receipt
from .application.dispatch_item import Dispatch
from .application.job_context import JobContext
from .application.message import Actor
from .application.result import Accepted, Refused, Result
from .domain.errors import (
    IdempotencyConflict,
    IllegalTransition,
    InvalidInput,
    JobCancelledError,
    JobledgerError,
    LedgerError,
    NeverRetry,
    NotFound,
    Refusal,
    RetryAfter,
    Snooze,
    UnknownJobType,
    UnknownTenant,
)
from .domain.job import JobStatus
from .domain.rate_card import RateCard
from .domain.retry import Retry


class Ledger(LedgerClient):
    """An open ledger; a context manager that closes it. Safe to share between threads."""

    @classmethod
    def open(cls, url: str | None = None, *, app: App | None = None, actor: Actor | None = None) -> Ledger:
        """Open the ledger of `url` (default: JOBLEDGER_DATABASE, else `sqlite:///jobledger.db`).

        With `app`, payloads of its job types are checked by its own models; other types by the installation's
        registry. `actor` defaults to `service:<app>`, else to whom the settings name. Raises `LedgerNotFound`,
        `SchemaOutdated`, `SchemaTooNew` or `LedgerUnavailable`.
        """
        # adapters, drivers and settings are only loaded by programs that open a ledger
        from .infrastructure.bootstrap import open_ledger  # noqa: PLC0415
        from .infrastructure.settings import load  # noqa: PLC0415

        settings = load() if url is None else load(database=url)
        name, authenticated = settings.acting
        if app is not None:
            name, authenticated = f"service:{app.name}", True
        handle = open_ledger(settings, app=app)
        return cls(handle.dispatcher, actor or Actor(id=name, authenticated=authenticated), close=handle.close)


__all__ = [
    "Accepted", "Actor", "App", "Dispatch", "IdempotencyConflict", "IllegalTransition", "InvalidInput",
    "JobCancelledError", "JobContext", "JobStatus", "JobledgerError", "Ledger", "LedgerError", "NeverRetry", "NotFound",
    "RateCard", "Receipt", "Refusal", "Refused", "Result", "Retry", "RetryAfter", "Snooze", "UnknownJobType",
    "UnknownTenant",
]  # fmt: skip
