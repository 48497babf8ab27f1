"""Who was refused what, and who was allowed what left no other record, on the way to the ledger: each for itself at the
pace of people and of programs, and summed up of whoever asks for it again and again. Nobody fills the ledger so, and
nothing is silent."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Final, NamedTuple

from jobledger.domain.errors import JobledgerError

from .access_messages import RecordAccess
from .dispatcher import Dispatcher
from .logs import logger

EACH_MAX: Final = 60
"""Refusals of one identity between two sums that are recorded each, and as many of what it was allowed."""
KINDS_MAX: Final = 10_000
"""Kinds that are summed up at a time; any other is recorded each."""
SUM_SECONDS: Final = 60.0


class _Kind(NamedTuple):
    """Summed up is what is of one identity that asked for the same and was answered the same."""

    record: type[RecordAccess]
    actor: str
    asked: str
    permission: str
    outcome: str


class Accesses:
    """Those of a process. Safe in any thread."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._lock = threading.Lock()
        self._recorded: Counter[tuple[type[RecordAccess], str]] = Counter()
        self._pending: dict[_Kind, RecordAccess] = {}
        self._waiting: list[RecordAccess] = []
        self._woken = threading.Event()

    def record(self, access: RecordAccess) -> None:
        """Record it, durable once this returns; or count it, where there were too many since the last sum."""
        if not self._counted(access):
            self._dispatcher.execute(access).unwrap()

    def record_later(self, access: RecordAccess) -> None:
        """The same for who must not wait: left to `AccessesThread`, which is woken."""
        if not self._counted(access):
            with self._lock:
                self._waiting.append(access)
            self._woken.set()

    def record_waiting(self) -> None:
        """Record what was left for later. What cannot be recorded now is kept for the next sums."""
        self._woken.clear()
        with self._lock:
            waiting, self._waiting = self._waiting, []
        self._record_all(waiting)

    def record_sums(self) -> None:
        """Record what waits and what was counted, and begin anew. What cannot be recorded now is kept for the next
        time."""
        self.record_waiting()
        with self._lock:
            pending, self._pending = self._pending, {}
            self._recorded.clear()
        self._record_all(list(pending.values()))

    def wait(self, seconds: float) -> None:
        """Until something is left for later, `wake` is called, or time is out."""
        self._woken.wait(seconds)

    def wake(self) -> None:
        """End a `wait`."""
        self._woken.set()

    def _record_all(self, accesses: list[RecordAccess]) -> None:
        for access in accesses:
            try:
                self._dispatcher.execute(access).unwrap()
            except JobledgerError as error:
                with self._lock:
                    self._keep(access, is_last=False)
                logger().error(
                    "access.not_recorded", actor=access.actor.id, asked=access.asked, count=access.count,
                    error=str(error),
                )  # fmt: skip

    def _counted(self, access: RecordAccess) -> bool:
        with self._lock:
            who = type(access), access.actor.id
            self._recorded[who] += 1
            is_full = _kind(access) not in self._pending and len(self._pending) >= KINDS_MAX
            if self._recorded[who] <= EACH_MAX or is_full:
                return False
            self._keep(access)
        return True

    def _keep(self, access: RecordAccess, *, is_last: bool = True) -> None:
        """Sum it up with others of its kind: actor and request are those of the last, the tenant is there only where it
        is the same of all."""
        kind = _kind(access)
        known = self._pending.get(kind)
        if known is None:
            self._pending[kind] = access
            return
        last = access if is_last else known
        same = access.tenant_claimed if access.tenant_claimed == known.tenant_claimed else ""
        self._pending[kind] = last.model_copy(update={"count": known.count + access.count, "tenant_claimed": same})


class AccessesThread:
    """Records what is left for later at once, and the sums every minute, until it is closed; and then what is left."""

    def __init__(self, accesses: Accesses) -> None:
        self._accesses = accesses
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobledger-accesses", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Record what is left, and end."""
        self._closed.set()
        self._accesses.wake()
        self._thread.join()
        self._accesses.record_sums()

    def _run(self) -> None:
        sum_at = time.monotonic() + SUM_SECONDS
        while not self._closed.is_set():
            self._accesses.wait(max(0.0, sum_at - time.monotonic()))
            self._accesses.record_waiting()
            if time.monotonic() >= sum_at:
                self._accesses.record_sums()
                sum_at = time.monotonic() + SUM_SECONDS


def _kind(access: RecordAccess) -> _Kind:
    outcome: str = getattr(access, "outcome", "")
    return _Kind(type(access), access.actor.id, access.asked, access.permission, outcome)
