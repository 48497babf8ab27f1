"""The soak: worker processes that do jobs while a driver kills, freezes and restarts them, at random from a seed.

The driver decides everything at its own seeded pace. Handlers that are to be killed at a certain moment announce it
on a pipe; nothing here waits for a time to pass in the hope that something has happened.
"""

from __future__ import annotations

import os
import random
import selectors
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from jobledger import Dispatch, Ledger
from jobledger.application.ports import Queue
from jobledger.domain.errors import LedgerBusy
from jobledger.domain.job import JobStatus

from .cli import PROGRAM
from .repository import ROOT
from .soak_app import EFFECTS, PIPE, app
from .soak_check import Effect

LEASE_SECONDS = 2.0
_UNEXPECTED_MAX = 3
_ENDING_SECONDS = 20.0
ENDED_AS_ASKED = (0, -signal.SIGTERM)
"""Exits after SIGTERM: the second where it came before the program was ready for it, and had claimed anything."""


class Plan(NamedTuple):
    """How much of everything. `acts` are the driver's blows besides those that handlers announce."""

    seed: int
    jobs: int = 10_000
    workers: int = 4
    acts: int = 24
    cuts: int = 10
    poisons: int = 2
    pause_seconds: tuple[float, float] = (0.3, 1.5)
    limit_seconds: float = 160.0
    """After the last blow, and to be done by."""


@dataclass
class _Worker:
    """A worker process, in a process group of its own."""

    process: subprocess.Popen[bytes]
    continue_at: float | None = None
    """When it is to go on, where it is frozen."""
    ending: bool = False


@dataclass
class Fleet:
    """The worker processes of a soak, and what was done to them."""

    plan: Plan
    folder: Path
    variables: Mapping[str, str]
    counts: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    """Exits that nobody asked for."""
    _workers: list[_Worker] = field(default_factory=list)
    _chance: random.Random = field(init=False)
    _pipe: int = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.plan.seed)
        os.mkfifo(self.folder / PIPE)
        self._pipe = os.open(self.folder / PIPE, os.O_RDWR | os.O_NONBLOCK)

    def fill_up(self) -> None:
        """Replace workers that ended; those that ended by themselves are a finding, unless a poisonous job did it."""
        for worker in list(self._workers):
            code = worker.process.poll()
            if code is None:
                continue
            self._workers.remove(worker)
            if not worker.ending:
                self.counts["poisoned" if code == -signal.SIGKILL else "crashed"] += 1
            if code not in ((*ENDED_AS_ASKED, -signal.SIGKILL) if worker.ending else (-signal.SIGKILL,)):
                self.unexpected.append(f"pid {worker.process.pid} ended with {code}")
        assert len(self.unexpected) < _UNEXPECTED_MAX, (
            self.unexpected,
            (self.folder / "worker.log").read_text()[-2_000:],
        )
        while len(self._workers) < self.plan.workers:
            self._workers.append(_Worker(self._start()))

    def act(self) -> None:
        """One blow at a worker."""
        worker = self._chance.choice(self._workers)
        blow = self._chance.choices(("kill", "stop", "restart"), (5, 3, 2))[0]
        if worker.ending or (worker.continue_at is not None and blow != "kill"):
            return
        self.counts[blow] += 1
        if blow == "kill":
            self._kill(worker)
        elif blow == "restart":
            worker.ending = True
            worker.process.send_signal(signal.SIGTERM)
        else:
            worker.process.send_signal(signal.SIGSTOP)
            worker.continue_at = time.monotonic() + LEASE_SECONDS + self._chance.uniform(0.5, 2.5)

    def attend(self, seconds: float) -> None:
        """For so long: kill who announces that it is time to, let the frozen go on, replace who ended."""
        until = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while True:
                self._go_on()
                self.fill_up()
                remaining = until - time.monotonic()
                if remaining <= 0:
                    return
                if selector.select(min(remaining, 0.05)):
                    for line in os.read(self._pipe, 4_096).splitlines():
                        self._cut(int(line.split()[0]))

    def stop(self) -> list[int]:
        """End all gracefully; the codes they ended with."""
        self._go_on(at_once=True)
        for worker in self._workers:
            worker.process.send_signal(signal.SIGTERM)
        return [worker.process.wait(60) for worker in self._workers]

    def orphans(self) -> list[int]:
        """Processes in the workers' folder that outlive the worker that they belong to. Those of a worker that was
        killed notice it themselves, which takes them a moment."""
        give_up_at = time.monotonic() + _ENDING_SECONDS
        while found := self._living():
            if time.monotonic() >= give_up_at:
                return found
            time.sleep(0.02)
        return []

    def close(self) -> None:
        """Leave nothing behind."""
        for worker in self._workers:
            worker.process.kill()
            worker.process.wait()
        for process in self._living():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        os.close(self._pipe)

    def _start(self) -> subprocess.Popen[bytes]:
        self.counts["started"] += 1
        with (self.folder / "worker.log").open("ab") as log:
            return subprocess.Popen(
                [str(PROGRAM), "work"], cwd=self.folder, env=self.variables, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip

    def _living(self) -> list[int]:
        """All processes that work in the folder, whoever started them."""
        return [process for process in _processes() if _folder_of(process) == self.folder]

    def _kill(self, worker: _Worker) -> None:
        worker.ending = True
        worker.process.kill()

    def _cut(self, pid: int) -> None:
        """A handler stands between its effect and the record of it, or between that and its ending."""
        for worker in self._workers:
            if worker.process.pid == pid and worker.process.poll() is None:
                self.counts["cut"] += 1
                self._kill(worker)

    def _go_on(self, *, at_once: bool = False) -> None:
        for worker in self._workers:
            if worker.continue_at is not None and (at_once or time.monotonic() >= worker.continue_at):
                worker.continue_at = None
                worker.process.send_signal(signal.SIGCONT)


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _folder_of(process: int) -> Path | None:
    try:
        return Path(f"/proc/{process}/cwd").readlink()
    except OSError:  # it ended, or is not ours
        return None


@contextmanager
def fleet(plan: Plan, folder: Path, database: str) -> Iterator[Fleet]:
    """A fleet on a ledger; whatever happens, none of its processes outlives the block."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOBLEDGER_")}
    variables = {
        **kept, "PYTHONPATH": str(ROOT), "JOBLEDGER_DATABASE": database,
        "JOBLEDGER_APP": "tests.support.soak_app", "JOBLEDGER_LOG_LEVEL": "warning",
        "JOBLEDGER_LEASE_SECONDS": str(LEASE_SECONDS), "JOBLEDGER_LEASE_RENEW_BUFFER_SECONDS": "1",
        "JOBLEDGER_MAINTENANCE_INTERVAL_SECONDS": "1", "JOBLEDGER_SHUTDOWN_GRACE_SECONDS": "2",
        "JOBLEDGER_CONCURRENCY": "8", "JOBLEDGER_PROCESS_POOL_SIZE": "2",
    }  # fmt: skip
    with closing(Fleet(plan, folder, variables)) as workers:
        yield workers


def run(plan: Plan, workers: Fleet, ledger: Ledger, queue: Queue) -> float:
    """Dispatch in waves between the driver's blows, then wait until nothing is left to do; the seconds it took."""
    began = time.monotonic()
    chance = random.Random(plan.seed)
    jobs = work(plan, chance)
    size = -(-len(jobs) // plan.acts)
    for number in range(plan.acts):
        wave = jobs[number * size : (number + 1) * size]
        _dispatch(ledger, wave, until=time.monotonic() + plan.limit_seconds)
        workers.attend(chance.uniform(*plan.pause_seconds))
        workers.act()
    calm_since = time.monotonic()
    while not idle(queue):
        assert time.monotonic() < calm_since + plan.limit_seconds, f"not done: {queue.counts()}"
        workers.attend(0.2)
    return time.monotonic() - began


def _dispatch(ledger: Ledger, wave: Sequence[Dispatch], *, until: float) -> None:
    """As a client does: a worker that is frozen in the middle of a write keeps SQLite's only writer, so it is tried
    again; keys make sure of one job each."""
    while True:
        try:
            for result in ledger.dispatch_many(wave):
                result.unwrap()
            return
        except LedgerBusy:
            assert time.monotonic() < until, "nothing can be dispatched"


def work(plan: Plan, chance: random.Random) -> list[Dispatch]:
    """The jobs of a plan, of all kinds, mixed."""
    kinds = ("plain", "steps", "async", "process", "keyed", "flaky", "snooze", "hopeless", "crash")
    drawn = chance.choices(kinds, (470, 200, 140, 50, 50, 50, 20, 17, 3), k=plan.jobs - plan.cuts - plan.poisons)
    jobs = [_job(kind, number, chance) for number, kind in enumerate(drawn)]
    places = ("effect", "effect", "record")
    jobs += [
        Dispatch(
            "soak.cut", {"number": number, "where": places[number % 3], "times": 2 - bool(number % 3)}, tenant="acme"
        )
        for number in range(plan.cuts)
    ]
    jobs += [Dispatch("soak.poison", {"number": number}, tenant="acme") for number in range(plan.poisons)]
    chance.shuffle(jobs)
    return [job._replace(idempotency_key=f"soak-{number}") for number, job in enumerate(jobs)]


def _job(kind: str, number: int, chance: random.Random) -> Dispatch:
    milliseconds = chance.choices((0.0, chance.uniform(1, 30), chance.uniform(200, 1_500)), (60, 38, 2))[0]
    payload = {"number": number % 20 if kind == "keyed" else number, "milliseconds": round(milliseconds, 1)}
    tenant = "acme" if number % 10 else "globex"
    return Dispatch(f"soak.{kind}", payload, tenant=tenant, priority=chance.randint(-2, 2))


def idle(queue: Queue) -> bool:
    """Whether all that is left are dead jobs."""
    return all(count.status is JobStatus.DLQ for count in queue.counts() if count.jobs)


def effects(folder: Path) -> Sequence[Effect]:
    """What the world saw."""
    path = folder / EFFECTS
    lines = path.read_text(encoding="ascii").splitlines() if path.exists() else []
    return [Effect(UUID(job), int(attempt), step) for job, attempt, step in map(str.split, lines)]


__all__ = ["LEASE_SECONDS", "Fleet", "Plan", "app", "effects", "fleet", "idle", "run", "work"]
