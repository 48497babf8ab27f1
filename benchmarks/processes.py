"""jobledger's own processes, as an installation runs them: workers, and one that keeps the lists.

Each child opens the ledger, says that it is ready, and begins when it is told to, so that no figure holds the time
that Python takes to start.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import NamedTuple, Self

from jobledger.infrastructure import telemetry

from . import noop
from .wiring import Projecting, Working

_SPAWN = multiprocessing.get_context("spawn")
_ANSWER_SECONDS = 300
_END_SECONDS = 30
_READY = "ready"


class Place(NamedTuple):
    """The ledger's URL, and the file that logs are written to."""

    url: str
    log: Path


class _Child:
    """A process that is ready, and then does what it was made for."""

    def __init__(self, target: object, *arguments: object) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=target, args=(theirs, *arguments), daemon=True)  # type: ignore[arg-type]
        self._process.start()
        theirs.close()

    def __enter__(self) -> Self:
        self._answer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ask it to end, and see that it does; harmless when it has."""
        with suppress(BrokenPipeError):
            self._tell("stop")
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def _tell(self, word: str) -> None:
        self._pipe.send(word)

    def _answer(self) -> object:
        if not self._pipe.poll(_ANSWER_SECONDS):
            raise TimeoutError(f"process {self.pid} did not answer")
        return self._pipe.recv()


class WorkerProcess(_Child):
    """A `jobledger work` without projections. With `drain` it ends when nothing is left to do."""

    def __init__(
        self, place: Place, *, drain: bool, fetch_size: int | None = None, reports: Connection | None = None
    ) -> None:
        super().__init__(_work, place, drain, fetch_size, reports)

    def begin(self) -> None:
        """Start to claim."""
        self._tell("begin")

    def drained_at(self) -> float:
        """Wait for the end; the moment (`time.monotonic()`) when nothing was left to do and all of it was durable."""
        moment = self._answer()
        assert isinstance(moment, float), moment
        return moment


class ProjectionsProcess(_Child):
    """All projections, in a process of their own."""

    def __init__(self, place: Place) -> None:
        super().__init__(_project, place)


@contextmanager
def workers(place: Place, count: int, *, fetch_size: int | None = None) -> Iterator[list[WorkerProcess]]:
    """So many workers that wait to begin."""
    with ExitStack() as stack:
        started = [WorkerProcess(place, drain=True, fetch_size=fetch_size) for _ in range(count)]
        yield [stack.enter_context(worker) for worker in started]


def _work(pipe: Connection, place: Place, drain: bool, fetch_size: int | None, reports: Connection | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us
    noop.Reporting.pipe = reports
    with logging_to(place.log), Working(place.url, drain=drain, fetch_size=fetch_size) as working:
        pipe.send(_READY)
        if pipe.recv() == "begin":
            Thread(target=_stop_when_told, args=(pipe, working), daemon=True).start()
            working.run()
            pipe.send(working.idle_at)


def _project(pipe: Connection, place: Place) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with logging_to(place.log), Projecting(place.url):
        pipe.send(_READY)
        _wait(pipe)


def _stop_when_told(pipe: Connection, working: Working) -> None:
    if _wait(pipe):
        working.stop()


def _wait(pipe: Connection) -> bool:
    try:
        pipe.recv()
    except (EOFError, OSError):
        return False  # whoever started us is gone
    return True


@contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Write this process's log events to a file, as JSON, at the default level."""
    with path.open("a") as stream:
        telemetry.configure_logging(form="json", stream=stream)
        yield
