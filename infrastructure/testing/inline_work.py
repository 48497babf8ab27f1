"""Draining: runs what is due, one job after the other, and moves the clock where it is asked to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from jobledger.application.app import App
from jobledger.application.maintenance import Maintenance
from jobledger.application.ports import Claim
from jobledger.application.worker.attempt import ChildDispatch
from jobledger.application.worker.inline import InlineWorker
from jobledger.application.worker.options import WorkerOptions
from jobledger.application.worker.worker import WorkerPorts
from jobledger.domain.errors import InvalidInput
from jobledger.domain.job import JobStatus

from ..memory import MemoryLedger
from .clock import FrozenClock
from .faults import Faults, MortalWriter, WorkerDied
from .stand_ins import Connect, GivenSecrets, GivenTransactions

ROUNDS_MAX = 10_000
"""Attempts and moves of the clock in one drain: a handler that always snoozes would never end."""
_MOMENT = timedelta(milliseconds=1)


class InlineWork:
    """The worker of a ledger in memory; after one died, the next one."""

    def __init__(
        self,
        app: App,
        memory: MemoryLedger,
        clock: FrozenClock,
        dispatch_children: ChildDispatch,
        *,
        secrets: GivenSecrets,
        connect: Connect | None,
    ) -> None:
        self.faults = Faults()
        self._app = app
        self._memory = memory
        self._clock = clock
        self._dispatch_children = dispatch_children
        self._secrets = secrets
        self._connect = connect
        self._jobs = self.faults.around(app.jobs)
        self._options = WorkerOptions()
        self._died = 0
        self._worker: InlineWorker | None = None
        self._maintenance = Maintenance(memory.queue, memory.writer, clock, actor="worker:worker-1")
        clock.on_move(self.look)

    def ports(self, writer: MortalWriter | None = None) -> WorkerPorts:
        """What a worker is given. Without a writer of its own its transactions keep nothing."""
        memory = self._memory
        return WorkerPorts(
            writer or memory.writer, memory.reader, memory.queue, memory.wake_up, self._clock, memory.identifiers,
            self._secrets, GivenTransactions(self._connect, writer),
        )  # fmt: skip

    def look(self) -> None:
        """Tell the handler that runs, if one does, what has changed: the time, or a request to cancel."""
        if self._worker is not None:
            self._worker.look()

    def drain(self, *, until_idle: bool, queues: tuple[str, ...] | None) -> int:
        """Run what is due; with `until_idle` also what becomes due, moving the clock there. How many attempts ran."""
        attempts = 0
        with self._working():
            for _ in range(ROUNDS_MAX):
                claim = self._run_next(queues)
                if claim is None or claim.jobs:
                    attempts += 1
                    continue
                if self._maintenance.run_once():
                    continue
                moment = self._next_moment(queues, claim) if until_idle else None
                if moment is None:
                    return attempts
                self._clock.move_to(moment)
        raise AssertionError(f"drain did not come to an end within {ROUNDS_MAX} rounds: does a handler always snooze?")

    @contextmanager
    def _working(self) -> Iterator[None]:
        if self._worker is not None:
            raise InvalidInput(
                "a handler called drain()", field="drain", rule="is called by the test",
                hint="what a handler dispatches runs after it, in the same drain",
            )  # fmt: skip
        self._worker = self._new_worker()
        try:
            yield
        finally:
            worker, self._worker = self._worker, None
            worker.close()

    def _new_worker(self) -> InlineWorker:
        writer = MortalWriter(self._memory.writer, self.faults)
        return InlineWorker(
            self._jobs, self.ports(writer), self._options, code_version=self._app.code_version,
            name=f"worker-{self._died + 1}", dispatch_children=writer.dispatching(self._dispatch_children),
        )  # fmt: skip

    def _run_next(self, queues: tuple[str, ...] | None) -> Claim | None:
        """Run one job. None where the worker died of it; the next one takes over."""
        assert self._worker is not None
        try:
            return self._worker.run_next(self._queues() if queues is None else queues)
        except WorkerDied:
            self._died += 1
            self._worker.close()
            self._worker = self._new_worker()
            return None
        finally:
            interruption, self.faults.interruption = self.faults.interruption, None
            if interruption is not None:
                raise interruption

    def _queues(self) -> tuple[str, ...]:
        return tuple(sorted({job.state.queue for job in self._memory.unfinished()})) or ("default",)

    def _next_moment(self, queues: tuple[str, ...] | None, claim: Claim) -> datetime | None:
        """When something can happen next; None where nothing will, however long one waits."""
        now, moments = self._clock.now(), []
        if claim.again_seconds is not None:
            moments.append(now + timedelta(seconds=claim.again_seconds) + _MOMENT)
        for job in self._memory.unfinished():
            served = job.state.job_type in self._jobs and (queues is None or job.state.queue in queues)
            if served and job.state.status is JobStatus.DELAYED:
                moments.append(job.state.due_at)
        for worker in self._memory.queue.workers():
            if self._holds_a_job(worker.heartbeat.worker):
                moments.append(worker.last_seen_at + timedelta(seconds=worker.heartbeat.lease_seconds) + _MOMENT)
        return min((moment for moment in moments if moment > now), default=None)

    def _holds_a_job(self, worker: str) -> bool:
        return any(job.state.worker == worker for job in self._memory.unfinished())
