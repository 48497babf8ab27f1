"""Workers: who works on this ledger, and what it uses and does."""

from __future__ import annotations

from .dispatcher import Dispatcher
from .flow import Flow
from .ports import Queue, WorkerRow
from .queries import ListWorkers
from .result import Accepted


class Workers:
    """The handler of the query about workers."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(ListWorkers, self.list_all)

    def list_all(self, query: ListWorkers, flow: Flow) -> Accepted[tuple[WorkerRow, ...]]:
        """The workers that have not said goodbye, the longest running first."""
        return Accepted(tuple(row for row in self._queue.workers() if query.lost or not row.is_lost))
