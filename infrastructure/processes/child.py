"""A child: takes one attempt after another from its worker, and runs their handlers in its main thread.

Another thread reads what the worker says meanwhile. When the worker, or the zygote, is gone, so is the child, with its
process group.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import resource
import signal
import socket
import sys
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Literal, NamedTuple, TextIO, cast

from jobledger.application.app import App
from jobledger.application.worker.attempt import Attempt
from jobledger.application.worker.child_messages import (
    Answer,
    Asked,
    Begun,
    Ended,
    FromChild,
    Order,
    Told,
    error_of,
    raise_flags,
)
from jobledger.application.worker.child_runner import ChildRunner

from ..settings import Settings
from ..system import SystemClock
from . import linux
from .connection import ChildEnd
from .control import CUT_OFF_CODE
from .process_state import ProcessState, let_copies_be_ended
from .transactions import transactions_of

_RESERVED_BYTES = 1_000_000_000
"""Address space that threads and allocators reserve and hardly use: 72 MB for each thread with glibc."""


class Life(NamedTuple):
    """What a child is given."""

    app: App
    settings: Settings
    connection: socket.socket
    crash_log: int
    """Where the interpreter writes a traceback when a signal ends it."""
    zygote: int


def live(life: Life) -> None:
    """Run attempts until the worker is gone (then the process ends from within)."""
    with suppress(OSError):  # the zygote does the same: whoever comes first
        os.setpgid(0, 0)
    linux.signal_at_parents_death(signal.SIGKILL)
    if os.getppid() != life.zygote:
        os._exit(1)
    linux.adopt_orphans()
    linux.volunteer_for_out_of_memory()
    let_copies_be_ended()
    faulthandler.enable(file=life.crash_log, all_threads=False)
    _Child(life).run()


class _Child:
    """Also the `Channel` of the attempts it runs."""

    def __init__(self, life: Life) -> None:
        self._end = ChildEnd(life.connection)
        self._orders: queue.SimpleQueue[tuple[Attempt, Order]] = queue.SimpleQueue()
        self._runner = ChildRunner(
            life.app.jobs, self, SystemClock(), _cpu_seconds, transactions=transactions_of(life.settings)
        )
        self._attempt: Attempt | None = None
        self._asked: dict[int, Future[Answer]] = {}
        self._questions = 0
        self._lock = threading.Lock()
        self._address_space = resource.getrlimit(resource.RLIMIT_AS)
        self._streams = _open_streams()
        self._state = ProcessState()

    def run(self) -> None:
        threading.Thread(target=self._read, name="jobledger-worker", daemon=True).start()
        while True:
            attempt, order = self._orders.get()
            self.tell(Begun())
            self._limit_memory(order.memory_limit_bytes)
            message, body = self._runner.run(attempt, order.trace_parent)
            self._state.bring_back()
            self._limit_memory(None)
            self._flush()
            try:
                self._end.send(self._with_state(message), body)
            except OSError:
                os._exit(CUT_OFF_CODE)

    # --- what handlers use, through their context ------------------------------------------------------------------

    def tell(self, message: FromChild) -> None:
        """See `Channel`."""
        try:
            self._end.send(message)
        except OSError:
            os._exit(CUT_OFF_CODE)

    def ask(self, question: str, name: str = "", body: bytes | None = None) -> bytes | None:
        """See `Channel`."""
        answered: Future[Answer] = Future()
        with self._lock:
            self._questions += 1
            number = self._questions
            self._asked[number] = answered
        kind = cast("Literal['dispatch']", question)
        try:
            self._end.send(Asked(number=number, question=kind, name=name), body)
        except OSError:
            os._exit(CUT_OFF_CODE)
        answer = answered.result()
        if answer.raised is not None:
            raise error_of(answer.raised)
        return answer.body

    # --- the other thread ------------------------------------------------------------------------------------------

    def _read(self) -> None:
        try:
            while (message := self._end.receive()) is not None:
                self._take(message)
        finally:
            if self._end.is_closed_here:
                os._exit(CUT_OFF_CODE)  # the worker lives, and ends what else is in the group
            _end_all()

    def _take(self, message: Order | Told | Answer) -> None:
        match message:
            case Order():
                self._attempt = self._runner.attempt(message)
                self._orders.put((self._attempt, message))
            case Told(flags):
                if self._attempt is not None:
                    raise_flags(self._attempt, flags)
            case Answer(number):
                self._asked.pop(number).set_result(message)

    # --- limits and state ------------------------------------------------------------------------------------------

    def _limit_memory(self, limit_bytes: int | None) -> None:
        """Let the address space grow by little more than the limit: one allocation far too large then fails at once,
        in the handler, with MemoryError. What is really used the worker watches."""
        soft, hard = self._address_space
        if limit_bytes is not None:
            wanted = linux.memory_bytes()[0] + limit_bytes + _RESERVED_BYTES
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    def _flush(self) -> None:
        """What the handler printed must be out before anybody may end this process."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()

    def _with_state(self, message: Ended) -> Ended:
        """The message with what the handler left behind: processes or closed streams, say, that the next job must not
        meet."""
        state = {"rss_bytes": linux.memory_bytes()[1], "spent": _has_children() or _open_streams() != self._streams}
        return message.model_copy(update=state)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _open_streams() -> tuple[bool, ...]:
    """Which of the standard descriptors and streams are open."""
    return (*map(_is_open, (0, 1, 2)), *(stream is not None and not stream.closed for stream in _streams()))


def _streams() -> tuple[TextIO | None, TextIO | None]:
    return sys.stdout, sys.stderr


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _end_all() -> None:
    """The worker is gone: end this process and everything in its group."""
    with suppress(OSError):
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)
