"""What is measured. Each scenario runs once on a fresh ledger and gives its samples."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from jobledger import Dispatch

from . import noop, raw
from .backends import Backend, Postgres
from .measures import Sample, percentiles
from .meter import Meter
from .million import add_finished_jobs
from .processes import Place, ProjectionsProcess, WorkerProcess, workers
from .wiring import Client, Replay

LISTS_SECONDS = 300.0
"""How long the lists may take to catch up before a run counts as broken."""


class Bench(NamedTuple):
    """What scenarios share: a database, how much to do, and where logs go."""

    backend: Backend
    jobs: int
    log: Path
    pickups: int

    @contextmanager
    def ledger(self, *, projecting: bool = True) -> Iterator[Ledger]:
        """A fresh ledger with its tenants and job types, open here; its lists are kept by a process of their own."""
        with self.backend.fresh() as url, ExitStack() as stack:
            client = stack.enter_context(Client(url))
            client.prepare()
            place = Place(url, self.log)
            projections = stack.enter_context(ProjectionsProcess(place)) if projecting else None
            yield Ledger(self, place, client, projections)


class Ledger(NamedTuple):
    bench: Bench
    place: Place
    client: Client
    projections: ProjectionsProcess | None

    def meter(self, *pids: int, here: bool = False) -> Meter:
        projecting = () if self.projections is None else (self.projections.pid,)
        return Meter(self.bench.backend.cpu_seconds, (*projecting, *pids), here=here)

    def stop_projecting(self) -> None:
        """End the process that keeps the lists."""
        if self.projections is not None:
            self.projections.close()

    def fill(self, jobs: int) -> None:
        """Dispatch jobs, wait until the lists have them, and let the database rest."""
        self.client.dispatch_many(items(jobs))
        self.listed_at()
        self.bench.backend.settle(self.place.url)

    def listed_at(self) -> float:
        """Wait until every list has reached the last position; the moment."""
        self.client.wait_for_lists(LISTS_SECONDS)
        return time.monotonic()


Scenario = Callable[[Bench], Iterator[Sample]]


def items(jobs: int, *, keys: bool = False) -> list[Dispatch]:
    """Dispatches of no-op jobs, spread over the tenants."""
    tenants = noop.TENANTS
    return [
        noop.item(number, tenants[number % len(tenants)], key=f"order-{number}" if keys else None)
        for number in range(jobs)
    ]


# --- dispatching ---------------------------------------------------------------------------------------------------


def dispatch_bulk(bench: Bench, *, batch: int, keys: bool) -> Iterator[Sample]:
    """All jobs handed over in calls of `batch` (500: in one call, which jobledger itself cuts into 500s)."""
    to_dispatch = items(bench.jobs, keys=keys)
    calls = [to_dispatch] if batch == 500 else list(calls_of(to_dispatch, batch))
    with bench.ledger() as ledger:
        ledger.client.dispatch_many(items(batch))  # what is prepared once per process, is
        ledger.listed_at()
        meter = ledger.meter(here=True)
        for call in calls:
            ledger.client.dispatch_many(call)
        ended_at = time.monotonic()
        name = "dispatch-bulk-keys" if keys else "dispatch-bulk"
        yield meter.sample(
            name, bench.backend.name, bench.jobs, ended_at=ended_at, listed_at=ledger.listed_at(), batch=batch
        )  # fmt: skip


def dispatch_singly(bench: Bench, *, threads: int) -> Iterator[Sample]:
    """Each call dispatches one job and returns when it is durable."""
    jobs = min(bench.jobs, 2_000 if threads == 1 else 10_000)
    to_dispatch = items(jobs + threads)
    with bench.ledger() as ledger, ThreadPoolExecutor(threads) as pool:
        list(pool.map(ledger.client.dispatch, to_dispatch[jobs:]))
        ledger.listed_at()
        meter = ledger.meter(here=True)
        parts = [to_dispatch[number:jobs:threads] for number in range(threads)]
        latencies = [seconds for part in pool.map(lambda part: _dispatch_each(ledger, part), parts) for seconds in part]
        ended_at = time.monotonic()
        sample = meter.sample(
            f"dispatch-{threads}-thread{'s' if threads > 1 else ''}", bench.backend.name, jobs, ended_at=ended_at,
            listed_at=ledger.listed_at(),
        )  # fmt: skip
        yield sample._replace(**percentiles(latencies)._asdict())


def _dispatch_each(ledger: Ledger, part: Sequence[Dispatch]) -> list[float]:
    latencies = []
    for item in part:
        began_at = time.perf_counter()
        ledger.client.dispatch(item)
        latencies.append(time.perf_counter() - began_at)
    return latencies


# --- draining ------------------------------------------------------------------------------------------------------


def drain(bench: Bench, *, worker_count: int = 1, fetch_size: int | None = None) -> Iterator[Sample]:
    """No-op jobs run by worker processes, while another process keeps the lists."""
    with bench.ledger() as ledger:
        name = "drain" if worker_count == 1 else f"drain-{worker_count}-workers"
        yield drain_here(ledger, name, worker_count=worker_count, fetch_size=fetch_size)


def drain_here(ledger: Ledger, name: str, *, worker_count: int = 1, fetch_size: int | None = None) -> Sample:
    """`drain` on a ledger that stands already."""
    ledger.fill(ledger.bench.jobs)
    return drain_filled(ledger, name, worker_count=worker_count, fetch_size=fetch_size)


def drain_filled(ledger: Ledger, name: str, *, worker_count: int = 1, fetch_size: int | None = None) -> Sample:
    """`drain` of a ledger that is filled already."""
    bench = ledger.bench
    with workers(ledger.place, worker_count, fetch_size=fetch_size) as started:
        meter = ledger.meter(*(worker.pid for worker in started))
        for worker in started:
            worker.begin()
        ended_at = max(worker.drained_at() for worker in started)
        listed_at = ledger.listed_at()
        unfinished = bench.backend.unfinished(ledger.place.url)
        if unfinished:
            raise AssertionError(f"{unfinished} of {bench.jobs} jobs are unfinished after a drain")
        return meter.sample(
            name, bench.backend.name, bench.jobs, ended_at=ended_at, listed_at=listed_at, batch=fetch_size or 500
        )  # fmt: skip


def drain_beside_finished(bench: Bench, *, finished: int, repeat: int) -> Iterator[Sample]:
    """The drain on a ledger that holds many finished jobs."""
    with grown(bench, finished) as ledger:
        for _ in range(repeat):
            yield drain_here(ledger, "drain-million")


@contextmanager
def grown(bench: Bench, finished: int) -> Iterator[Ledger]:
    """A ledger that holds many finished jobs, with a process that keeps the lists."""
    with bench.ledger() as ledger:
        run_all(ledger, items(20))
        ledger.stop_projecting()
        add_finished_jobs(ledger.place.url, finished)
        bench.backend.settle(ledger.place.url)
        with ProjectionsProcess(ledger.place) as projections:
            yield ledger._replace(projections=projections)


def run_all(ledger: Ledger, to_dispatch: Sequence[Dispatch]) -> None:
    """Dispatch jobs, run them, and wait until they are listed."""
    ledger.client.dispatch_many(to_dispatch)
    with workers(ledger.place, 1) as (worker,):
        worker.begin()
        worker.drained_at()
    ledger.listed_at()


# --- pickup --------------------------------------------------------------------------------------------------------


def pickup(bench: Bench) -> Iterator[Sample]:
    """An idle system: a dispatch returns here, its handler starts in a worker process."""
    ours, theirs = noop.reporting_pipe()
    with bench.ledger() as ledger, WorkerProcess(ledger.place, drain=False, reports=theirs) as worker:
        worker.begin()
        latencies = [_pick_up(ledger, number, ours) for number in range(bench.pickups + 5)][5:]
        yield Sample("pickup", bench.backend.name, **percentiles(latencies)._asdict())


def pickup_here(bench: Bench) -> Iterator[Sample]:
    """The same where the worker runs in the process that dispatches, with everything else (`jobledger up`)."""
    ours, theirs = noop.reporting_pipe()
    noop.Reporting.pipe = theirs
    with bench.ledger(projecting=False) as ledger, ledger.client.up():
        latencies = [_pick_up(ledger, number, ours) for number in range(bench.pickups + 5)][5:]
        yield Sample("pickup-in-process", bench.backend.name, **percentiles(latencies)._asdict())


def _pick_up(ledger: Ledger, number: int, reports: Connection) -> float:
    time.sleep(random.uniform(0.02, 0.06))  # so that no poll beats in time with us
    ledger.client.dispatch(noop.item(number, noop.TENANTS[0], job_type=noop.PICKUP))
    return wait_for_pickup(number, time.monotonic(), reports)


def wait_for_pickup(number: int, returned_at: float, reports: Connection) -> float:
    """Seconds from the moment when the dispatch returned until the handler of that pickup job began."""
    if not reports.poll(10):
        raise TimeoutError(f"job {number} was not picked up")
    picked_up: int
    began_at: float
    picked_up, began_at = reports.recv()
    assert picked_up == number
    return max(0.0, began_at - returned_at)


# --- projections ---------------------------------------------------------------------------------------------------


def project(bench: Bench) -> Iterator[Sample]:
    """Lists made anew from the events of dispatched, started and completed jobs."""
    with bench.ledger() as ledger:
        drain_here(ledger, "unmeasured")
        ledger.stop_projecting()
        with Replay(ledger.place.url) as replay:
            for name, make in (("project-one", replay.one), ("project-all", replay.all)):
                bench.backend.settle(ledger.place.url)
                meter = Meter(bench.backend.cpu_seconds, here=True)
                make()
                yield meter.sample(
                    name, bench.backend.name, 3 * bench.jobs, ended_at=time.monotonic(), unit="events"
                )  # fmt: skip


# --- the raw loop --------------------------------------------------------------------------------------------------


def raw_loop(postgres: Postgres, *, jobs: int, batch: int) -> Iterator[Sample]:
    """The yardstick: the least that a durable event-sourced job can be."""
    with postgres.empty() as url:
        result = raw.run(url, jobs=jobs, batch=batch)
        yield Sample("raw-enqueue", "raw", batch, rate=result.enqueued_per_second)
        yield Sample("raw-consume", "raw", batch, rate=result.consumed_per_second)


def calls_of(all_items: Sequence[Dispatch], size: int) -> Iterator[Sequence[Dispatch]]:
    """The items in calls of a size."""
    return (all_items[begin : begin + size] for begin in range(0, len(all_items), size))
