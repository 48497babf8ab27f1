"""A process that runs all projections, for tests that kill it.

Its folds cannot take the second event of jobs whose type is `poison`. It may kill itself with SIGKILL at a call to the
store. Forked from a process that has imported everything: dozens of them die in a test.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

from jobledger.domain.errors import LedgerBusy
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.ports import ViewStore

from ..contract.views_support import open_place
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


def start(engine: str, place: str, dies_at: int = 0) -> ForkServerProcess:
    """A runner that has begun, or is dead already: at the so-maniest call to the store, before (below zero) or after
    that was done. Kill and join it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.runner_process", "tests.support.loaded"])
    begun, says = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(engine, place, dies_at, says))
    process.start()
    says.close()
    with begun:
        begun.poll(None)  # its first word, or its end
    return process


def run(engine: str, place: str, dies_at: int, begun: Connection) -> None:
    """Run until killed; say so after the first round."""
    with open_place(engine, place) as opened:
        store = Dying(opened.store, dies_at) if dies_at else opened.store
        runner = opened.runner(*map(poisoned_type, ALL_PROJECTIONS), batch_size=3, store=store)
        while not runner.failures:
            try:
                runner.run_once()
            except LedgerBusy:
                continue
            if not begun.closed:
                begun.send("begun")
                begun.close()
