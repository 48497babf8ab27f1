"""The zygote: imports the program once, then forks, ends and reaps children as the worker asks.

It has no threads, so that forking is safe; and it stays alone: children are in process groups of their own. When its
worker is gone it ends every child with all that the child started, then itself.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import NoReturn, cast

import structlog

from jobledger.application.app import App
from jobledger.domain.errors import JobledgerError

from . import linux
from .child import Life, live
from .connection import Frames
from .control import FORK, KILL, REQUEST, Boot, Said
from .process_state import ignore
from .program import load

_STRAYS_SECONDS = 5.0

_log = structlog.get_logger("jobledger.processes")


def main(control_descriptor: int) -> None:
    """Be a zygote until the worker closes the control socket, or dies."""
    os.set_inheritable(control_descriptor, False)
    control = socket.socket(fileno=control_descriptor)
    frames = Frames(control)
    _Zygote(control, frames, _boot(frames)).run()


def _boot(frames: Frames) -> tuple[Boot, App]:
    signal.signal(signal.SIGINT, ignore)
    signal.signal(signal.SIGTERM, ignore)
    first = frames.receive()
    if first is None:
        sys.exit(0)
    boot = cast("Boot", pickle.loads(first[0]))
    linux.adopt_orphans()
    linux.signal_at_parents_death(signal.SIGTERM)
    try:
        app = load(boot.program)
    except BaseException as error:  # noqa: BLE001 - importing runs the user's code
        _say(frames, Said(what="failed", error=_told(error)))
        sys.exit(1)
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        _log.warning("worker.program_starts_threads", threads=others, hint="start them when a handler needs them")
    gc.collect()
    gc.freeze()  # so that collecting in a child does not copy the pages that it shares
    return boot, app


def _told(error: BaseException) -> str:
    """What went wrong while importing, and where: in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    message = str(error) if isinstance(error, JobledgerError) else f"{type(error).__name__}: {error}"
    return f"{message}{place}".encode("utf-8", "backslashreplace").decode()


def _say(frames: Frames, said: Said) -> None:
    with suppress(OSError):  # then the next look at the socket finds its end
        frames.send(said.model_dump_json().encode())


class _Zygote:
    def __init__(self, control: socket.socket, frames: Frames, loaded: tuple[Boot, App]) -> None:
        self._control = control
        self._frames = frames
        self._boot, self._app = loaded
        self._children: dict[int, int] = {}
        """The worker's number of each child, by process id."""
        self._not_ours = frozenset(linux.children())
        """Processes that the program started while it was imported."""
        self._woken, self._wake = os.pipe()
        for descriptor in (self._woken, self._wake):
            os.set_blocking(descriptor, False)

    def run(self) -> NoReturn:
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):  # importing may have changed some
            signal.signal(number, ignore)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        _say(self._frames, Said(what="ready", process=os.getpid(), rss_bytes=linux.memory_bytes()[1]))
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while os.getppid() == self._boot.worker_process:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if self._woken in ready:
                self._drain()
                self._reap()
            if self._control.fileno() in ready and not self._obey():
                break
        self._end()

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._woken, 4_096):
                pass

    def _obey(self) -> bool:
        """Carry out one request. False where nobody asks any more."""
        received, descriptors = b"", []
        while len(received) < REQUEST.size:
            try:
                data, new, _, _ = socket.recv_fds(self._control, REQUEST.size - len(received), 2)
            except OSError:
                return False
            if not data:
                return False
            received += data
            descriptors += new
        request, number = REQUEST.unpack(received)
        if request == FORK:
            self._fork(number, descriptors)
        elif request == KILL:
            for process in [process for process, known in self._children.items() if known == number]:
                _end_group(process)
        return True

    def _fork(self, number: int, descriptors: list[int]) -> None:
        try:
            process = os.fork()
        except OSError as error:
            _say(self._frames, Said(what="not_forked", number=number, error=str(error)))
            process = None
        if process == 0:
            self._become_child(descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        if process is None:
            return
        with suppress(OSError):  # the child does the same: whoever comes first
            os.setpgid(process, process)
        self._children[process] = number
        _say(self._frames, Said(what="forked", number=number, process=process))

    def _become_child(self, descriptors: list[int]) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for descriptor in (self._control.detach(), self._woken, self._wake):
                os.close(descriptor)
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            connection, crash_log = descriptors
            live(
                Life(self._app, self._boot.program.settings, socket.socket(fileno=connection), crash_log, os.getppid())
            )
            code = 0
        except BaseException:  # noqa: BLE001 - nothing of a child may return into the zygote's code
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Take leave of what ended. A child's group is killed while the child is still there as a zombie: as long as
        that is so nobody else can have its number."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            process = found.si_pid
            number = self._children.pop(process, None)
            if number is not None:
                _end_group(process)
            _, status, used = os.wait4(process, 0)
            if number is not None:
                _say(self._frames, Said(what="ended", number=number, status=status, cpu_seconds=_cpu_seconds(used)))
            self._end_strays()

    def _end_strays(self) -> None:
        """Kill what dead children left behind in process groups of its own: it is our child now."""
        for process in linux.children():
            if process not in self._children and process not in self._not_ours:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)

    def _end(self) -> NoReturn:
        self._not_ours = frozenset()
        for process in self._children:
            _end_group(process)
        deadline = time.monotonic() + _STRAYS_SECONDS
        while time.monotonic() < deadline:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.005)
            except ChildProcessError:
                break
            self._children.clear()
            self._end_strays()
        os._exit(0)


def _end_group(process: int) -> None:
    """Kill a child and its process group; the child alone where it has not got to having one."""
    try:
        os.killpg(process, signal.SIGKILL)
    except OSError:
        with suppress(OSError):
            os.kill(process, signal.SIGKILL)


def _cpu_seconds(used: resource.struct_rusage) -> float:
    return used.ru_utime + used.ru_stime
