"""A ledger that does not answer: say so once, try again ever more slowly, say when it is over."""

from __future__ import annotations

import threading
from collections import Counter

from jobledger.domain.errors import LedgerError, LedgerNotFound, LedgerRestored, SchemaOutdated, SchemaTooNew

from .events import WorkerEvent, WorkerEventName, WorkerEvents
from .log import say

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.05, 5.0
FATAL = (LedgerRestored, LedgerNotFound, SchemaTooNew, SchemaOutdated)
"""Trying again cannot help: the worker ends."""


class Trouble:
    """Shared by the worker's threads, so that an outage is told of once and not once a thread."""

    def __init__(self, worker: str, events: WorkerEvents) -> None:
        self._worker = worker
        self._events = events
        self._lock = threading.Lock()
        self._failures = 0
        self._total = 0
        self.errors: Counter[str] = Counter()
        """How often the ledger failed, by kind of error."""
        self.fatal: LedgerError | None = None
        """Set once the ledger refused this worker for good."""

    def pause(self, error: BaseException) -> float:
        """The ledger failed: how many seconds to wait before the next try."""
        with self._lock:
            self._failures += 1
            self._total += 1
            self.errors[type(error).__name__] += 1
            failures = self._failures
        if failures == 1:
            self.error("worker.ledger_unavailable", error)
        return min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2.0 ** min(failures - 1, 20))

    @property
    def asking(self) -> int:
        """Take this before the ledger is asked, for `over`."""
        return self._total

    @property
    def is_on(self) -> bool:
        """Whether the ledger failed and did not answer since."""
        return self._failures > 0 or self.fatal is not None

    def over(self, asked: int) -> None:
        """The ledger answered what it was asked when `asking` was so. The late answer to a question from before the
        last failure says nothing about now."""
        if self._failures == 0:
            return
        with self._lock:
            if asked < self._total:
                return
            failures, self._failures = self._failures, 0
        if failures:
            say("info", "worker.ledger_recovered", worker=self._worker, failures=failures)
            self._events.emit(WorkerEvent(WorkerEventName.RECOVERED, self._worker))

    def error(self, event: str, error: BaseException, **fields: str) -> None:
        """An error of the worker itself, to the log and to its listeners."""
        detail = f"{type(error).__name__}: {error}"
        say("error", event, worker=self._worker, error=detail, **fields)
        self._events.emit(WorkerEvent(WorkerEventName.ERROR, self._worker, detail=detail))
