"""A worker process: puts claiming, running, settling and the heartbeat together, and ends them in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from jobledger.domain.errors import InvalidInput, JobledgerError, LedgerBusy, LedgerUnavailable

from ..declared_job import DeclaredJob
from ..dispatch_item import Dispatch
from ..maintenance import reject_inactive
from ..ports import (
    AttemptTransactions,
    Clock,
    Identifiers,
    LedgerWriter,
    Queue,
    SecretVault,
    StreamReader,
    WakeUp,
    WorkerReport,
)
from ..telemetry import Telemetry
from .aside import Aside
from .attempt import Attempt, ChildDispatch, Services
from .claiming import Claimer
from .clock_skew import ClockSkew
from .events import WorkerEvent, WorkerEventName, WorkerEvents
from .execution import AsyncExecutor, Slots, ThreadExecutor
from .heartbeat import Heartbeat
from .held import Held
from .log import say
from .monitor import Monitor
from .options import RunResult, WorkerOptions
from .outcomes import GivenBack
from .process_lane import ProcessLane
from .processes import ProcessAttempts, ProcessPool
from .running import Runner
from .secrets import NoVault
from .self_report import ResourceUse, SelfReport, WorkerState
from .settling import Settler
from .standard_streams import StandardStreams
from .trouble import Trouble
from .vitals import Vitals

_SETTLE_SECONDS = 10.0
"""How long a worker that ends goes on trying to record what it has."""


class WorkerPorts(NamedTuple):
    """The adapters a worker works with."""

    writer: LedgerWriter
    reader: StreamReader
    queue: Queue
    wake_up: WakeUp
    clock: Clock
    identifiers: Identifiers
    vault: SecretVault = NoVault()
    transactions: AttemptTransactions | None = None
    """None: this ledger's engine has none."""


class Worker:
    """Runs the declared jobs of one program until it is asked to stop. Made for one run.

    `run` may be called in any thread; `request_stop` and `request_stop_now` may be called from anywhere, signal
    handlers included, and any number of times.
    """

    def __init__(
        self,
        jobs: Mapping[str, DeclaredJob],
        ports: WorkerPorts,
        options: WorkerOptions | None = None,
        *,
        code_version: str,
        name: str | None = None,
        dispatch_children: ChildDispatch | None = None,
        telemetry: Telemetry | None = None,
        events: WorkerEvents | None = None,
        cpu_seconds: Callable[[], float] = time.thread_time,
        processes: ProcessPool | None = None,
        about: WorkerReport | None = None,
        resources: Callable[[], ResourceUse] | None = None,
    ) -> None:
        """`name` must be new with each start: leases are held in it. `about` says what never changes (app, host,
        process id), `resources` what this process uses. Raises `InvalidInput` for jobs that this worker cannot run."""
        _check(jobs, processes)
        self.name = name or f"worker-{ports.identifiers.correlation_id()[:16]}"
        self.options = options or WorkerOptions()
        self.events = events or WorkerEvents()
        self.code_version = code_version
        self._ports = ports
        self._stop_requested = False
        self._stop_now_requested = False
        self._quarantined = 0
        self._drained_after = -1
        self._held = Held(self._wake if self.options.drain else None)
        self._trouble = Trouble(self.name, self.events)
        self._services = Services(
            self.name, f"worker:{self.name}", ports.clock, ports.writer, ports.reader, self.events,
            dispatch_children or _no_children, cpu_seconds, ports.vault, ports.transactions,
        )  # fmt: skip
        self._slots = Slots(self.options.concurrency, self._begin)
        self._settler = Settler(
            self._services, queue=ports.queue, identifiers=ports.identifiers, held=self._held, trouble=self._trouble,
            backlog=lambda: self._slots.waiting, open_again=self._open_again,
        )  # fmt: skip
        self._processes = processes
        self._streams = StandardStreams()
        self._runner = Runner(
            self._services, telemetry or Telemetry(), self._settler.settle,
            processes=None if processes is None else ProcessAttempts(self._services, processes).handle,
            look_after=self._streams.look,
        )  # fmt: skip
        self._threads = ThreadExecutor(self._runner.run, lambda: self._slots, self._begin, f"{self.name}-run")
        self._coroutines = AsyncExecutor(self._runner.run_async, lambda: self._slots, f"{self.name}-loop")
        self._lane = None if processes is None else ProcessLane(
            jobs, size=processes.size, run=self._runner.run, slots=lambda: self._slots, room_again=self._wake,
            name=f"{self.name}-process",
        )  # fmt: skip
        self._skew = ClockSkew(self.name, self.events)
        report = SelfReport(
            about or WorkerReport(), self.options, resources, clock=ports.clock, skew=self._skew, held=self._held,
            running=self._runner.running, quarantined=lambda: self._quarantined,
        )  # fmt: skip
        self._heartbeat = Heartbeat(
            services=self._services, code_version=code_version, options=self.options, queue=ports.queue,
            held=self._held, running=self._runner.running, trouble=self._trouble, open_again=self._open_again,
            report=report.make, skew=self._skew,
        )  # fmt: skip
        self._monitor = Monitor(
            self._services, self._runner.running, self._settler.settle, self._abandon, self._tick,
            kill=None if processes is None else processes.kill,
        )  # fmt: skip
        self._claimer = Claimer(
            worker=self.name, code_version=code_version, jobs=dict(jobs), options=self.options, queue=ports.queue,
            wake_up=ports.wake_up, clock=ports.clock, slots=self._slots, pace=self._runner.pace, held=self._held,
            trouble=self._trouble, unsettled=lambda: self._settler.unsettled, inactive=self._reject_inactive,
            lane=self._lane,
        )  # fmt: skip
        self._aside = Aside(self._claimer, ports.wake_up, self._trouble, name=f"{self.name}-aside")
        self._ended = threading.Event()
        self.vitals = Vitals(
            ports.clock, self.options, beaten_at=lambda: self._heartbeat.beaten_at,
            in_trouble=lambda: self._trouble.is_on,
            threads={
                "settle": lambda: self._settler.has_died, "heartbeat": lambda: self._heartbeat.has_died,
                "monitor": lambda: self._monitor.has_died,
            },
        )  # fmt: skip
        """Whether it lives and is ready, for probes."""

    # --- what callers use ----------------------------------------------------------------------------------------

    def run(self) -> RunResult:
        """Work until asked to stop, or with `drain` until nothing is left; then end gracefully."""
        self._tell(WorkerEventName.STARTED)
        self._settler.start()
        self._streams.keep()
        self._monitor.start()
        self.vitals.begin()
        try:
            if self._processes is not None:
                self._processes.start(self._turns_while_loading)
            if not self._first_beat():
                return RunResult.STOPPED
            self._heartbeat.start()
            self._aside.start()
            return self._work()
        except JobledgerError as error:
            self._trouble.error("worker.refused", error)
            return RunResult.FAILED
        finally:
            self._end()

    def request_stop(self) -> None:
        """Take no new jobs, finish those that run within the grace period, give back the rest, then return."""
        self._stop_requested = True

    def request_stop_now(self) -> None:
        """Give back everything at once, then return."""
        self._stop_requested = self._stop_now_requested = True

    def close(self, timeout_seconds: float | None = None) -> bool:
        """`request_stop`, then wait until `run` (in another thread) has returned. False if time ran out."""
        self.request_stop()
        return self._ended.wait(timeout_seconds)

    @property
    def counts(self) -> Mapping[WorkerEventName, int]:
        """How many attempts were recorded to have ended in which way, so far."""
        return self._settler.counts

    @property
    def state(self) -> WorkerState:
        """What it does and uses just now; the report is that of the last heartbeat."""
        return WorkerState(
            self._heartbeat.last_report, self.options.concurrency, len(self._runner.running), self._slots.waiting,
            self._settler.unsettled, self._skew.seconds, dict(self._trouble.errors),
        )  # fmt: skip

    # --- working ---------------------------------------------------------------------------------------------------

    def _work(self) -> RunResult:
        while not self._stop_requested:
            self.vitals.turn()
            if self._quarantined >= self.options.max_quarantined:
                say("warning", "worker.recycling", worker=self.name, quarantined=self._quarantined)
                return RunResult.RECYCLE
            if self._trouble.fatal is not None:
                return RunResult.FAILED
            if self._claimer.look() or not self._claimer.found_nothing:
                continue
            self._tell_drained()
            if self.options.drain and self._drained():
                return RunResult.DRAINED
            # (while draining, the last ending wakes this up)
            if not self._stop_requested:
                self._claimer.wait()
        return RunResult.STOPPED

    def _tell_drained(self) -> None:
        """Once for each time that the work ran out."""
        done = sum(self.counts.values())
        if not self._held and done != self._drained_after:
            self._drained_after = done
            self._tell(WorkerEventName.DRAINED)

    def _drained(self) -> bool:
        """Whether nothing is left to do."""
        self._claimer.wait_for_look_aside()
        if self._held:
            return False
        due_seconds = self._claimer.due_seconds()
        if due_seconds == 0:
            wait_seconds = self.options.drain_wait_seconds
            return self._claimer.looked_in_vain and not (wait_seconds and self._claimer.may_go_on_within(wait_seconds))
        return due_seconds is None or due_seconds > self.options.drain_wait_seconds

    def _turns_while_loading(self) -> bool:
        """Importing a large program may take minutes: that is no reason to be taken for dead. Whether to stop."""
        self.vitals.turn()
        return self._stop_requested

    def _first_beat(self) -> bool:
        """Register before anything is claimed. False if asked to stop before the ledger answered."""
        while not self._stop_requested:
            self.vitals.turn()
            asked = self._trouble.asking
            try:
                self._heartbeat.beat()
            except (LedgerBusy, LedgerUnavailable) as error:
                threading.Event().wait(self._trouble.pause(error))
            else:
                self._trouble.over(asked)
                return True
        return False

    def _begin(self, attempt: Attempt) -> None:
        if self._lane is not None and attempt.declared.in_process:
            self._lane.begin(attempt)
        else:
            (self._coroutines if attempt.declared.is_async else self._threads).begin(attempt)

    def _abandon(self, attempt: Attempt) -> None:
        if self._lane is not None and attempt.declared.in_process:
            self._lane.pass_on()  # its process was killed
            return
        if attempt.declared.is_async:
            self._coroutines.abandon(attempt)
        else:
            self._quarantined += 1
        self._slots.pass_on()

    def _reject_inactive(self) -> None:
        try:
            reject_inactive(self._ports.queue, self._ports.writer, self._ports.clock, actor=f"worker:{self.name}")
        except JobledgerError as error:
            self._trouble.error("worker.rejecting_failed", error)

    def _open_again(self, queue: str) -> None:
        try:
            self._ports.wake_up.notify(frozenset((queue,)))
        except Exception as error:  # noqa: BLE001 - only a hint; polling alone is enough
            say("warning", "worker.hint_failed", worker=self.name, error=repr(error))

    def _wake(self) -> None:
        self._open_again(self.options.queues[0])

    def _tell(self, name: WorkerEventName, detail: str = "") -> None:
        self.events.emit(WorkerEvent(name, self.name, detail=detail))

    # --- ending ----------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._pass_stop_on()
        if self._processes is not None:
            self._processes.look()

    def _pass_stop_on(self) -> None:
        """Wake the main loop after `request_stop`, which only sets a flag: a signal handler may take no lock."""
        if self._stop_requested and not self._ended.is_set():
            self._slots.below_low_mark.set()
            self._wake()

    def _end(self) -> None:
        self.vitals.begin_ending()
        self._tell(WorkerEventName.STOPPING)
        self._wake()
        self._aside.stop()
        waiting = [*self._slots.take_waiting(), *self._claimer.take_waiting()]
        waiting += self._lane.take_parked() if self._lane is not None else ()
        self._give_back(waiting, "the worker stopped before the attempt began")
        deadline = self._ports.clock.monotonic() + self.options.grace_seconds
        while self._held and not self._stop_now_requested and self._ports.clock.monotonic() < deadline:
            self._held.empty.wait(0.1)
        left = list(self._held.snapshot().values())
        for attempt in left:
            attempt.stopping = True
            if self._processes is not None:
                self._processes.kill(attempt)  # first: what is given back may begin elsewhere at once
        self._give_back(left, "the worker stopped")
        all_recorded = self._settler.close(_SETTLE_SECONDS)
        self._monitor.stop()
        self._streams.close()
        self._heartbeat.stop()
        self._threads.close()
        self._coroutines.close()
        if self._lane is not None and self._processes is not None:
            self._processes.close()
            self._lane.close()
        if all_recorded:
            self._say_goodbye()
        self._ended.set()
        self.vitals.end()
        self._tell(WorkerEventName.CLOSED)

    def _give_back(self, attempts: list[Attempt], why: str) -> None:
        for attempt in attempts:
            if attempt.take_ending():
                self._settler.settle(attempt, GivenBack(why), attempt.measure(self._ports.clock.monotonic(), 0.0))

    def _say_goodbye(self) -> None:
        try:
            self._ports.queue.goodbye(self.name)
        except JobledgerError as error:
            say("warning", "worker.goodbye_failed", worker=self.name, error=str(error))


def _check(jobs: Mapping[str, DeclaredJob], processes: ProcessPool | None) -> None:
    if not jobs:
        raise InvalidInput("there is no job type to work on", field="jobs", rule="at least one declared job")
    for name, declared in jobs.items():
        if declared.in_process and processes is None:
            raise InvalidInput(
                f"job type {name!r} runs in a child process, and this worker was made without any",
                field="isolation", rule="a worker has a pool for its process jobs",
            )  # fmt: skip


def _no_children(children: Sequence[Dispatch]) -> Sequence[UUID]:
    raise InvalidInput("this worker was started without a way to dispatch", field="dispatch", rule="is wired")
