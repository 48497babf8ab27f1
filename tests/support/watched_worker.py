"""A worker in a thread of its own, and tests that wait for what it tells instead of sleeping."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from jobledger.application.worker import RunResult, Worker, WorkerEvent, WorkerEventName

WAIT_SECONDS = 20.0
"""A limit for tests that would otherwise hang; nothing is expected to take so long."""


class WatchedWorker:
    """Runs a worker and remembers all its events."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.seen: list[WorkerEvent] = []
        self.result: RunResult | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        worker.events.on_any(self._note)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def wait_for(self, name: WorkerEventName | str, job_id: UUID | None = None, count: int = 1) -> WorkerEvent:
        """Wait until the worker has told so often of this; the last time it did."""

        def found() -> list[WorkerEvent]:
            return [event for event in self.seen if event.name == name and job_id in (None, event.job_id)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= count, WAIT_SECONDS):
                raise AssertionError(f"no {count} times {name} among {self.names}")
            return found()[count - 1]

    def stop(self) -> RunResult:
        """Ask to stop and wait for the end."""
        self.worker.request_stop()
        return self.ended()

    def ended(self) -> RunResult:
        """Wait for the end."""
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive(), f"still running after {self.names}"
        assert self.result is not None
        return self.result

    @property
    def names(self) -> list[str]:
        """What the worker told, in order."""
        return [event.name.value for event in self.seen]

    def _run(self) -> None:
        self.result = self.worker.run()

    def _note(self, event: WorkerEvent) -> None:
        with self._changed:
            self.seen.append(event)
            self._changed.notify_all()


@contextmanager
def working(worker: Worker) -> Iterator[WatchedWorker]:
    """A running worker, ended with the block."""
    watched = WatchedWorker(worker)
    watched.start()
    try:
        yield watched
    finally:
        worker.request_stop_now()
        watched.ended()
