"""Refusals on their way to the ledger: each for itself at the pace of people and of programs, and summed up of whoever
asks for what he may not have again and again. Nobody fills the ledger by being refused, and nothing is silent."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final, NamedTuple

from jobledger.domain.errors import JobledgerError

from .access_messages import RecordRefusedAccess
from .dispatcher import Dispatcher
from .logs import logger
from .message import Actor

EACH_MAX: Final = 60
"""Refusals of one identity between two sums that are recorded each."""
KINDS_MAX: Final = 10_000
"""Kinds of refusals that are summed up at a time; any other is recorded each."""
SUM_SECONDS: Final = 60.0


class _Kind(NamedTuple):
    """Refusals that are summed up are those of one identity that asked for the same and lacked the same."""

    actor: str
    asked: str
    permission: str


class _Sum(NamedTuple):
    """How many of a kind; actor, request and what was claimed of the last, the tenant only where it is the same of
    all."""

    times: int
    actor: Actor
    tenant_claimed: str
    trace_parent: str | None
    correlation_id: str | None

    def and_one(self, refused: RecordRefusedAccess) -> _Sum:
        """With one more."""
        tenant = self.tenant_claimed if self.tenant_claimed == refused.tenant_claimed else ""
        return _Sum(self.times + refused.count, refused.actor, tenant, refused.trace_parent, refused.correlation_id)


class Refusals:
    """The refusals of a process. Safe in any thread."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._recorded: Counter[str] = Counter()
        self._pending: dict[_Kind, _Sum] = {}

    def record(self, refused: RecordRefusedAccess) -> None:
        """Record a refusal, durable once this returns; or count it, where there were too many since the last sum."""
        if not self._counted(refused):
            self._dispatcher.execute(refused).unwrap()

    def record_sums(self) -> None:
        """Record what was counted, and begin anew. What cannot be recorded now is kept for the next time."""
        with self._lock:
            pending, self._pending = self._pending, {}
            self._recorded.clear()
        for kind, total in pending.items():
            try:
                self._dispatcher.execute(_summed_up(kind, total)).unwrap()
            except JobledgerError as error:
                self._keep(kind, total)
                logger().error("access.refusals_not_recorded", actor=kind.actor, count=total.times, error=str(error))

    def _counted(self, refused: RecordRefusedAccess) -> bool:
        kind = _Kind(refused.actor.id, refused.asked, refused.permission)
        with self._lock:
            self._recorded[kind.actor] += 1
            known = self._pending.get(kind)
            if self._recorded[kind.actor] <= EACH_MAX or (known is None and len(self._pending) >= KINDS_MAX):
                return False
            self._pending[kind] = _first(refused) if known is None else known.and_one(refused)
        return True

    def _keep(self, kind: _Kind, total: _Sum) -> None:
        with self._lock:
            since = self._pending.get(kind)
            self._pending[kind] = total if since is None else since._replace(times=since.times + total.times)


class RefusalsThread:
    """Records the sums every minute until it is closed, and then what is left."""

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobledger-refusals", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Record what is left, and end."""
        self._closed.set()
        self._thread.join()
        self._refusals.record_sums()

    def _run(self) -> None:
        while not self._closed.wait(SUM_SECONDS):
            self._refusals.record_sums()


def _first(refused: RecordRefusedAccess) -> _Sum:
    return _Sum(
        refused.count, refused.actor, refused.tenant_claimed, refused.trace_parent, refused.correlation_id
    )  # fmt: skip


def _summed_up(kind: _Kind, total: _Sum) -> RecordRefusedAccess:
    return RecordRefusedAccess(
        actor=total.actor, asked=kind.asked, permission=kind.permission, tenant_claimed=total.tenant_claimed,
        count=total.times, trace_parent=total.trace_parent, correlation_id=total.correlation_id,
    )  # fmt: skip
