"""A worker without threads: it runs one job at a time, in the calling thread, when it is told to.

For tests. Only the scheduling is its own: attempts, contexts, steps, reports, timeouts, endings and what they mean are
those of every worker.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from ..declared_job import DeclaredJob
from ..ports import Claim, ClaimRequest, OpenJob, WorkerHeartbeat
from ..telemetry import Telemetry
from .attempt import Attempt, ChildDispatch, Services
from .events import WorkerEvents
from .held import Held
from .monitor import Monitor
from .options import WorkerOptions
from .running import Runner
from .settling import Settler
from .trouble import Trouble
from .worker import WorkerPorts


class InlineWorker:
    """One slot, in whatever thread calls. Handlers of all kinds of isolation run there; coroutines on an event loop
    that lives until `close`."""

    def __init__(
        self,
        jobs: Mapping[str, DeclaredJob],
        ports: WorkerPorts,
        options: WorkerOptions,
        *,
        code_version: str,
        name: str,
        dispatch_children: ChildDispatch,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.name = name
        self._jobs = jobs
        self._ports = ports
        self._options = options
        self._code_version = code_version
        self._queues = options.queues
        events = WorkerEvents()
        trouble = Trouble(name, events)
        self._held = Held()
        services = Services(
            name, f"worker:{name}", ports.clock, ports.writer, ports.reader, events, dispatch_children,
            # the test's process is not the worker's, and a figure that differs in each run is none to assert on
            lambda: 0.0, ports.vault, ports.transactions,
        )  # fmt: skip
        self._settler = Settler(
            services, queue=ports.queue, identifiers=ports.identifiers, held=self._held, trouble=trouble,
            backlog=lambda: 0, open_again=_nobody_waits,
        )  # fmt: skip
        self._runner = Runner(services, telemetry or Telemetry(), self._settler.settle)
        self._monitor = Monitor(services, self._runner.running, self._settler.settle, self._abandon, lambda: None)
        self._loop: asyncio.Runner | None = None
        self._task: asyncio.Task[bool] | None = None

    def run_next(self, queues: tuple[str, ...]) -> Claim:
        """Claim the next due job of these queues and run it; its ending is durable on return. Jobs of tenants that may
        run none are left to maintenance."""
        self._queues = queues
        self._beat()
        request = ClaimRequest(
            self.name, queues, tuple(self._jobs), 1, self._code_version, self._options.lease_seconds,
            self._ports.clock.now(),
        )  # fmt: skip
        claim = self._ports.queue.claim(request)
        for job in claim.jobs:
            self.run(job)
        return claim

    def run(self, job: OpenJob) -> None:
        """Run a job whose attempt is this worker's; its ending is durable on return."""
        attempt = Attempt(job, self._jobs[job.state.job_type], self.name, claimed_at=self._ports.clock.monotonic())
        self._held.add([attempt])
        if attempt.declared.is_async:
            self._run_coroutine(attempt)
        else:
            self._runner.run(attempt)
        self._settler.settle_now()

    def look(self) -> None:
        """Time passed, or somebody asked to cancel: tell the running handler what a worker's threads would tell it."""
        if self._runner.running:
            self._beat()
            self._monitor.look()
            self._settler.settle_now()

    def _beat(self) -> None:
        """Renew the lease, and hear whether somebody asked to cancel."""
        renewal = self._ports.queue.heartbeat(
            WorkerHeartbeat(
                self.name, self._code_version, self._queues, 1, len(self._runner.running), self._options.lease_seconds
            )
        )  # fmt: skip
        for lease in renewal.leases:
            attempt = self._held.get((lease.job_id, lease.attempt))
            if attempt is not None and lease.cancel_requested:
                attempt.request_cancel()

    def close(self) -> None:
        """Close the event loop, if a handler needed one."""
        loop, self._loop = self._loop, None
        if loop is not None:
            _outside_of_any_loop(loop.close)

    def _run_coroutine(self, attempt: Attempt) -> None:
        async def run() -> bool:
            self._task = asyncio.current_task()
            return await self._runner.run_async(attempt)

        def run_loop() -> None:
            loop = self._loop = self._loop or asyncio.Runner()
            # A context of its own: what a handler leaves in context variables must not reach the next tenant.
            loop.run(run(), context=contextvars.Context())

        _outside_of_any_loop(run_loop)

    def _abandon(self, attempt: Attempt) -> None:
        """The hard timeout passed: a coroutine is cancelled, a function cannot be; what it does from here on is
        refused."""
        task = self._task
        if attempt.declared.is_async and task is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)


def _nobody_waits(queue: str) -> None:
    """The next claim is made when somebody asks for it."""


def _outside_of_any_loop(run: Callable[[], None]) -> None:
    """Call `run`; in a thread of its own where the caller is inside of an event loop: loops cannot be nested."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        run()
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(run).result()
