"""What readers wait for: the list that shows one's own write."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator

from jobledger import Dispatch

from . import noop
from .measures import Sample, percentiles
from .scenarios import Bench

UNMEASURED = 5
PAGE = 50


def read_your_writes(bench: Bench) -> Iterator[Sample]:
    """Dispatch a job, then ask for the list as of that position; the lists are kept by another process."""
    with bench.ledger() as ledger:
        yield _written_and_listed(bench, "read-your-writes", ledger.client.dispatch_and_list)


def read_your_writes_here(bench: Bench) -> Iterator[Sample]:
    """The same where the process that asks keeps the lists, too."""
    with bench.ledger(projecting=False) as ledger, ledger.client.projecting():
        yield _written_and_listed(bench, "read-your-writes-in-process", ledger.client.dispatch_and_list)


def _written_and_listed(bench: Bench, scenario: str, dispatch_and_list: Callable[[Dispatch], int]) -> Sample:
    latencies = []
    for number in range(bench.pickups + UNMEASURED):
        time.sleep(random.uniform(0.02, 0.06))  # so that no poll beats in time with us
        item = noop.item(number, noop.TENANTS[0])
        began_at = time.perf_counter()
        listed = dispatch_and_list(item)
        latencies.append(time.perf_counter() - began_at)
        if listed != 1:
            raise AssertionError("the list lacks the job that was dispatched before")
    return Sample(scenario, bench.backend.name, **percentiles(latencies[UNMEASURED:])._asdict())
