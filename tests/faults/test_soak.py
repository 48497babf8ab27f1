"""Ten thousand jobs while workers are killed, frozen and restarted at random: all that we promise, checked at the end.

`make soak` runs it for longer, with seeds, numbers of jobs, workers and blows of one's own.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from jobledger import Ledger
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import JobFacts, JobSentToDlq
from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.settings import Settings
from tests.contract.views_support import open_place
from tests.support import soak, soak_check
from tests.support.soak import Fleet, Plan
from tests.support.soak_check import Effect

_CHOSEN = {name.removeprefix("SOAK_").lower(): int(value) for name, value in os.environ.items()
           if name in ("SOAK_SEED", "SOAK_JOBS", "SOAK_WORKERS", "SOAK_ACTS", "SOAK_CUTS", "SOAK_POISONS")}  # fmt: skip
"""What `make soak` asks for; nothing of it is a setting of the product."""
_UNLUCKY_MAX = 5
"""Workers die every few seconds here: a job may lose four of them by chance. Beside poisonous jobs that did not run
alone, 11 to 17 of 10,000 did."""


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For effects, the driver's pipe and the workers' log."""
    return tmp_path_factory.mktemp("soak")


@pytest.mark.timeout(1_800)
def test_soak_on_postgres(durable_dsn: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four workers, 10,000 jobs, a server that keeps its promises: nothing lost, doubled, or ended by a zombie."""
    _soak(Plan(**{"seed": 20_260_302, **_CHOSEN}), durable_dsn, "postgres", folder, capsys)  # type: ignore[arg-type]


@pytest.mark.timeout(600)
def test_soak_on_sqlite(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A smaller one on one file: three workers."""
    plan = Plan(seed=_CHOSEN.get("seed", 20_260_303), jobs=1_500, workers=3, acts=12, cuts=5, poisons=1)
    _soak(plan, f"sqlite:///{folder}/ledger.db", "sqlite", folder, capsys)


def _soak(plan: Plan, database: str, engine: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.open(database, app=soak.app, create=True) as ledger, closing(_handle(database)) as handle:
        for tenant in ("acme", "globex"):
            ledger.tenants.create(tenant, reason="a customer")
        with soak.fleet(plan, folder, database) as workers:
            with capsys.disabled():
                print(f"\nsoak on {engine}, seed {plan.seed}")  # noqa: T201 - what makes a failure repeatable
            seconds = soak.run(plan, workers, ledger, handle.ports.queue)
            codes = workers.stop()
            orphans = workers.orphans()
        effects = soak.effects(folder)
        events = list(_job_events(handle))
        with capsys.disabled():
            print(_summary(plan, workers, events, effects, seconds))  # noqa: T201
        assert soak_check.violations(events, effects) == []
        dead = Counter(_stalled_for_good(events))
        assert dead.pop("soak.poison") == plan.poisons
        assert dead.total() <= _UNLUCKY_MAX, f"innocents died with the poisonous ones: {dead}"
        assert workers.unexpected == []
        assert orphans == []
        assert set(codes) <= set(soak.ENDED_AS_ASKED)
        _assert_queue_is_empty(handle, events)
        place = str(folder / "ledger.db") if engine == "sqlite" else database
        with open_place(engine, place) as read_side:
            read_side.project()
            read_side.assert_views_are_the_fold()


def _handle(database: str) -> LedgerHandle:
    return open_ledger(Settings(database=database))


def _job_events(handle: LedgerHandle) -> Iterator[RecordedEvent]:
    position = 0
    while (batch := handle.ports.reader.read_after(position, limit=5_000)).events:
        position = batch.position
        yield from (event for event in batch.events if isinstance(event.facts, JobFacts))


def _stalled_for_good(events: list[RecordedEvent]) -> list[str]:
    """The types of jobs that stalled too often."""
    dead = (event.facts for event in events if isinstance(event.facts, JobSentToDlq))
    return [facts.job_type for facts in dead if facts.reason == "stalled"]


def _assert_queue_is_empty(handle: LedgerHandle, events: list[RecordedEvent]) -> None:
    """What is left are the dead jobs, as many as the ledger says; nobody holds anything."""
    dead = sum(soak_check.tally(events, []).dead.values())
    assert sum(count.jobs for count in handle.ports.queue.counts()) == dead
    assert handle.ports.queue.expired(limit=10) == []


def _summary(
    plan: Plan, workers: Fleet, events: list[RecordedEvent], effects: Sequence[Effect], seconds: float
) -> str:  # fmt: skip
    counted, blows = soak_check.tally(events, effects), workers.counts
    rows = {
        "jobs": counted.jobs, "completed": counted.completed, "dead": dict(counted.dead),
        "attempts ended": dict(counted.endings), "workers started": blows["started"],
        "killed at random": blows["kill"], "killed between an effect and its record, or its ending": blows["cut"],
        "killed by a job": blows["poisoned"], "frozen beyond the lease": blows["stop"], "restarted": blows["restart"],
        "steps recorded": counted.steps, "effects": counted.effects, "effects that were cut off and done again":
        counted.repeated, "seconds": round(seconds, 1), "jobs a second": round(plan.jobs / seconds, 1),
    }  # fmt: skip
    return "\n".join(f"  {name:<58} {value}" for name, value in rows.items())
