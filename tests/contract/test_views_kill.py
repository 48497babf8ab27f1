"""Runners that die by SIGKILL while rivals run and jobs go on: nothing is skipped, nothing is applied twice."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .support import LedgerUnderTest
from .views_support import ReadSide, open_read_side, place_of

ROOT = Path(__file__).parents[2]
KILLS = 4
JOBS_BETWEEN_KILLS = 12


@pytest.fixture
def read_side(stored_ledger: LedgerUnderTest) -> Iterator[ReadSide]:
    """An empty ledger with its read side."""
    with open_read_side(stored_ledger) as own:
        yield ReadSide(stored_ledger, own)


@contextmanager
def running(ledger: LedgerUnderTest) -> Iterator[subprocess.Popen[str]]:
    """A process that runs all projections, and has begun."""
    command = [sys.executable, "-m", "tests.support.runner_process", ledger.engine, place_of(ledger)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


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
