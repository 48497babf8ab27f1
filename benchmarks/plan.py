"""Which scenarios a run consists of, in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from . import fairness, listing, noop, read_side, reading, remote, scenarios, serving
from .backends import Postgres, Sqlite
from .measures import Sample
from .scenarios import Bench

BATCHES = (100, 500)
SWAPPED_EVENTS_MAX = 300_000
"""Of the list that is swapped under readers: what counts is the swap, not how long the filling takes."""


class Choice(NamedTuple):
    """What the command line asked for. `finished`: how many finished jobs the large ledger has; `events`: how many
    events are rebuilt. 0 leaves it out."""

    jobs: int
    repeat: int
    only: tuple[str, ...]
    quick: bool
    finished: int
    events: int
    results: Path
    place: Path | None = None


class Planned(NamedTuple):
    """A scenario with all that it needs. `once`: it repeats itself, on one ledger."""

    name: str
    run: Callable[[], Iterable[Sample]]
    once: bool = False


def planned(chosen: Choice, postgres: Postgres, sqlite: Sqlite, log: Path) -> list[Planned]:
    """The scenarios of a run."""
    steps = [*_raw(chosen, postgres), *_postgres(chosen, _bench(chosen, postgres, log)),
             *_both(_bench(chosen, sqlite, log)),
             *(_remote(chosen, _bench(chosen, backend, log)) for backend in (postgres, sqlite))]  # fmt: skip
    return [step for step in steps if not chosen.only or step.name.startswith(chosen.only)]


def _remote(chosen: Choice, bench: Bench) -> Planned:
    jobs = min(chosen.jobs, 400 if chosen.quick else 2_000)
    return Planned(f"remote-workers-{bench.backend.name}", partial(remote.remote_workers, bench, jobs=jobs))


def _bench(chosen: Choice, backend: Postgres | Sqlite, log: Path) -> Bench:
    return Bench(backend, chosen.jobs, log, pickups=20 if chosen.quick else 200)


def _raw(chosen: Choice, postgres: Postgres) -> list[Planned]:
    return [
        Planned(f"raw-{batch}", partial(scenarios.raw_loop, postgres, jobs=chosen.jobs, batch=batch))
        for batch in BATCHES
    ]


def _postgres(chosen: Choice, bench: Bench) -> list[Planned]:
    steps = [
        *_both(bench),
        Planned("postgres-dispatch-bulk-100", partial(scenarios.dispatch_bulk, bench, batch=100, keys=False)),
        Planned("postgres-http", partial(serving.single_dispatches, bench, requests=min(chosen.jobs, 20_000))),
        Planned("postgres-drain-100", partial(scenarios.drain, bench, fetch_size=100)),
        *[
            Planned(f"postgres-fairness-{job_type}", partial(fairness.fairness, bench, job_type=job_type))
            for job_type in (noop.NOOP, noop.SHORT)
        ],
    ]
    if chosen.finished:
        million = partial(scenarios.drain_beside_finished, bench, finished=chosen.finished, repeat=chosen.repeat)
        steps.append(Planned("postgres-drain-million", million, once=True))
        pages = partial(listing.list_pages, bench, jobs=chosen.finished)
        steps.append(Planned("postgres-list-pages", pages, once=True))
    return [*steps, *_read_side(chosen, bench)]


def _read_side(chosen: Choice, bench: Bench) -> list[Planned]:
    events, repeat = chosen.events, chosen.repeat
    steps = [
        Planned("postgres-each-projection", partial(read_side.project_each, bench, repeat=repeat), once=True),
        Planned("postgres-history", partial(read_side.history, bench), once=True),
    ]
    if events:
        alone = partial(read_side.rebuild_alone, bench, events=events, repeat=repeat)
        beside = partial(read_side.rebuild_beside_drain, bench, events=events, repeat=repeat)
        under_readers = partial(read_side.swap_readers, bench, events=min(events, SWAPPED_EVENTS_MAX))
        steps += [
            Planned("postgres-rebuild", alone, once=True),
            Planned("postgres-beside-rebuild", beside, once=True),
            Planned("postgres-swap-readers", under_readers, once=True),
        ]
    return steps


def _both(bench: Bench) -> list[Planned]:
    name = bench.backend.name
    return [
        Planned(f"{name}-dispatch-bulk", partial(scenarios.dispatch_bulk, bench, batch=500, keys=False)),
        Planned(f"{name}-dispatch-bulk-keys", partial(scenarios.dispatch_bulk, bench, batch=500, keys=True)),
        Planned(f"{name}-dispatch-single", partial(scenarios.dispatch_singly, bench, threads=1)),
        Planned(f"{name}-dispatch-32", partial(scenarios.dispatch_singly, bench, threads=32)),
        Planned(f"{name}-drain", partial(scenarios.drain, bench)),
        Planned(f"{name}-drain-2", partial(scenarios.drain, bench, worker_count=2)),
        Planned(f"{name}-pickup", partial(scenarios.pickup, bench)),
        Planned(f"{name}-pickup-in-process", partial(scenarios.pickup_here, bench)),
        Planned(f"{name}-read-your-writes", partial(reading.read_your_writes, bench)),
        Planned(f"{name}-read-your-writes-in-process", partial(reading.read_your_writes_here, bench)),
        Planned(f"{name}-project", partial(scenarios.project, bench)),
    ]
