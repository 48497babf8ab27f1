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
MAJORITY, *_OTHERS, MINORITY = noop.TENANTS


def fairness(bench: Bench, *, job_type: str) -> Iterator[Sample]:
    """The same pickup three times: on an idle system, beside a backlog of `job_type` of which one tenant has 90 %, and
    whether the two differ much is a target."""
    ours, theirs = noop.reporting_pipe()
    with bench.ledger() as ledger, WorkerProcess(ledger.place, drain=False, reports=theirs) as worker:
        worker.begin()
        numbers = iter(range(1_000_000))
        idle = _pickups(ledger, ours, numbers, lambda taken: taken < bench.pickups + 5)[5:]
        yield _sample(bench, f"minority-idle-{job_type}", idle)
        ledger.client.dispatch_many(backlog(round(BACKLOG_SHARE * bench.jobs), job_type))
        busy = _pickups(ledger, ours, numbers, lambda _: bench.backend.unfinished(ledger.place.url) > 0)
        yield _sample(bench, f"minority-busy-{job_type}", busy)


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
