"""`jobledger projections rebuild` in processes of its own, as an operator runs it, watched from outside.

How far it is is read from where it stores it itself, so nothing that is measured knows that it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import NamedTuple

import psycopg

from . import machine
from .processes import Place

VIEW = "tenant_jobs"
PHASES = ("filling", "indexing", "catching up", "comparing", "swapping", "recording")
"""What a rebuild does one after the other; one that is shorter than a look may be missed."""

_PROGRAM = (sys.executable, "-P", "-m", "jobledger.infrastructure.cli", "projections")
_LOOK_SECONDS = 0.01
_WEIGH_SECONDS = 0.25
_PATIENCE_SECONDS = 1_800
_STANDING = """
SELECT CASE WHEN ended_at IS NOT NULL THEN 'ended' WHEN state = 'swapped' THEN 'recording'
            WHEN state = 'comparing' AND comparison IS NOT NULL THEN 'swapping' ELSE replace(state, '_', ' ') END
FROM jobledger.rebuilds ORDER BY begun_at OFFSET %s LIMIT 1
"""
_COUNT = "SELECT count(*) FROM jobledger.rebuilds"
_FILLED = """
SELECT coalesce(sum(s.events), 0) FROM jobledger.rebuild_slices AS s JOIN jobledger.rebuilds AS r USING (rebuild_id)
WHERE r.ended_at IS NULL
"""
_OUTCOME = """
SELECT state, comparison::json->>'differing', (SELECT sum(events) FROM jobledger.rebuild_slices AS s
                                               WHERE s.rebuild_id = r.rebuild_id)
FROM jobledger.rebuilds AS r ORDER BY begun_at OFFSET %s LIMIT 1
"""


class Cpu(NamedTuple):
    """CPU seconds of the rebuild's processes and of the database server's."""

    own: float
    server: float

    def since(self, before: Cpu) -> Cpu:
        """What was used since then."""
        return Cpu(self.own - before.own, self.server - before.server)


class Watched(NamedTuple):
    """A rebuild that is over: when each phase began, when it ended (`time.monotonic()`), how many events were folded to
    fill it, the CPU seconds of all of it (the start of Python included) and of its phases, and the most memory of one
    of its processes."""

    began_at: dict[str, float]
    ended_at: float
    events: int
    cpu: Cpu
    phase_cpu: dict[str, Cpu]
    peak_mb: float

    @property
    def seconds(self) -> float:
        """From the moment when it was first seen until it had recorded its end."""
        return self.ended_at - min(self.began_at.values())

    @property
    def phase_seconds(self) -> dict[str, float]:
        """How long each phase took that was seen."""
        moments = [*self.began_at.values(), self.ended_at]
        return {phase: end - begin for phase, begin, end in zip(self.began_at, moments, moments[1:], strict=False)}


def rebuild(
    place: Place, *options: str, view: str = VIEW, server_cpu_seconds: Callable[[], float] = lambda: 0.0
) -> Watched:
    """Rebuild a view and watch. Raises where it did not end as it should: swapped, and equal to the live view."""
    with psycopg.connect(place.url, autocommit=True) as connection:
        number = int(_first(connection, _COUNT))
        before = Cpu(machine.ended_children_cpu_seconds(), server_cpu_seconds())
        process = _started(place, "rebuild", view, "--reason", "benchmark", *options)
        watch = _Watch(connection, number, process, server_cpu_seconds)
        watch.until_it_ends()
        code = process.wait()
        state, differing, events = connection.execute(_OUTCOME, (number,)).fetchone() or (None, None, 0)
    if (code, state, differing) != (0, "swapped", "0"):
        raise AssertionError(f"the rebuild ended as {state} with {differing} rows that differ, exit code {code}")
    cpu = Cpu(machine.ended_children_cpu_seconds(), server_cpu_seconds()).since(before)
    return Watched(watch.began_at, watch.ended_at, int(events or 0), cpu, watch.phase_cpu(), watch.peak_mb)


@contextmanager
def rebuilding_all_the_time(place: Place, *options: str, view: str = VIEW) -> Iterator[None]:
    """Rebuild again and again for the block, which begins when the first one has begun to fill."""
    stopping = Event()
    running = Thread(target=_again_and_again, args=(place, view, options, stopping), name="rebuilding", daemon=True)
    running.start()
    try:
        with psycopg.connect(place.url, autocommit=True) as connection:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not int(_first(connection, _FILLED)):
                if time.monotonic() > deadline or not running.is_alive():
                    raise AssertionError("no rebuild has begun to fill")
                time.sleep(_LOOK_SECONDS)
        yield
    finally:
        stopping.set()
        running.join()


def _again_and_again(place: Place, view: str, options: Sequence[str], stopping: Event) -> None:
    while not stopping.is_set():
        process = _started(place, "rebuild", view, "--reason", "benchmark", *options)
        while process.poll() is None and not stopping.wait(_LOOK_SECONDS):
            pass
        if process.poll() is None:
            process.terminate()
            process.wait()
            _started(place, "cancel", view, "--reason", "measured").wait()


class _Watch:
    """Looks at a rebuild under way, again and again."""

    def __init__(
        self,
        connection: psycopg.Connection[tuple[object, ...]],
        number: int,
        process: subprocess.Popen[bytes],
        server_cpu_seconds: Callable[[], float],
    ) -> None:
        self._connection = connection
        self._number = number
        self._process = process
        self._server_cpu_seconds = server_cpu_seconds
        self._cpu_at: list[Cpu] = []
        self._peaks: dict[int, float] = {}
        self.began_at: dict[str, float] = {}
        self.ended_at = 0.0

    def until_it_ends(self) -> None:
        """Raises where its process ends before."""
        weigh_at = 0.0
        while (phase := self._phase()) != "ended":
            now = time.monotonic()
            if phase is not None and phase not in self.began_at:
                self.began_at[phase] = now
                self._cpu_at.append(self._cpu())
            if self._process.poll() is not None:
                raise AssertionError(f"the rebuild ended in between, with exit code {self._process.returncode}")
            if now > weigh_at:
                self._peaks.update(machine.tree_peaks_mb(self._process.pid))
                weigh_at = now + _WEIGH_SECONDS
            time.sleep(_LOOK_SECONDS)
        self.ended_at = time.monotonic()
        self._cpu_at.append(self._cpu())

    def phase_cpu(self) -> dict[str, Cpu]:
        """What each phase that was seen used."""
        spans = zip(self.began_at, self._cpu_at, self._cpu_at[1:], strict=False)
        return {phase: end.since(begin) for phase, begin, end in spans}

    @property
    def peak_mb(self) -> float:
        """The most memory that one of the processes ever had."""
        return max(self._peaks.values(), default=0.0)

    def _phase(self) -> str | None:
        row = self._connection.execute(_STANDING, (self._number,)).fetchone()
        return None if row is None else str(row[0])

    def _cpu(self) -> Cpu:
        """Never less than before, though a process may just have ended that nobody has waited for yet."""
        last = self._cpu_at[-1] if self._cpu_at else Cpu(0.0, 0.0)
        own, server = machine.tree_cpu_seconds(self._process.pid), self._server_cpu_seconds()
        return Cpu(max(own, last.own), max(server, last.server))


def _started(place: Place, *words: str) -> subprocess.Popen[bytes]:
    with place.log.open("ab") as log:
        return subprocess.Popen(
            [*_PROGRAM, *words, "--json"], env={**os.environ, "JOBLEDGER_DATABASE": place.url},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def _first(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> str:
    row = connection.execute(statement.encode()).fetchone()
    return str(row[0]) if row else "0"
