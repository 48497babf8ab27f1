"""`jobledger projections rebuild` in processes of its own, as an operator runs it, watched from outside.

How far it is is read from where it stores it itself, so nothing that is measured knows that it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
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


class Watched(NamedTuple):
    """A rebuild that is over: when each phase began, when it ended (`time.monotonic()`), how many events were folded to
    fill it, and the CPU seconds and the most memory of its processes."""

    began_at: dict[str, float]
    ended_at: float
    events: int
    own_cpu_seconds: float
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


def rebuild(place: Place, *options: str, view: str = VIEW) -> Watched:
    """Rebuild a view and watch. Raises where it did not end as it should: swapped, and equal to the live view."""
    with psycopg.connect(place.url, autocommit=True) as connection:
        number = int(_first(connection, _COUNT))
        cpu_before = machine.ended_children_cpu_seconds()
        process = _started(place, "rebuild", view, "--reason", "benchmark", *options)
        began_at, ended_at, peak_mb = _watch(connection, number, process)
        code = process.wait()
        state, differing, events = connection.execute(_OUTCOME, (number,)).fetchone() or (None, None, 0)
    if (code, state, differing) != (0, "swapped", "0"):
        raise AssertionError(f"the rebuild ended as {state} with {differing} rows that differ, exit code {code}")
    cpu_seconds = machine.ended_children_cpu_seconds() - cpu_before
    return Watched(began_at, ended_at, int(events or 0), cpu_seconds, peak_mb)


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


def _watch(
    connection: psycopg.Connection[tuple[object, ...]], number: int, process: subprocess.Popen[bytes]
) -> tuple[dict[str, float], float, float]:
    began_at: dict[str, float] = {}
    peaks: dict[int, float] = {}
    weigh_at = 0.0
    while True:
        row = connection.execute(_STANDING, (number,)).fetchone()
        now = time.monotonic()
        if row is not None and row[0] == "ended":
            return began_at, now, max(peaks.values(), default=0.0)
        if row is not None:
            began_at.setdefault(str(row[0]), now)
        if process.poll() is not None:
            raise AssertionError(f"the rebuild ended in between, with exit code {process.returncode}")
        if now > weigh_at:
            peaks.update(machine.tree_peaks_mb(process.pid))
            weigh_at = now + _WEIGH_SECONDS
        time.sleep(_LOOK_SECONDS)


def _started(place: Place, *words: str) -> subprocess.Popen[bytes]:
    with place.log.open("ab") as log:
        return subprocess.Popen(
            [*_PROGRAM, *words, "--json"], env={**os.environ, "JOBLEDGER_DATABASE": place.url},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def _first(connection: psycopg.Connection[tuple[object, ...]], statement: str) -> str:
    row = connection.execute(statement.encode()).fetchone()
    return str(row[0]) if row else "0"
