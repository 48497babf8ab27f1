"""What was promised: each target names its figures, and is reached or missed by the medians of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from . import noop
from .measures import Key, Medians, Sample


class Verdict(NamedTuple):
    """A target with what was measured; None where the run left out what it needs."""

    target: str
    least: str
    measured: str
    reached: bool | None


class _Target(NamedTuple):
    name: str
    bound: str
    value: Callable[[Medians], float | None]
    holds: Callable[[float], bool]
    show: Callable[[float], str]


BATCHES = (100, 500)
PLAIN_DRAIN = Key("drain", "postgres", 500)
_COUNTERPARTS = {
    "dispatch-bulk": "raw-enqueue", "dispatch-bulk-keys": "raw-enqueue", "drain": "raw-consume",
    "drain-2-workers": "raw-consume", "drain-million": "raw-consume",
}  # fmt: skip


def verdicts(figures: Medians) -> list[Verdict]:
    """Every target against the medians."""
    return [_judge(target, figures) for target in _targets()]


def ratio_to_raw(figures: Medians, key: Key) -> float | None:
    """A rate as a share of the raw loop's at the same batch size, where there is such a one."""
    counterpart = _COUNTERPARTS.get(key.scenario)
    if counterpart is None or key.engine != "postgres":
        return None
    return _ratio(figures, key, Key(counterpart, "raw", key.batch))


def _targets() -> Iterator[_Target]:
    for batch in BATCHES:
        yield _of_raw(f"bulk dispatch, batch {batch}", 0.25, Key("dispatch-bulk", "postgres", batch))
    for batch in BATCHES:
        yield _of_raw(f"drain, one worker, batch {batch}", 0.45, Key("drain", "postgres", batch))
    yield _Target(
        "single dispatches, 32 threads, times one thread", ">= 8 x",
        lambda figures: _ratio(figures, Key("dispatch-32-threads", "postgres"), Key("dispatch-1-thread", "postgres")),
        lambda times: times >= 8, lambda times: f"{times:.1f} x",
    )  # fmt: skip
    yield _pickup("p50", 10, lambda sample: sample.p50_ms)
    yield _pickup("p99", 50, lambda sample: sample.p99_ms)
    for job_type in (noop.NOOP, noop.SHORT):
        yield _fair(job_type)
    yield _projecting("one list", Key("project-one", "postgres"))
    yield _projecting("all lists", Key("project-all", "postgres"))
    for where in ("", "-in-process"):
        yield _read_your_writes(f"read-your-writes{where}")
    yield _Target(
        "single dispatches over HTTP, 32 connections, of a handler that does nothing", ">= 40 %",
        lambda figures: _ratio(figures, Key("http-dispatch-32", "postgres"), Key("http-nothing-32", "postgres")),
        lambda share: share >= 0.40, lambda share: f"{share:.0%}",
    )  # fmt: skip
    yield _list_pages()
    yield from _rebuilds()
    yield _history()
    yield _Target(
        "drain with 1,000,000 finished jobs, of the drain without", ">= 85 %",
        lambda figures: _ratio(figures, PLAIN_DRAIN._replace(scenario="drain-million"), PLAIN_DRAIN),
        lambda share: share >= 0.85, lambda share: f"{share:.0%}",
    )  # fmt: skip


def _of_raw(name: str, least: float, key: Key) -> _Target:
    return _Target(
        f"{name}, of the raw loop", f">= {least:.0%}", lambda figures: ratio_to_raw(figures, key),
        lambda share: share >= least, lambda share: f"{share:.0%}",
    )  # fmt: skip


def _pickup(name: str, below_ms: float, of: Callable[[Sample], float | None]) -> _Target:
    return _Target(
        f"pickup when idle, {name}", f"< {below_ms:g} ms",
        lambda figures: _figure(figures, Key("pickup", "postgres"), of),
        lambda measured: measured < below_ms, lambda measured: f"{measured:.1f} ms",
    )  # fmt: skip


def _fair(job_type: str) -> _Target:
    """A tenant's pickups beside another one's backlog, and on an idle system."""

    def times_idle(figures: Medians) -> float | None:
        busy, idle = (
            next(
                (sample.p99_ms for key, sample in figures.items() if key.scenario == f"minority-{state}-{job_type}"),
                None,
            )
            for state in ("busy", "idle")
        )
        return None if busy is None or not idle else busy / idle

    return _Target(
        f"minority's pickup beside a backlog ({job_type}), p99, times idle", "<= 3 x", times_idle,
        lambda times: times <= 3, lambda times: f"{times:.1f} x",
    )  # fmt: skip


def _projecting(name: str, key: Key) -> _Target:
    return _Target(
        f"projection throughput, {name}", ">= 40,000 events/s",
        lambda figures: _figure(figures, key, lambda sample: sample.rate),
        lambda rate: rate >= 40_000, lambda rate: f"{rate:,.0f} events/s",
    )  # fmt: skip


def _read_your_writes(scenario: str) -> _Target:
    return _Target(
        f"dispatch, then list as of it ({scenario}), p50", "< 15 ms",
        lambda figures: _figure(figures, Key(scenario, "postgres"), lambda sample: sample.p50_ms),
        lambda measured: measured < 15, lambda measured: f"{measured:.1f} ms",
    )  # fmt: skip


def _list_pages() -> _Target:
    """The slowest filter counts."""

    def slowest(figures: Medians) -> float | None:
        pages = [sample.p95_ms or 0.0 for key, sample in figures.items() if key.scenario.startswith("list-pages-")]
        return max(pages, default=None)

    return _Target(
        "list pages of 50, the slowest filter, p95", "< 5 ms", slowest, lambda measured: measured < 5,
        lambda measured: f"{measured:.1f} ms",
    )  # fmt: skip


def _rebuilds() -> Iterator[_Target]:
    one, two = Key("rebuild-1", "postgres"), Key("rebuild-2", "postgres")
    yield _Target(
        "rebuild of a list, one process, all phases", ">= 100,000 events/s",
        lambda figures: _figure(figures, one, lambda sample: sample.rate),
        lambda rate: rate >= 100_000, lambda rate: f"{rate:,.0f} events/s",
    )  # fmt: skip
    yield _Target(
        "the same with two processes, times one", ">= 1.5 x", lambda figures: _ratio(figures, two, one),
        lambda times: times >= 1.5, lambda times: f"{times:.2f} x",
    )  # fmt: skip
    yield _Target(
        "memory of a rebuild's process, peak", "< 500 MB",
        lambda figures: max((figures[key].peak_mb or 0.0 for key in (one, two) if key in figures), default=None),
        lambda megabytes: megabytes < 500, lambda megabytes: f"{megabytes:,.0f} MB",
    )  # fmt: skip
    for name, most in (("unthrottled", 0.3), ("throttled", 0.1)):
        yield _slowed(name, most)
    yield _Target(
        "longest wait of a reader during five swaps", "<= 100 ms",
        lambda figures: _figure(figures, Key("swap-readers-at-swap", "postgres"), lambda sample: sample.longest_ms),
        lambda measured: measured <= 100, lambda measured: f"{measured:.1f} ms",
    )  # fmt: skip


def _slowed(name: str, most: float) -> _Target:
    beside = PLAIN_DRAIN._replace(scenario=f"drain-beside-{name}-rebuild")
    alone = PLAIN_DRAIN._replace(scenario="drain-without-rebuild")

    def slower(figures: Medians) -> float | None:
        ratio = _ratio(figures, beside, alone)
        return None if ratio is None else 1 - ratio

    return _Target(
        f"drain beside a rebuild, {name}: slower by",
        f"< {most:.0%}", slower, lambda share: share < most, lambda share: f"{share:.0%}",
    )  # fmt: skip


def _history() -> _Target:
    """The slowest kind of page counts."""

    def slowest(figures: Medians) -> float | None:
        pages = [sample.p95_ms or 0.0 for key, sample in figures.items() if key.scenario.startswith("history-")]
        return max(pages, default=None)

    return _Target(
        "history of a job with 10,000 events, a page, p95", "< 200 ms", slowest, lambda measured: measured < 200,
        lambda measured: f"{measured:.1f} ms",
    )  # fmt: skip


def _judge(target: _Target, figures: Medians) -> Verdict:
    value = target.value(figures)
    if value is None:
        return Verdict(target.name, target.bound, "not measured", None)
    return Verdict(target.name, target.bound, target.show(value), target.holds(value))


def _figure(figures: Medians, key: Key, of: Callable[[Sample], float | None]) -> float | None:
    sample = figures.get(key)
    return None if sample is None else of(sample)


def _ratio(figures: Medians, of: Key, to: Key) -> float | None:
    numerator = _figure(figures, of, lambda sample: sample.rate)
    denominator = _figure(figures, to, lambda sample: sample.rate)
    return None if numerator is None or not denominator else numerator / denominator
