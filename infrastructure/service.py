"""What runs on a ledger: a worker for one program, the read models' runner, maintenance. Started and ended in order."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Mapping
from threading import Thread

import structlog

from jobledger.application.app import App
from jobledger.application.commands import JobTypesRegistered, RegisterJobTypes
from jobledger.application.maintenance import Maintenance, Stalled
from jobledger.application.message import Actor
from jobledger.application.ports import OpenJob, WorkerReport
from jobledger.application.worker import RunResult, Worker, WorkerEvent, WorkerEventName, WorkerEvents, WorkerOptions
from jobledger.application.worker.children import dispatching
from jobledger.application.worker.processes import ProcessPool
from jobledger.application.worker.vitals import Check, running
from jobledger.application.worker.worker import WorkerPorts
from jobledger.domain.errors import InvalidInput, JobledgerError
from jobledger.domain.limit import Rate
from jobledger.domain.options import DEFAULT_QUEUE
from jobledger.projections.runner import Runner

from .bootstrap import LedgerHandle, open_vault
from .projecting import Hurrying, make_runner
from .resources import resource_use
from .settings import Settings

_CATCH_UP_STEP_SECONDS = 0.1
_CATCH_UP_SECONDS = 30.0
"""How long the read models get to show what this process did, once its worker has ended."""

_log = structlog.get_logger("jobledger.service")


class Service:
    """A worker with projections and maintenance, for one run. Listen to `events` before `run`."""

    def __init__(
        self,
        handle: LedgerHandle,
        app: App,
        options: WorkerOptions,
        *,
        projections: bool = True,
        maintenance: bool = True,
    ) -> None:
        handle.settings.require_sessions("a worker")
        self.events = WorkerEvents()
        self._handle = handle
        self._app = app
        self._thread: Thread | None = None
        self._at_once = False
        self.worker = make_worker(handle, app, options, self.events)
        self._runner = make_runner(handle) if projections else None
        self._maintenance = (
            make_maintenance(handle, actor=f"worker:{self.worker.name}", stalled=self._tell_stalled)
            if maintenance else None
        )  # fmt: skip

    def run(self) -> RunResult:
        """Publish the program's types, then work until asked to stop (or drained); then let the lists catch up."""
        publish_types(self._handle, self._app)
        hurrying = None
        if self._runner is not None:
            self._runner.start()
            hurrying = Hurrying(self._handle, self._runner)
        if self._maintenance is not None:
            self._maintenance.start()
        try:
            return self.worker.run()
        finally:
            if self._maintenance is not None:
                self._maintenance.stop()
            if self._runner is not None and hurrying is not None:
                hurrying.stop()
                self._catch_up(self._runner)
                self._runner.stop()

    def start(self) -> None:
        """`run` in a thread of its own, for programs that do other things meanwhile; end it with `close`."""
        self._thread = Thread(target=self.run, name=f"{self.worker.name}-service", daemon=True)
        self._thread.start()

    def close(self, timeout_seconds: float | None = None) -> bool:
        """`request_stop`, then wait for the end; give back what still runs once time is out. False if that was so."""
        self.request_stop()
        if self._thread is None:
            return True
        self._thread.join(timeout_seconds)
        in_time = not self._thread.is_alive()
        if not in_time:
            self.request_stop_now()
            self._thread.join()
        return in_time

    @property
    def counts(self) -> Mapping[WorkerEventName, int]:
        """How many attempts ended in which way, and that is durable."""
        return self.worker.counts

    def liveness(self) -> list[Check]:
        """Whether only a restart helps: the worker's threads, and those that run beside it."""
        beside = {"projections": self._runner, "maintenance": self._maintenance}
        return [
            *self.worker.vitals.liveness(),
            *(running(name, thread.has_died) for name, thread in beside.items() if thread is not None),
            running("ledger writer", self._handle.writer_has_died()),
        ]

    def readiness(self) -> list[Check]:
        """Whether the worker takes jobs just now."""
        return self.worker.vitals.readiness()

    def request_stop(self) -> None:
        """Take no new jobs, finish those that run within the grace period, give back the rest."""
        self.worker.request_stop()

    def request_stop_now(self) -> None:
        """Give everything back at once, and leave the lists to others."""
        self._at_once = True
        self.worker.request_stop_now()

    def _tell_stalled(self, job: OpenJob, dead: bool) -> None:
        state = job.state
        detail = "sent to the DLQ" if dead else "waits again"
        self.events.emit(
            WorkerEvent(
                WorkerEventName.STALLED, self.worker.name, job.job_id, job.tenant, state.job_type, state.attempt, detail
            )
        )

    def _catch_up(self, runner: Runner) -> None:
        try:
            head = self._handle.event_source.head()
        except JobledgerError as error:
            _log.warning("service.not_caught_up", error=str(error))
            return
        clock = self._handle.ports.clock
        give_up_at = clock.monotonic() + _CATCH_UP_SECONDS
        while not runner.wait_for(head, _CATCH_UP_STEP_SECONDS):
            if self._at_once or clock.monotonic() >= give_up_at:
                _log.warning("service.not_caught_up", head=head)
                return


def tune_garbage_collector() -> None:
    """For processes that only work: collect cycles less often, and never look at what was loaded at the start.

    Jobs make many short-lived objects and hardly a cycle; with Python's defaults a quarter of a worker's time went
    into looking for them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def publish_types(handle: LedgerHandle, app: App) -> JobTypesRegistered:
    """Tell the installation which job types the program has. Raises the refusal of one that may not be published."""
    return handle.dispatcher.send(
        RegisterJobTypes, actor=Actor(id=f"service:{app.name}"), app=app.name, code_version=app.code_version,
        definitions=app.definitions,
    ).unwrap()  # fmt: skip


def worker_options(
    settings: Settings,
    app: App,
    *,
    queues: tuple[str, ...] = (),
    concurrency: int | None = None,
    tenants: tuple[str, ...] = (),
    personas: tuple[str, ...] = (),
    rate: Rate | None = None,
    drain: bool = False,
    drain_wait_seconds: float = 0.0,
) -> WorkerOptions:
    """A worker's options: what was chosen, else the settings; the queues else those of the program's job types.

    Tenants and personas are one choice: with either, the settings of both are not looked at. `InvalidInput` for
    personas without tenants: two customers may have a persona of one name.
    """
    if not tenants and not personas:
        tenants, personas = settings.worker_tenants, settings.worker_personas
    if personas and not tenants:
        raise InvalidInput(
            "whose personas?", field="personas", rule="a persona belongs to a tenant: name the tenant, too",
            hint="for example: jobledger work --tenant acme --persona billing-bot",
        )  # fmt: skip
    declared = sorted({definition.options.queue or DEFAULT_QUEUE for definition in app.definitions})
    return WorkerOptions(
        queues=queues or settings.queues or tuple(declared), concurrency=concurrency or settings.concurrency,
        tenants=tenants or None, personas=personas or None, rate=rate or settings.worker_rate,
        lease_seconds=settings.lease_seconds, lease_renew_buffer_seconds=settings.lease_renew_buffer_seconds,
        poll_seconds=settings.poll_interval_seconds, grace_seconds=settings.shutdown_grace_seconds, drain=drain,
        drain_wait_seconds=drain_wait_seconds,
    )  # fmt: skip


def make_worker(handle: LedgerHandle, app: App, options: WorkerOptions, events: WorkerEvents | None = None) -> Worker:
    """A worker for the program's job types; what its handlers dispatch goes through the same use cases."""
    ports = handle.ports
    return Worker(
        app.jobs,
        WorkerPorts(ports.writer, ports.reader, ports.queue, handle.wake_up, ports.clock, ports.identifiers,
                    open_vault(handle.settings), handle.transactions),
        options, code_version=app.code_version, dispatch_children=dispatching(handle.dispatcher, app),
        telemetry=handle.dispatcher.telemetry, events=events, processes=_process_pool(handle.settings, app, options),
        resources=resource_use,
        about=WorkerReport(app=app.name, host=socket.gethostname(), pid=os.getpid()),
    )  # fmt: skip


def _process_pool(settings: Settings, app: App, options: WorkerOptions) -> ProcessPool | None:
    """Children for the job types that ask for one; None where none does. `InvalidInput` where a child could not import
    the program."""
    if not any(job.in_process for job in app.jobs.values()):
        return None
    # a program without process jobs never loads this, nor needs a system that can fork
    from .processes.pool import make_pool  # noqa: PLC0415

    return make_pool(settings, app, size=min(settings.process_pool_size or options.concurrency, options.concurrency))


def make_maintenance(handle: LedgerHandle, *, actor: str, stalled: Stalled | None = None) -> Maintenance:
    """What rescues stalled jobs and rejects those of inactive tenants."""
    handle.settings.require_sessions("maintenance")
    return Maintenance(
        handle.ports.queue, handle.ports.writer, handle.ports.clock, actor=actor,
        interval_seconds=handle.settings.maintenance_interval_seconds, wake_up=handle.wake_up,
        prepare_storage=handle.prepare_storage, stalled=stalled,
    )  # fmt: skip
