"""Runners that die by SIGKILL while rivals run and jobs go on: nothing is skipped, nothing is applied twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.process import BaseProcess
from random import Random
from signal import SIGKILL
from typing import Any
from uuid import UUID

import pytest

from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.retrying import Retrying
from tests.support.poison import POISON, fold_around, poisoned_type
from tests.support.runner_process import start

from .support import LedgerUnderTest, new_job
from .views_support import ReadSide, place_of

WAIT_SECONDS = 60.0
KILLS = 4
JOBS_BETWEEN_KILLS = 12
SEEDS = (1, 2)
DEATHS = 2
"""Of each of two runners, in one round."""
CALLS_MAX = 120
"""To the store, before a runner dies at the latest."""
HELD_MAX = 3
"""Transactions that dispatched and are still open."""


def end(process: BaseProcess) -> None:
    """Kill it, if it still runs."""
    process.kill()
    process.join()


@contextmanager
def running(ledger: LedgerUnderTest) -> Iterator[BaseProcess]:
    """A process that runs all projections, and has begun."""
    process = start(ledger.engine, place_of(ledger))
    try:
        assert process.exitcode is None
        yield process
    finally:
        end(process)


def test_runners_killed_at_any_moment_leave_exact_views(read_side: ReadSide) -> None:
    """Two runners; one after the other is killed in the middle of its work and replaced. The tables are the fold."""
    ledger = read_side.ledger
    with ExitStack() as rival:
        rival.enter_context(running(ledger))
        for _ in range(KILLS):
            with running(ledger) as victim:
                for number in range(JOBS_BETWEEN_KILLS):
                    ledger.dispatch(persona="bot" if number % 2 else None)
                    if number % 3:
                        ledger.complete(ledger.claim_one())
                    if number == JOBS_BETWEEN_KILLS // 2:
                        victim.kill()
    read_side.own.project()
    read_side.own.assert_views_are_the_fold()


def test_the_other_runner_takes_over(read_side: ReadSide) -> None:
    """Two processes: what is appended after the one that moved the lists was killed is applied by the other, which
    nobody told."""
    ledger = read_side.ledger
    with ExitStack() as ending:
        processes = {process.pid: process for process in (ending.enter_context(running(ledger)) for _ in range(2))}
        ledger.dispatch()
        victim = processes.pop(owner_at_head(read_side))
        end(victim)
        ledger.dispatch()
        assert [owner_at_head(read_side)] == list(processes)


def owner_at_head(read_side: ReadSide) -> int:
    """The process that moved the lists to the head of the ledger, once it has."""
    assert read_side.own.views.wait_for(read_side.own.source.head(), WAIT_SECONDS)
    return int(read_side.own.store.checkpoints()["tenant_jobs"].owner.rpartition(":")[2])


# --- seeded rounds ---------------------------------------------------------------------------------------------------


class Writing:
    """Jobs that come and go, some of them poisoned. On PostgreSQL some are dispatched in transactions that stay open
    while others commit: their events appear behind later ones, or never."""

    def __init__(self, ledger: LedgerUnderTest, random: Random) -> None:
        self._ledger = ledger
        self._random = random
        self._held: list[tuple[ExitStack, Any]] = []

    def go_on(self) -> None:
        """One more thing happens."""
        random, ledger = self._random, self._ledger
        act = random.choice(["dispatch", "dispatch", "work", "hold", "let go"])
        if act == "hold" and ledger.engine == "postgres" and len(self._held) < HELD_MAX:
            self._hold(self._options())
        elif act == "let go" and self._held:
            self._let_go(random.randrange(len(self._held)))
        elif act == "work":
            for job in ledger.claim(limit=2, job_types=("invoice.send", POISON)).jobs:
                ledger.complete(job)
        else:
            ledger.dispatch(**self._options())

    def end(self) -> None:
        """Close what is open, and work until nothing is left."""
        while self._held:
            self._let_go(0)
        while jobs := self._ledger.claim(limit=50, job_types=("invoice.send", POISON)).jobs:
            for job in jobs:
                self._ledger.complete(job)

    def _options(self) -> dict[str, Any]:
        persona = self._random.choice([None, "bot", "mail-bot"])
        return {"persona": persona, "job_type": self._random.choice(["invoice.send", "invoice.send", POISON])}

    def _hold(self, options: dict[str, Any]) -> None:
        stack = ExitStack()
        connection = stack.enter_context(self._ledger.connect())
        self._ledger.transaction_writer.dispatch(connection, [new_job(**options)])
        self._held.append((stack, connection))

    def _let_go(self, which: int) -> None:
        stack, connection = self._held.pop(which)
        with stack:
            if self._random.random() < 0.7:
                connection.commit()
            else:
                connection.rollback()


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_between_any_two_statements(read_side: ReadSide, seed: int) -> None:
    """Two runners, each killed by SIGKILL before or after a random call to the store, again and again, while jobs go
    on, commits come out of order and some events are poison: each view is the fold of all that nothing keeps it from,
    the rest is parked, once; retried with a corrected fold, nothing is missing."""
    random, ledger = Random(seed), read_side.ledger
    ledger.create_tenant("acme")
    writing = Writing(ledger, random)
    ledger.dispatch(job_type=POISON, persona="bot")  # however few things happen: one of them is poison
    ledger.complete(ledger.claim_one(job_types=(POISON,)))
    deaths = 0
    with ExitStack() as ending:
        runners = [_start(ending, ledger, random) for _ in range(2)]
        while deaths < 2 * DEATHS:
            writing.go_on()
            for place, runner in enumerate(runners):
                if runner.exitcode is not None:
                    assert runner.exitcode == -SIGKILL, "it ends by being killed only"
                    deaths += 1
                    runners[place] = _start(ending, ledger, random)
    writing.end()
    _assert_around(read_side)
    for projection in ALL_PROJECTIONS:
        Retrying(read_side.own.store, read_side.own.source, projection, page_events=3).retry_all()
    read_side.own.assert_views_are_the_fold()
    assert read_side.own.store.parked(limit=9) == []


def _start(ending: ExitStack, ledger: LedgerUnderTest, random: Random) -> BaseProcess:
    process = start(ledger.engine, place_of(ledger), random.choice((-1, 1)) * random.randint(1, CALLS_MAX))
    ending.callback(end, process)
    return process


def _assert_around(read_side: ReadSide) -> None:
    """Bring the views up to date, and look at all that they hold and leave aside."""
    own, projections = read_side.own, [poisoned_type(projection) for projection in ALL_PROJECTIONS]
    runner = own.runner(*projections)
    runner.run_until_current()
    runner.stop()
    assert runner.failures == {}
    events = own.events()
    poisoned_jobs = set[UUID]()
    for projection in projections:
        expected = fold_around(projection, events)
        parked = own.store.parked(projection.name, limit=100_000)
        assert {(one.key, one.position): one.error is not None for one in parked} == expected.parked
        assert own.stored_rows(projection, events) == expected.rows, projection.name
        poisoned_jobs |= {one.originator_id for one in parked if one.error is not None}
    assert poisoned_jobs, "some jobs were poisoned"
