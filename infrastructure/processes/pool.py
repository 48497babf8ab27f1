"""The pool of child processes, in the worker."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress

from jobledger.application.app import App
from jobledger.application.worker.attempt import Attempt
from jobledger.application.worker.child_messages import Begun, Crashed, Ended, Flags, Order, Told, flags_of
from jobledger.application.worker.log import say
from jobledger.application.worker.processes import Take
from jobledger.domain.errors import InvalidInput, JobledgerError, LedgerError

from ..settings import Settings
from . import linux
from .connection import BrokenFrame, WorkerEnd
from .control import CUT_OFF_CODE
from .program import Program, processed, program_of
from .zygote_client import ZygoteClient

_TRIES = 3
"""A child may die, for instance of what the job before it left behind, before it calls the handler: then another one
takes the attempt."""
_REAPED_SECONDS = 2.0
"""A connection that ended for longer than this while its process lives was closed by the handler."""
_ENDED_SECONDS = 10.0
"""How long to wait to be told what became of a child."""
_TRACE_BYTES = 64_000
_CUT_OFF = "lost its connection to the worker: did the handler close it?"
_FULL_SHARE = 0.75
"""A child that still holds so much of a job's memory limit when the job ended would be unfair to the next one."""


class Child:
    """A child process as its worker knows it."""

    def __init__(self, number: int, end: WorkerEnd, crash_log: int) -> None:
        self.number = number
        self.end = end
        self.process: int | None = None
        """None until the zygote has told."""
        self.attempt: Attempt | None = None
        self.memory_limit_bytes: int | None = None
        self.told = Flags.NONE
        self.jobs = 0
        self.cpu_seconds = 0.0
        """Of all attempts that it ended."""
        self.ended = threading.Event()
        self.status: int | None = None
        self.cpu_seconds_in_all = 0.0
        self.killed_at_bytes: int | None = None
        self.why = ""
        self._crash_log = [crash_log]

    def has_ended(self, status: int | None, cpu_seconds: float) -> None:
        """The process is gone."""
        self.status, self.cpu_seconds_in_all = status, cpu_seconds
        self.ended.set()
        self.end.frames.shut_down()

    def last_words(self) -> bytes | None:
        """What a dying interpreter wrote about where it was; once."""
        try:
            descriptor = self._crash_log.pop()  # whichever thread comes first: closing twice would close another's
        except IndexError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            file.seek(0)
            return file.read(_TRACE_BYTES) or None

    def close(self) -> None:
        """Release what is held for it; the process, if it still lives, ends at the end of its connection."""
        self.last_words()
        self.end.frames.shut_down()


class Pool:
    """The `ProcessPool` of a worker. Children are used again, the last one first; `ready` of them wait at least."""

    def __init__(
        self, program: Program, *, size: int, max_jobs: int, memory_limit_mb: int | None = None,
        memory_limits_mb: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        """`max_jobs` is how many jobs one child runs before it is replaced; `memory_limit_mb` holds where a job type
        says nothing, and `memory_limits_mb`, all that are in use, are compared with what the program itself takes."""
        self._size = size
        self._ready = min(size, os.cpu_count() or 1)
        self._max_jobs = max_jobs
        self._memory_limit_mb = memory_limit_mb
        self._memory_limits_mb = memory_limits_mb
        self._lock = threading.Lock()
        self._children: dict[int, Child] = {}
        self._idle: list[Child] = []
        self._numbers = 0
        self._closed = False
        self._zygote = ZygoteClient(program, forked=self._forked, ended=self._ended, lost=self._lost)

    @property
    def size(self) -> int:
        """How many children there are at most."""
        return self._size

    @property
    def memory_limit_mb(self) -> int | None:
        """What a child may hold where the job type says nothing."""
        return self._memory_limit_mb

    def start(self, stopped: Callable[[], bool]) -> None:
        """See `ProcessPool`."""
        rss_bytes = self._zygote.start(stopped)
        for limit_mb in self._memory_limits_mb:
            if limit_mb * 1_000_000 <= rss_bytes:
                raise InvalidInput(
                    f"a memory limit of {limit_mb} MB is less than the {rss_bytes // 1_000_000} MB "
                    "that the program takes without any job", field="memory_limit_mb", rule="more than the program",
                )  # fmt: skip
        self._fill()

    def run(self, attempt: Attempt, order: Order, take: Take) -> tuple[Ended, bytes | None] | Crashed:
        """See `ProcessPool`."""
        outcome: tuple[Ended, bytes | None] | Crashed = Crashed(None, begun=False)
        for _ in range(_TRIES):
            child = self._take()
            child.attempt, child.memory_limit_bytes, child.told = attempt, order.memory_limit_bytes, Flags.NONE
            if attempt.ended or attempt.stopping:  # while there was no process to be killed
                self._give_back(child)
                break
            outcome = self._drive(child, order, take)
            if not _may_try_again(outcome, attempt):
                break
        return outcome

    def look(self) -> None:
        """See `ProcessPool`."""
        for child in list(self._children.values()):
            attempt = child.attempt
            if attempt is None:
                continue
            flags = flags_of(attempt)
            if flags != child.told and child.end.send_at_once(Told(flags)):
                child.told = flags
            self._watch_memory(child)

    def kill(self, attempt: Attempt) -> float:
        """See `ProcessPool`."""
        for child in list(self._children.values()):
            if child.attempt is attempt:
                used = linux.cpu_seconds(child.process) - child.cpu_seconds if child.process else 0.0
                self._zygote.kill(child.number)
                return max(used, 0.0)
        return 0.0

    def close(self) -> None:
        """See `ProcessPool`."""
        with self._lock:
            self._closed = True
            self._idle.clear()
        self._zygote.close()

    # --- one attempt -----------------------------------------------------------------------------------------------

    def _drive(self, child: Child, order: Order, take: Take) -> tuple[Ended, bytes | None] | Crashed:
        begun = False
        try:
            child.end.send(order)
            while (received := child.end.receive()) is not None:
                message, body = received
                begun |= isinstance(message, Begun)
                if isinstance(message, Ended):
                    self._after(child, message)
                    return message, body
                answer = take(message, body)
                if answer is not None:
                    child.end.send(answer)
        except BrokenFrame:
            child.why = "sent what is no message, and was ended"
            return self._crashed(child, begun=begun)
        except OSError:
            pass  # it is gone, or about to be: what it leaves unread ends a connection like that
        # how it ended by itself is told; that we ended it is not taken for the kernel's doing
        if not child.ended.wait(_REAPED_SECONDS):
            child.why = _CUT_OFF
        return self._crashed(child, begun=begun)

    def _crashed(self, child: Child, *, begun: bool) -> Crashed:
        self._zygote.kill(child.number)
        if not child.ended.wait(_ENDED_SECONDS):
            say("error", "worker.child_does_not_end", process=child.process or 0)
        if child.status is not None and os.waitstatus_to_exitcode(child.status) == CUT_OFF_CODE:
            child.why = _CUT_OFF
        child.attempt = None
        trace = child.last_words()
        self._forget(child)
        self._fill()
        used = max(child.cpu_seconds_in_all - child.cpu_seconds, 0.0)
        return Crashed(child.status, begun, used, child.why, child.killed_at_bytes, trace)

    def _after(self, child: Child, message: Ended) -> None:
        child.attempt = None
        child.jobs += 1
        child.cpu_seconds += message.cpu_seconds
        limit_bytes = child.memory_limit_bytes
        too_large = limit_bytes is not None and message.rss_bytes > limit_bytes * _FULL_SHARE
        if message.spent or too_large or child.jobs >= self._max_jobs:
            self._zygote.kill(child.number)
            self._forget(child)
            self._fill()
        else:
            self._give_back(child)

    def _watch_memory(self, child: Child) -> None:
        limit_bytes, process = child.memory_limit_bytes, child.process
        if limit_bytes is None or process is None or child.killed_at_bytes is not None:
            return
        used_bytes = linux.resident_bytes_of_all(process)
        if used_bytes > limit_bytes and child.attempt is not None:
            child.killed_at_bytes = used_bytes
            self._zygote.kill(child.number)

    # --- the children ----------------------------------------------------------------------------------------------

    def _take(self) -> Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if not child.ended.is_set():
                    return child
        return self._fork()

    def _give_back(self, child: Child) -> None:
        child.attempt = None
        with self._lock:
            if not self._closed:
                self._idle.append(child)

    def _fill(self) -> None:
        """Have so many children as should be ready."""
        while not self._closed and len(self._children) < self._ready and self._zygote.is_alive:
            try:
                self._give_back(self._fork())
            except JobledgerError as error:
                say("error", "worker.child_not_forked", error=str(error))
                return

    def _fork(self) -> Child:
        """A new child; it can be talked to at once. Raises `InvalidInput` where the zygote cannot be started again,
        `LedgerError` where the system refuses what a child needs."""
        for _ in range(2):
            try:
                child = self._ask_for_child()
            except OSError as error:
                raise LedgerError(f"no child process can be started: {error}") from error
            if child is not None:
                return child
        raise LedgerError("no child process can be started: the worker is ending, or its zygote keeps ending")

    def _ask_for_child(self) -> Child | None:
        """None where the zygote was lost meanwhile."""
        ours, theirs = socket.socketpair()
        with ours, theirs, os.fdopen(_anonymous_file(), "rb") as crash_log:  # what the child is given, and we let go of
            with self._lock:
                self._numbers += 1
                # own descriptors: `_lost` may close it before it was asked for
                child = Child(self._numbers, WorkerEnd(ours.dup()), os.dup(crash_log.fileno()))
                self._children[child.number] = child
            asked = False
            try:
                asked = self._zygote.fork(child.number, theirs.fileno(), crash_log.fileno())
            finally:
                if not asked:
                    self._forget(child)
        return child if asked else None

    def _forget(self, child: Child) -> None:
        with self._lock:
            self._children.pop(child.number, None)
            if child in self._idle:
                self._idle.remove(child)
        child.close()

    # --- what the zygote tells, on a thread of its own -------------------------------------------------------------

    def _forked(self, number: int, process: int) -> None:
        child = self._children.get(number)
        if child is not None:
            child.process = process

    def _ended(self, number: int, status: int | None, cpu_seconds: float) -> None:
        child = self._children.get(number)
        if child is None:
            return
        child.has_ended(status, cpu_seconds)
        if child.attempt is None:  # it was idle
            self._forget(child)

    def _lost(self) -> None:
        """The zygote is gone, and its children with it; what they started is ended here."""
        with self._lock:
            children, self._children = list(self._children.values()), {}
            self._idle.clear()
        for child in children:
            if child.process is not None:
                with suppress(OSError):
                    os.killpg(child.process, signal.SIGKILL)
            child.why = "was lost together with the process that starts them"
            child.has_ended(None, 0.0)
            if child.attempt is None:
                child.close()


def _may_try_again(outcome: object, attempt: Attempt) -> bool:
    """Whether the handler was not called and somebody still wants it to be."""
    return isinstance(outcome, Crashed) and not outcome.begun and not attempt.ended and not attempt.stopping


def _anonymous_file() -> int:
    """A file without a name, in memory where there is such a thing."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("jobledger-crash")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def make_pool(settings: Settings, app: App, *, size: int) -> Pool:
    """A pool for the app's process jobs, by the settings. `InvalidInput` where a child could not import the program."""
    limits_mb = {job.memory_limit_mb or settings.process_memory_limit_mb for job in processed(app).values()}
    return Pool(
        program_of(app, settings), size=size,
        max_jobs=settings.process_max_jobs, memory_limit_mb=settings.process_memory_limit_mb,
        memory_limits_mb=tuple(sorted(limit_mb for limit_mb in limits_mb if limit_mb is not None)),
    )  # fmt: skip
