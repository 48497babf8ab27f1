"""Processes around a rebuild, for tests that kill it: `python -m tests.support.rebuilding_process ROLE URL ...`.

`dispatch`, `project` and `read` go on until their input ends; `rebuild` works on the rebuild of `tenant_jobs` until it
is over, or until it kills itself at a call of a port: `NAME NUMBER before|after`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

from jobledger import Dispatch, Ledger
from jobledger.application.message import Actor
from jobledger.application.ports import JobFilter
from jobledger.domain.errors import LedgerBusy
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.projecting import catch_up, make_runner
from jobledger.infrastructure.rebuilding import rebuild_ports
from jobledger.infrastructure.settings import load
from jobledger.projections.beginning import Wanted, begin_or_join
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.rebuild import Options, Rebuilding
from jobledger.projections.shadow import Purpose, Scope

VIEW = PROJECTIONS["tenant_jobs"]
MANY = 100_000
_PAUSE_SECONDS = 0.01


class Deadly:
    """A port that kills the process at its n-th call of a name, before it does anything or right after; of a context,
    after means inside. Counts together with the others that share `left`."""

    def __init__(self, port: object, name: str, left: list[int], *, after: bool) -> None:
        self._port = port
        self._name = name
        self._left = left
        self._after = after

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the port has
        found = getattr(self._port, name)
        return self._deadly(found) if name == self._name else found

    def _deadly(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*values: object, **named: object) -> object:
            self._left[0] -= 1
            if self._left[0] == 0 and not self._after:
                _die()
            answer = function(*values, **named)
            if self._left[0] == 0 and isinstance(answer, AbstractContextManager):
                return _deadly_inside(answer)
            if self._left[0] == 0:
                _die()
            return answer

        return call


@contextmanager
def _deadly_inside(context: AbstractContextManager[object]) -> Iterator[object]:
    with context as value:
        _die()
        yield value


def _die() -> None:
    """No farewell."""
    os.kill(os.getpid(), signal.SIGKILL)


def rebuild(handle: LedgerHandle, name: str = "nothing", number: str = "0", when: str = "after") -> None:
    """Begin, or go on, until it is over."""
    ports, left = rebuild_ports(handle, Actor(id="test:ana")), [int(number)]
    shadows, store, records = (
        Deadly(port, name, left, after=when == "after") for port in (ports.shadows, ports.store, ports.records)
    )
    ports = ports._replace(shadows=shadows, store=store, records=records)
    joined = begin_or_join(ports, Wanted(uuid4(), VIEW, Purpose.REBUILD, Scope(), "test:ana", "a drill"))
    options = Options(stream_events=25, batch_events=25)
    with closing(Rebuilding(ports, VIEW, joined.rebuild, options)) as rebuilding:
        outcome = rebuilding.run()
    assert outcome.end is not None
    _say(differing=outcome.end.comparison.differing, swapped=outcome.end.swapped)


def dispatch(handle: LedgerHandle) -> None:
    """One job after the other, some of which fail."""
    done, number = _until_input_ends(), 0
    with Ledger.open(str(handle.settings.database)) as ledger:
        while not done.wait(_PAUSE_SECONDS):
            number += 1
            name = "sample.hopeless" if number % 5 == 0 else "sample.ok"
            ledger.dispatch_many([Dispatch(name, {"text": "x", "number": number}, "acme", "bot")])
    _say(dispatched=number)


def project(handle: LedgerHandle) -> None:
    """Keep all views current, and bring them up to date in the end."""
    done = _until_input_ends()
    runner = make_runner(handle)
    runner.start()
    done.wait()
    runner.stop()
    assert runner.failures == {}
    while not catch_up(handle, 10.0):
        pass
    _say(projected=True)


def read(handle: LedgerHandle, known: str) -> None:
    """Read the whole list again and again: it never gets shorter, and a job that has completed is always in it."""
    done, before, readings = _until_input_ends(), 0, 0
    while not done.is_set():
        rows = handle.ports.views.tenant_jobs("acme", JobFilter(), after=None, limit=MANY).rows
        assert len(rows) >= before, f"{before} jobs, then {len(rows)}"
        assert any(row.job_id == UUID(known) and row.status is JobStatus.COMPLETED for row in rows)
        before, readings = len(rows), readings + 1
    _say(readings=readings, rows=before)


def _until_input_ends() -> Event:
    done = Event()

    def watch() -> None:
        sys.stdin.read()
        done.set()

    Thread(target=watch, daemon=True).start()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    return done


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main(role: str, url: str, *words: str) -> None:
    """Be what is asked for. A ledger that is busy is opened again."""
    roles: dict[str, Callable[..., None]] = {"rebuild": rebuild, "dispatch": dispatch, "project": project, "read": read}
    while True:
        try:
            with closing(open_ledger(load(database=url))) as handle:
                return roles[role](handle, *words)
        except LedgerBusy:
            if role != "rebuild":
                raise


if __name__ == "__main__":
    main(*sys.argv[1:])
