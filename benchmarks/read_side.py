"""The read side under way: rebuilds alone, beside a drain and under readers; each view by itself; a long history."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from threading import Event, Thread

from jobledger.application.queries import HISTORY_LIMIT_DEFAULT, HISTORY_LIMIT_MAX
from jobledger.projections.catalogue import PROJECTIONS

from . import noop
from .measures import Sample, percentiles
from .meter import Meter
from .million import add_long_job
from .reading import PAGE, UNMEASURED
from .rebuilding import PHASES, Cpu, Watched, rebuild, rebuilding_all_the_time
from .scenarios import Bench, Ledger, drain_filled, drain_here, grown, run_all
from .wiring import Client, Replay

JOB_EVENTS = 3
"""Of a job that went well: dispatched, started, completed."""
WORKERS = (1, 2)
SWAPS = 5
THROTTLES: dict[str, tuple[str, ...]] = {"unthrottled": (), "throttled": ("--throttle",)}
LONG_EVENTS = 10_000

_READ_EVERY_SECONDS = 0.003
_AROUND_SECONDS = 0.1


def rebuild_alone(bench: Bench, *, events: int, repeat: int) -> Iterator[Sample]:
    """A whole rebuild of the tenants' list on a machine that does nothing else, by one process and by two in turns."""
    with grown(bench, max(1, events // JOB_EVENTS)) as ledger:
        for _ in range(repeat):
            for workers in WORKERS:
                bench.backend.settle(ledger.place.url)
                watched = rebuild(
                    ledger.place, "--workers", str(workers), server_cpu_seconds=bench.backend.cpu_seconds
                )  # fmt: skip
                yield from _figures(bench, watched, f"rebuild-{workers}")


def _figures(bench: Bench, watched: Watched, name: str) -> Iterator[Sample]:
    events, engine = max(1, watched.events), bench.backend.name
    yield Sample(
        name, engine, unit="events", seconds=watched.seconds, rate=events / watched.seconds,
        own_cpu=1_000 * watched.cpu.own / events, server_cpu=1_000 * watched.cpu.server / events,
        peak_mb=watched.peak_mb,
    )  # fmt: skip
    for phase in PHASES:
        seconds, cpu = watched.phase_seconds.get(phase, 0.0), watched.phase_cpu.get(phase, Cpu(0.0, 0.0))
        yield Sample(
            f"{name}-{phase.replace(' ', '-')}", engine, unit="events", seconds=seconds,
            rate=events / seconds if phase == "filling" and seconds else None,
            own_cpu=1_000 * cpu.own / events, server_cpu=1_000 * cpu.server / events,
        )  # fmt: skip


def rebuild_beside_drain(bench: Bench, *, events: int, repeat: int) -> Iterator[Sample]:
    """The drain alone, and while the tenants' list is rebuilt again and again, on one ledger."""
    with grown(bench, max(1, events // JOB_EVENTS)) as ledger:
        for _ in range(repeat):
            yield drain_here(ledger, "drain-without-rebuild")
            for name, options in THROTTLES.items():
                ledger.fill(bench.jobs)
                with rebuilding_all_the_time(ledger.place, *options):
                    yield drain_filled(ledger, f"drain-beside-{name}-rebuild")


def swap_readers(bench: Bench, *, events: int) -> Iterator[Sample]:
    """One reads the first page of a list every few milliseconds while it is rebuilt and swapped five times."""
    with grown(bench, max(1, events // JOB_EVENTS)) as ledger, Client(ledger.place.url) as client:
        reading = _Reading(client)
        reading.start()
        time.sleep(1)
        swaps: list[Watched] = []
        for _ in range(SWAPS):
            swaps.append(rebuild(ledger.place))
        reading.stop()
        yield _waits("swap-readers", bench, reading.waits(()))
        around = [
            (watched.began_at.get("swapping", watched.ended_at) - _AROUND_SECONDS, watched.ended_at)
            for watched in swaps
        ]
        yield _waits("swap-readers-at-swap", bench, reading.waits(around))


class _Reading:
    """Reads a page of a tenant's list, again and again, and remembers when and how long."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stopping = Event()
        self._error: Exception | None = None
        self._reads: list[tuple[float, float]] = []
        self._thread = Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End. Raises what a read raised."""
        self._stopping.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def waits(self, within: Sequence[tuple[float, float]]) -> list[float]:
        """Seconds of each read; with spans only of those that ended or began inside one."""
        return [
            end - begin for begin, end in self._reads
            if not within or any(begin <= last and end >= first for first, last in within)
        ]  # fmt: skip

    def _run(self) -> None:
        read = partial(self._client.list_page, noop.TENANTS[0], None, {"limit": PAGE})
        try:
            for _ in range(UNMEASURED):
                read()
            while not self._stopping.wait(_READ_EVERY_SECONDS):
                begin = time.monotonic()
                read()
                self._reads.append((begin, time.monotonic()))
        except Exception as error:  # noqa: BLE001 - raised where the figures are asked for
            self._error = error


def _waits(name: str, bench: Bench, seconds: Sequence[float]) -> Sample:
    return Sample(name, bench.backend.name, longest_ms=1_000 * max(seconds), **percentiles(seconds)._asdict())


def project_each(bench: Bench, *, repeat: int) -> Iterator[Sample]:
    """Each view by itself, and all of them from one scan, made anew by the live runner."""
    with bench.ledger() as ledger:
        drain_here(ledger, "unmeasured")
        ledger.stop_projecting()
        with Replay(ledger.place.url) as replay:
            for _ in range(repeat):
                for name in PROJECTIONS:
                    yield _projected(ledger, f"project-{name.replace('_', '-')}", partial(replay.these, name))


def _projected(ledger: Ledger, name: str, make: partial[None]) -> Sample:
    bench = ledger.bench
    bench.backend.settle(ledger.place.url)
    meter = Meter(bench.backend.cpu_seconds, here=True)
    make()
    return meter.sample(name, bench.backend.name, JOB_EVENTS * bench.jobs, ended_at=time.monotonic(), unit="events")


def history(bench: Bench) -> Iterator[Sample]:
    """Pages of what happened to a job that has reported progress nearly ten thousand times: as a program reads them,
    and as the command line shows them."""
    tenant = noop.TENANTS[0]
    with bench.ledger() as ledger:
        run_all(ledger, [noop.item(0, tenant, job_type=noop.REPORTS)])
        ledger.stop_projecting()
        job_id = add_long_job(ledger.place.url, tenant, LONG_EVENTS)
        bench.backend.settle(ledger.place.url)
        client = ledger.client
        for name, page in {
            "history-page": partial(client.history_page, tenant, job_id, limit=HISTORY_LIMIT_DEFAULT),
            "history-page-largest": partial(client.history_page, tenant, job_id, limit=HISTORY_LIMIT_MAX),
            "history-shown": partial(client.history_lines, tenant, job_id, limit=HISTORY_LIMIT_DEFAULT),
        }.items():
            seconds = [_timed(page, LONG_EVENTS * number // bench.pickups) for number in range(bench.pickups)]
            yield _waits(name, bench, seconds)


def _timed(page: Callable[..., int], after: int) -> float:
    began_at = time.perf_counter()
    if not page(after=after):
        raise AssertionError(f"nothing happened after version {after}")
    return time.perf_counter() - began_at
