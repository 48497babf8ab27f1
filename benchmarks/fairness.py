"""How long one tenant's job waits while another tenant has nearly all of a large backlog."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from jobledger import Dispatch

from . import noop
from .measures import Sample, percentiles
from .processes import WorkerProcess
from .scenarios import Bench, Ledger, wait_for_pickup

BACKLOG_SHARE = 2.5
"""The backlog, as a multiple of a run's jobs: 50,000 by default."""
_WARM, _LOOK_EVERY = 5, 10
MAJORITY, *_OTHERS, MINORITY = noop.TENANTS


def fairness(bench: Bench, *, job_type: str) -> Iterator[Sample]:
    """The same pickup on an idle system, and beside a backlog of `job_type` of which one tenant has 90 %."""
    ours, theirs = noop.reporting_pipe()
    numbers = iter(range(1_000_000))
    with bench.ledger() as ledger:
        with WorkerProcess(ledger.place, drain=False, reports=theirs) as worker:
            worker.begin()
            idle = _pickups(ledger, ours, numbers, lambda taken: taken < bench.pickups + _WARM)[_WARM:]
            yield _sample(bench, f"minority-idle-{job_type}", idle)
        ledger.client.dispatch_many(backlog(round(BACKLOG_SHARE * bench.jobs), job_type))
        with WorkerProcess(ledger.place, drain=False, reports=theirs) as worker:
            worker.begin()
            yield _sample(
                bench, f"minority-busy-{job_type}", _pickups(ledger, ours, numbers, _while_busy(bench, ledger))[_WARM:]
            )


def _while_busy(bench: Bench, ledger: Ledger) -> Callable[[int], bool]:
    """Until little of the backlog is left; looked at now and then, because counting is work, too."""
    left = round(BACKLOG_SHARE * bench.jobs)

    def is_busy(taken: int) -> bool:
        nonlocal left
        if taken % _LOOK_EVERY == 0:
            left = bench.backend.unfinished(ledger.place.url)
        return left > bench.jobs // 4 or taken < 2 * _WARM

    return is_busy


def backlog(jobs: int, job_type: str) -> Sequence[Dispatch]:
    """Nine of ten jobs are the majority's, the rest of all others but the minority."""
    return [
        noop.item(number, _OTHERS[number // 10 % len(_OTHERS)] if number % 10 == 0 else MAJORITY, job_type=job_type)
        for number in range(jobs)
    ]


def _pickups(
    ledger: Ledger, reports: Connection, numbers: Iterator[int], goes_on: Callable[[int], bool]
) -> list[float]:
    latencies: list[float] = []
    while goes_on(len(latencies)):
        time.sleep(random.uniform(0.005, 0.025))  # so that no poll beats in time with us
        number = next(numbers)
        ledger.client.dispatch(noop.item(number, MINORITY, job_type=noop.PICKUP))
        latencies.append(wait_for_pickup(number, time.monotonic(), reports))
    return latencies


def _sample(bench: Bench, name: str, latencies: Sequence[float]) -> Sample:
    return Sample(name, bench.backend.name, len(latencies), unit="pickups", **percentiles(latencies)._asdict())
