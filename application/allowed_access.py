"""What is recorded of what an identity was allowed: all that changes nothing and shows nothing that is recorded by
itself, so that the ledger has every decision on a write, and on a read of bodies or of the audit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from jobledger.domain.errors import Refusal
from jobledger.domain.identity import Permission

from .access_messages import RecordAllowedAccess
from .commands import BulkReceipt, DispatchJob, DispatchJobs, JobTypesRegistered, Receipt
from .dispatch_item import Dispatch, Malformed
from .limit_messages import TargetChanged
from .message import Message
from .needs import Need
from .result import Accepted, Refused, Result

DUPLICATE = "duplicate"
UNCHANGED = "unchanged"


class NamedItems:
    """Items of a batch, and the tenants that they named so far."""

    def __init__(self, items: Iterable[Dispatch | Malformed]) -> None:
        self._items = items
        self.tenants: set[str] = set()

    def __iter__(self) -> Iterator[Dispatch | Malformed]:
        """One after the other."""
        for item in self._items:
            self.tenants.add(str(item.tenant))
            yield item


def allowed_access(message: Message[Any], need: Need, result: Result[Any]) -> RecordAllowedAccess | None:
    """The record of a decision that nothing else tells of; None where there is none to be made."""
    outcome = _of_refusal(message, need, result.error) if isinstance(result, Refused) else _of_answer(need, result)
    if outcome is None:
        return None
    shows_bodies = getattr(message, "bodies", False)
    permission = Permission.READ_PAYLOADS if shows_bodies else next(iter(need.permissions), "")
    return RecordAllowedAccess(
        actor=message.actor, asked=type(message).__name__, permission=permission, tenant_claimed=claimed(message),
        outcome=outcome, count=_count(result), trace_parent=message.trace_parent,
        correlation_id=message.correlation_id,
    )  # fmt: skip


def _of_refusal(message: Message[Any], need: Need, error: Refusal) -> str | None:
    """Refused dispatches are recorded by themselves, with their tenant, type and field."""
    if isinstance(message, DispatchJob | DispatchJobs) or not (need.recorded or getattr(message, "bodies", False)):
        return None
    return error.code


def _of_answer(need: Need, result: Accepted[Any]) -> str | None:
    answer = result.value
    if isinstance(answer, Receipt | BulkReceipt):
        is_duplicate = answer.duplicate if isinstance(answer, Receipt) else answer.duplicates > 0
        return DUPLICATE if is_duplicate else None
    if isinstance(answer, TargetChanged | JobTypesRegistered) and need.recorded:
        return None if answer.changed else UNCHANGED
    return "" if need.leaves_no_record else None


def _count(result: Result[Any]) -> int:
    return result.value.duplicates if isinstance(result, Accepted) and isinstance(result.value, BulkReceipt) else 1


def claimed(message: Message[Any]) -> str:
    """The tenant that was asked for, as it may be stored."""
    items = getattr(message, "items", None)
    if isinstance(items, NamedItems):
        tenants = items.tenants
        about: object = next(iter(tenants)) if len(tenants) == 1 else ""
    else:
        about = getattr(getattr(message, "item", message), "tenant", None) or getattr(message, "name", "") or ""
    return str(about)[:200].replace("\x00", "").encode("utf-8", "replace").decode()
