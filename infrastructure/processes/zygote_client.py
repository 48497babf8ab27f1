"""A worker's zygote: started, asked, listened to, and started again when it was lost."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from pydantic import ValidationError

from jobledger.application.worker.log import say
from jobledger.domain.errors import InvalidInput, LedgerError

from .connection import BrokenFrame, Frames
from .control import FORK, KILL, REQUEST, Boot, Said
from .program import Program

_END_SECONDS = 10.0
_LOOK_MILLISECONDS = 100


class ZygoteClient:
    """Callbacks come on a thread of its own and must be quick: `forked(number, process)`,
    `ended(number, status of waitpid, CPU seconds)`, and `lost()` once the zygote ended without being asked to."""

    def __init__(
        self, program: Program, *, forked: Callable[[int, int], None],
        ended: Callable[[int, int | None, float], None], lost: Callable[[], None],
    ) -> None:  # fmt: skip
        self._program = program
        self._forked = forked
        self._ended = ended
        self._lost = lost
        self._starting = threading.Lock()
        self._asking = threading.Lock()
        self._running: _Running | None = None
        self._closed = False

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked without starting it again."""
        return self._running is not None

    def start(self, stopped: Callable[[], bool] = lambda: False) -> int:
        """Start it, and wait until the program is loaded; how many bytes that takes. `InvalidInput` with the error
        where the program cannot be loaded. Returns early once `stopped` says so."""
        with self._starting:
            if self._running is not None or self._closed:
                return 0
            try:
                running = _Running(self._program)
            except OSError as error:
                raise LedgerError(f"no child process can be started: {error}") from error
            try:
                rss_bytes = running.wait_until_ready(lambda: stopped() or self._closed)
            except BaseException:
                running.end()
                raise
            self._running = running
            threading.Thread(target=self._listen, args=(running,), name="jobledger-zygote", daemon=True).start()
            return rss_bytes

    def fork(self, number: int, *descriptors: int) -> bool:
        """Ask for a child that gets these descriptors. False where the zygote is gone, once its loss was dealt with:
        the next call starts another one."""
        self.start()
        running = self._running
        asked = self._ask(FORK, number, descriptors)
        if not asked and running is not None:
            running.gone.wait(_END_SECONDS)  # it is noticed on another thread
        return asked

    def kill(self, number: int) -> None:
        """Ask to kill a child and its process group; nothing happens where it is gone."""
        self._ask(KILL, number)

    def close(self) -> None:
        """End it with all children, and wait until they are gone."""
        self._closed = True  # first: whoever starts it just now gives up
        with self._starting:
            running, self._running = self._running, None
        if running is not None:
            running.end()

    def _ask(self, request: bytes, number: int, descriptors: tuple[int, ...] = ()) -> bool:
        running = self._running
        if running is None:
            return False
        message = REQUEST.pack(request, number)
        try:
            with self._asking:
                if descriptors:
                    socket.send_fds(running.control, [message], descriptors)
                else:
                    running.control.sendall(message)
        except OSError:
            return False
        return True

    def _listen(self, running: _Running) -> None:
        try:
            while (said := running.receive()) is not None:
                match said.what:
                    case "forked":
                        self._forked(said.number, said.process)
                    case "ended":
                        self._ended(said.number, said.status, said.cpu_seconds)
                    case "not_forked":
                        say("error", "worker.child_not_forked", error=said.error)
                        self._ended(said.number, None, 0.0)
                    case _:
                        pass
        finally:
            self._after(running)

    def _after(self, running: _Running) -> None:
        with self._starting:  # nobody starts another one before its children are known to be gone
            self._lost()
            if self._running is running:
                self._running = None
                say("error", "worker.zygote_lost", process=running.process.pid)
                running.end()
        running.gone.set()


class _Running:
    """A zygote process and the socket to it."""

    def __init__(self, program: Program) -> None:
        self.gone = threading.Event()
        """Set once its loss was noticed."""
        self._is_ready = False
        self.control, theirs = socket.socketpair()
        self._frames = Frames(self.control)
        with theirs:
            # -P: the working directory is no place to import from, unless the program's own path says so
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", __package__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        with suppress(OSError):  # then there is no answer either
            self._frames.send(pickle.dumps(Boot(program, os.getpid())))

    def wait_until_ready(self, stopped: Callable[[], bool]) -> int:
        """Until the program is loaded; how many bytes it takes (0 where `stopped`)."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        while not poll.poll(_LOOK_MILLISECONDS):
            if stopped():
                return 0
        said = self.receive()
        if said is not None and said.what == "ready":
            return said.rss_bytes
        raise InvalidInput(
            f"the program cannot be loaded into a child process: {said.error}" if said else
            f"the process that loads the program for children ended with {self.process.wait(_END_SECONDS)}",
            field="isolation", rule="the program can be imported in a new process",
        )  # fmt: skip

    def receive(self) -> Said | None:
        """What it says next; None at its end."""
        try:
            frame = self._frames.receive()
            said = None if frame is None else Said.model_validate_json(frame[0])
        except (BrokenFrame, ValidationError):
            return None
        self._is_ready |= said is not None and said.what == "ready"
        return said

    def end(self) -> None:
        """Close the socket, which ends it, and wait. One that still imports the program does not listen: it has no
        children, and is killed with what importing started."""
        self._frames.shut_down()
        if not self._is_ready:
            with suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.control.close()
