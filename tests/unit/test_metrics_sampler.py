"""The ledger is measured rarely, only while somebody looks, and never by the one who looks."""

from __future__ import annotations

import threading

import pytest

from jobledger.application.ports import QueueCount
from jobledger.domain.errors import LedgerBusy
from jobledger.domain.job import JobStatus
from jobledger.infrastructure.metrics import sampler as module
from jobledger.infrastructure.metrics.sampler import MEASURED_SECONDS, STALE_SECONDS, Sampler
from jobledger.projections.ports import LedgerLag
from tests.support.use_cases import StillClock

NO_LAG = LedgerLag((), 0.0)


class Counting:
    """A ledger whose jobs can be counted, and whose trouble a test sets."""

    def __init__(self, clock: StillClock) -> None:
        self.clock = clock
        self.asked = 0
        self.takes_seconds = 0.0
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def counts(self) -> list[QueueCount]:
        """As many jobs as it was asked times."""
        assert self.go_on.wait(20)
        assert threading.current_thread() is not threading.main_thread()
        self.asked += 1
        self.clock.advance(self.takes_seconds)
        if self.error is not None:
            raise self.error
        return [QueueCount("default", JobStatus.PENDING, self.asked)]


@pytest.fixture
def clock() -> StillClock:
    """Time stands still."""
    return StillClock()


@pytest.fixture
def ledger(clock: StillClock) -> Counting:
    """What is measured."""
    return Counting(clock)


@pytest.fixture
def sampler(ledger: Counting, clock: StillClock) -> Sampler:
    """What measures it."""
    return Sampler(ledger.counts, lambda: NO_LAG, clock)


def _jobs(sampler: Sampler) -> int | None:
    measured = sampler.latest()
    return None if measured is None else measured.counts[0].jobs


def test_nothing_is_measured_until_somebody_looks(sampler: Sampler, ledger: Counting) -> None:
    """A worker that nobody scrapes costs the ledger nothing."""
    assert ledger.asked == 0
    assert _jobs(sampler) == 1


def test_however_often_somebody_looks(sampler: Sampler, ledger: Counting, clock: StillClock) -> None:
    """Once in ten seconds, for all of them."""
    for _ in range(50):
        assert _jobs(sampler) == 1
        clock.advance(MEASURED_SECONDS / 60)
    clock.advance(MEASURED_SECONDS)
    assert (_jobs(sampler), ledger.asked) == (2, 2)


def test_what_takes_long_is_done_less_often(sampler: Sampler, ledger: Counting, clock: StillClock) -> None:
    """Two per cent of the time at most."""
    ledger.takes_seconds = 2.0
    assert _jobs(sampler) == 1
    clock.advance(99.0)
    assert _jobs(sampler) == 1
    clock.advance(1.0)
    assert _jobs(sampler) == 2


def test_a_ledger_that_is_away_leaves_the_last_word_for_a_while(
    sampler: Sampler, ledger: Counting, clock: StillClock
) -> None:
    """Then there is none: no number is better than one that is long not true."""
    assert _jobs(sampler) == 1
    ledger.error = LedgerBusy("too slow")
    clock.advance(MEASURED_SECONDS)
    assert (_jobs(sampler), sampler.failures) == (1, 1)
    clock.advance(STALE_SECONDS)
    assert _jobs(sampler) is None
    ledger.error = None
    clock.advance(MEASURED_SECONDS)
    assert _jobs(sampler) == 4


def test_nobody_waits_for_a_ledger_that_hangs(
    sampler: Sampler, ledger: Counting, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scrape goes on without, and however many come, one measurement is under way."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.05)
    ledger.go_on.clear()
    before = set(threading.enumerate())
    for _ in range(5):
        assert sampler.latest() is None
        clock.advance(MEASURED_SECONDS)
    assert len(set(threading.enumerate()) - before) == 1
    monkeypatch.setattr(module, "WAIT_SECONDS", 20.0)
    ledger.go_on.set()
    assert _jobs(sampler) == 1
