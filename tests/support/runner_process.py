"""A process that runs all projections, for tests that kill it: `python -m tests.support.runner_process ENGINE PLACE`.

Prints a line after its first round, and whenever the list moved. Its folds cannot take the second event of
jobs whose type is `poison`. With a third argument N it kills itself with SIGKILL at the N-th call to the store, before
(N below zero) or after it was done.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from jobledger.domain.errors import LedgerBusy
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.ports import ViewStore

from ..contract.views_support import Opened, open_place
from .poison import poisoned_type
from .seen import Cut, Cutting


class Dying(Cutting):
    """A view store whose process is killed at the n-th call."""

    def __init__(self, store: ViewStore, at: int) -> None:
        super().__init__(store, abs(at), after=at > 0)

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call, which may be the last."""
        try:
            with super().call():
                yield
        except Cut:
            os.kill(os.getpid(), signal.SIGKILL)


def main(engine: str, place: str, dies_at: str = "0") -> None:
    """Run until killed."""
    with open_place(engine, place) as opened:
        _run(opened, int(dies_at))


def _run(opened: Opened, dies_at: int) -> None:
    store = Dying(opened.store, dies_at) if dies_at else opened.store
    runner = opened.runner(*map(poisoned_type, ALL_PROJECTIONS), batch_size=3, store=store)
    told = -1
    while not runner.failures:
        try:
            runner.run_once()
        except LedgerBusy:
            continue
        if told != (position := runner.position("tenant_jobs")):
            told = position
            sys.stdout.write(f"{position}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
