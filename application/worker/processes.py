"""Attempts whose handlers run in child processes: the worker's side of it.

The child runs the handler and nothing else. Reports, steps, dispatches and the ending are recorded here, by what every
attempt uses; so a child that dies takes nothing along that it had reported.
"""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable, Sequence
from typing import Protocol

from pydantic import TypeAdapter
from pydantic_core import to_json

from jobledger.domain.errors import JobledgerError
from jobledger.domain.job import AttemptError

from ..dispatch_item import Dispatch
from .attempt import Attempt, Services
from .child_messages import (
    Answer,
    Asked,
    Crashed,
    Ended,
    FromChild,
    Logged,
    Order,
    Progressed,
    Used,
    ending_in,
    raised_by,
)
from .context import AttemptContext
from .failures import digest
from .log import say
from .outcomes import Ending, Failed, GivenBack, PutOff, Report

Take = Callable[[FromChild, bytes | None], Answer | None]
"""Takes what a child says of its attempt; a question gets an answer."""

NO_CHILD_SECONDS = 60.0
"""How long a job is put off whose child process could not be started, or died before it called the handler."""

_DISPATCHES: TypeAdapter[list[Dispatch]] = TypeAdapter(list[Dispatch])


class ProcessPool(Protocol):
    """Child processes that run handlers, one at a time each."""

    @property
    def size(self) -> int:
        """How many children there are at most."""
        ...

    @property
    def memory_limit_mb(self) -> int | None:
        """What a child may hold where the job type says nothing; None: no limit."""
        ...

    def start(self, stopped: Callable[[], bool]) -> None:
        """Load the program and have children ready; returns early once `stopped` says so. `InvalidInput` where the
        program cannot be loaded."""
        ...

    def run(self, attempt: Attempt, order: Order, take: Take) -> tuple[Ended, bytes | None] | Crashed:
        """Run an attempt in a child, in the calling thread, until the child says how it ended, or is gone."""
        ...

    def look(self) -> None:
        """Tell children the flags that were raised, and end those that use too much memory. Called several times a
        second; never blocks."""
        ...

    def kill(self, attempt: Attempt) -> float:
        """End the process that runs the attempt, with all that it started; the CPU seconds it used for it, as far as
        they are known. Does not wait."""
        ...

    def close(self) -> None:
        """End all processes, and wait until they are gone."""
        ...


class ProcessAttempts:
    """Runs attempts in a pool of processes."""

    def __init__(self, services: Services, pool: ProcessPool) -> None:
        self._services = services
        self._pool = pool

    def handle(self, attempt: Attempt, trace_parent: str) -> Ending:
        """How the attempt ended, by its child's word, or by what became of the child."""
        limit_mb = attempt.declared.memory_limit_mb or self._pool.memory_limit_mb
        order = Order(
            attempt.job, attempt.lease.worker, trace_parent, None if limit_mb is None else limit_mb * 1_000_000
        )  # fmt: skip
        try:
            outcome = self._pool.run(attempt, order, _Desk(attempt, self._services, trace_parent).take)
        except JobledgerError as error:
            say("error", "worker.no_child_process", job_id=str(attempt.job.job_id), error=str(error))
            return PutOff(NO_CHILD_SECONDS, f"no child process could be started: {error.message}")
        if isinstance(outcome, Crashed):
            attempt.cpu_seconds = outcome.cpu_seconds
            return _ending_of(outcome, attempt, limit_mb)
        message, body = outcome
        attempt.cpu_seconds = message.cpu_seconds
        attempt.lost |= message.lost
        return ending_in(message, body)


def _ending_of(crash: Crashed, attempt: Attempt, limit_mb: int | None) -> Ending:
    if attempt.stopping or attempt.ended:  # after its hard timeout nobody asks any more
        return GivenBack("the worker stopped")
    if not crash.begun:
        return PutOff(NO_CHILD_SECONDS, f"{_fate(crash)} before it called the handler")
    if crash.memory_bytes is not None:
        used_mb = crash.memory_bytes / 1_000_000
        return Failed(
            AttemptError(
                "MemoryLimitExceeded", f"the process used {used_mb:.0f} MB, more than its limit of {limit_mb} MB",
                digest("memory-limit"),
            )
        )  # fmt: skip
    fate = _fate(crash)
    return Failed(AttemptError("ChildCrashed", fate, digest(f"child-crashed|{fate}")), crash.trace)


def _fate(crash: Crashed) -> str:
    """What became of the process, for people."""
    if crash.why or crash.status is None:
        return f"the child process {crash.why or 'was lost'}"
    code = os.waitstatus_to_exitcode(crash.status)
    if code >= 0:
        return f"the child process exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (the kernel does that where memory runs out)" if name == "SIGKILL" else ""
    return f"the child process was killed by {name}{hint}"


class _Desk(AttemptContext):
    """The worker's end of a handler's context: what the handler calls in the child is done here."""

    __slots__ = ("_taken",)

    def __init__(self, attempt: Attempt, services: Services, trace_parent: str) -> None:
        super().__init__(attempt, services, trace_parent)
        self._taken: tuple[Report, ...] = ()

    def take(self, message: FromChild, body: bytes | None) -> Answer | None:
        """Do what a message of the child asks for."""
        try:
            if isinstance(message, Asked):
                return Answer(message.number, self._answer(message, body))
            self._note(message)
        except Exception as error:  # noqa: BLE001 - raised again where it was caused: in the handler
            if isinstance(message, Asked):
                return Answer(message.number, raised=raised_by(error))
            say("warning", "worker.report_refused", job_id=str(self.job_id), error=repr(error))
        return None

    def _note(self, message: FromChild) -> None:
        match message:
            case Progressed():
                self.progress(message.fraction, message.note)
            case Logged():
                self.log(message.message, level=message.level)
            case Used():
                self._attempt.units = message.units
            case _:
                pass

    def _answer(self, asked: Asked, body: bytes | None) -> bytes | None:
        match asked.question:
            case "recorded_step":
                return self._recorded_steps().recorded(asked.name)
            case "record_step":
                self._recorded_steps().record(asked.name, body or b"null", self._reporter)
                return None
            case "secret":
                return self.secrets[asked.name].encode("utf-8", "surrogatepass")
            case "transaction":
                self._attempt.transaction = _ChildsTransaction(is_open=asked.name == "opened")
                return None
            case "take_reports":
                return pickle.dumps(self._take_reports())
            case "put_back":
                self._reports().put_back(self._taken)
                self._taken = ()
                return None
            case "dispatch":
                return to_json(self.dispatch(*read_dispatches(body or b"[]")))

    def _take_reports(self) -> tuple[Report, ...]:
        """What waits to be recorded: the child records it in its transaction, with the completion."""
        if self._reporter is not None:
            self._reporter.settle()
            self._taken = self._reporter.take_all()
        return self._taken


class _ChildsTransaction:
    """That a child has a transaction open; it ends with the child's process."""

    def __init__(self, *, is_open: bool) -> None:
        self._is_open = is_open

    @property
    def is_open(self) -> bool:
        """Whether what the attempt reports waits for its commit."""
        return self._is_open

    def abandon(self) -> None:
        """The process is ended, and its connection with it."""


def write_dispatches(children: Sequence[Dispatch]) -> bytes:
    """Jobs to dispatch, as JSON."""
    return to_json([child._asdict() for child in children], by_alias=True)


def read_dispatches(body: bytes) -> list[Dispatch]:
    """Jobs to dispatch, from JSON; their payloads stay JSON, to be read by their own types."""
    return [child._replace(payload=to_json(child.payload)) for child in _DISPATCHES.validate_json(body)]
