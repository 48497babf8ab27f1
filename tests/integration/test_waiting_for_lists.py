"""Who asks for a list as of a position wakes the process that keeps it, which would not look by itself for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from jobledger.infrastructure.bootstrap import LedgerHandle, open_ledger
from jobledger.infrastructure.projecting import Hurrying
from jobledger.infrastructure.settings import load
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.runner import Pace, Runner

from ..contract.support import new_job

GIVE_UP_SECONDS = 60.0
NEVER_BY_ITSELF = Pace(poll_seconds=3_600, gather_seconds=3_600)


@pytest.fixture
def opened(postgres_dsn: str) -> Iterator[tuple[LedgerHandle, LedgerHandle]]:
    """The same ledger twice, as two processes open it."""
    with ExitStack() as stack:
        first, second = (stack.enter_context(closing(open_ledger(load(database=postgres_dsn)))) for _ in range(2))
        yield first, second


def written(handle: LedgerHandle) -> int:
    """The position of a new job."""
    (outcome,) = handle.ports.writer.write([new_job()])
    assert outcome.position is not None
    return outcome.position


def keep(stack: ExitStack, handle: LedgerHandle) -> Runner:
    """Keep the lists with this handle, as a service does, but without ever looking by itself."""
    runner = Runner(
        handle.view_store, handle.event_source, ALL_PROJECTIONS, pace=NEVER_BY_ITSELF, progress=handle.progress
    )
    runner.start()
    stack.callback(runner.stop)
    stack.callback(Hurrying(handle, runner).stop)
    return runner


def test_another_process_is_hurried(opened: tuple[LedgerHandle, LedgerHandle]) -> None:
    """Again and again, also right after a batch, when it would gather more events."""
    asking, keeping = opened
    with ExitStack() as stack:
        keep(stack, keeping)
        for _ in range(5):
            assert asking.ports.views.wait_for(written(asking), GIVE_UP_SECONDS)


def test_the_process_itself_is_hurried(opened: tuple[LedgerHandle, LedgerHandle]) -> None:
    """Who waits where the lists are kept is woken by the runner, and wakes it."""
    here, _ = opened
    with ExitStack() as stack:
        keep(stack, here)
        for _ in range(5):
            assert here.ports.views.wait_for(written(here), GIVE_UP_SECONDS)


def test_where_two_could_keep_them_either_does(opened: tuple[LedgerHandle, LedgerHandle]) -> None:
    """A process with a runner of its own also hurries the other, which may be the one that owns them."""
    asking, keeping = opened
    with ExitStack() as stack:
        keep(stack, keeping)
        keep(stack, asking)
        for _ in range(5):
            assert asking.ports.views.wait_for(written(asking), GIVE_UP_SECONDS)


def test_waiting_in_vain_ends(opened: tuple[LedgerHandle, LedgerHandle]) -> None:
    """Nobody keeps the lists: False once time is out."""
    asking, _ = opened
    assert not asking.ports.views.wait_for(written(asking), 0.05)
