"""jobledger: a multi-tenant background-job service in which the history of a job is the job.

app = App("condominium")                         what a program declares: job types and reactions
with Ledger.open() as ledger:                    what a service does: dispatch, look, change
    ledger.dispatch("invoice.send", {...}, tenant="acme")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .application.app import App
    from .application.client import LedgerClient
    from .application.commands import Receipt
    from .application.dispatch_item import Dispatch, Malformed
    from .application.job_context import JobContext
    from .application.message import Actor
    from .application.result import Accepted, Refused, Result
    from .application.secret_ref import SecretRef
    from .domain.errors import (
        IdempotencyConflict,
        IllegalTransition,
        InvalidInput,
        JobCancelledError,
        JobledgerError,
        LeaseLost,
        LedgerError,
        NeverRetry,
        NotFound,
        Refusal,
        RetryAfter,
        Snooze,
        SoftTimeout,
        UnknownJobType,
        UnknownSecret,
        UnknownTenant,
        VaultUnavailable,
    )
    from .domain.identity import Grant, Permission, Role
    from .domain.job import JobStatus
    from .domain.limit import Rate
    from .domain.rate_card import RateCard
    from .domain.retry import Retry
    from .infrastructure.ledger import Ledger

_HOME = {
    "application.app": ("App",),
    "application.client": ("LedgerClient",),
    "application.commands": ("Receipt",),
    "application.dispatch_item": ("Dispatch", "Malformed"),
    "application.job_context": ("JobContext",),
    "application.message": ("Actor",),
    "application.result": ("Accepted", "Refused", "Result"),
    "application.secret_ref": ("SecretRef",),
    "domain.errors": (
        "IdempotencyConflict", "IllegalTransition", "InvalidInput", "JobCancelledError", "JobledgerError",
        "LeaseLost", "LedgerError", "NeverRetry", "NotFound", "Refusal", "RetryAfter", "Snooze", "SoftTimeout",
        "UnknownJobType", "UnknownSecret", "UnknownTenant", "VaultUnavailable",
    ),
    "domain.identity": ("Grant", "Permission", "Role"),
    "domain.job": ("JobStatus",),
    "domain.limit": ("Rate",),
    "domain.rate_card": ("RateCard",),
    "domain.retry": ("Retry",),
    "infrastructure.ledger": ("Ledger",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load what is asked for when it is asked for: a command line that says its version needs none of it."""
        module = _MODULE_OF.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f".{module}", __name__), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "Accepted", "Actor", "App", "Dispatch", "Grant", "IdempotencyConflict", "IllegalTransition", "InvalidInput",
    "JobCancelledError", "JobContext", "JobStatus", "JobledgerError", "LeaseLost", "Ledger", "LedgerClient",
    "LedgerError", "Malformed", "NeverRetry", "NotFound", "Permission", "Rate", "RateCard", "Receipt",
    "Refusal", "Refused", "Result", "Retry", "RetryAfter", "Role", "SecretRef", "Snooze", "SoftTimeout",
    "UnknownJobType", "UnknownSecret", "UnknownTenant", "VaultUnavailable",
]  # fmt: skip
