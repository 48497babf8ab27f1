"""The stable shapes of `jobledger stats --json`: names, types and units that programs may depend on."""

from __future__ import annotations

from jobledger.application.distribution import Distribution
from jobledger.application.ports import GroupBy, StatisticsGroup
from jobledger.application.statistics import StatisticsReport

from . import jobs as shapes
from .jobs import Shape
from .texts import iso

_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_NAMES = {GroupBy.BUCKET: "bucket_at", GroupBy.JOB_TYPE: "type", GroupBy.QUEUE: "queue", GroupBy.PERSONA: "persona"}


def report(found: StatisticsReport, by: frozenset[GroupBy]) -> Shape:
    """A report. A group holds what it was told apart by, `persona` null for jobs without one."""
    return {
        "since": iso(found.since), "until": iso(found.until), "by": sorted(_NAMES[what] for what in by),
        "groups": [_group(group, by) for group in found.groups], "more": found.more,
        "freshness": shapes.freshness(found.freshness),
    }  # fmt: skip


def _group(group: StatisticsGroup, by: frozenset[GroupBy]) -> Shape:
    named: Shape = {
        "bucket_at": iso(group.bucket_at), "type": group.job_type, "queue": group.queue,
        "persona": group.persona or None,
    }  # fmt: skip
    return {
        **{_NAMES[what]: named[_NAMES[what]] for what in GroupBy if what in by},
        "dispatched": group.dispatched, "started": group.started, "completed": group.completed,
        "failed": group.failed, "retried": group.retried, "dead": group.dead, "stalled": group.stalled,
        "interrupted": group.interrupted, "cancelled": group.cancelled, "waited": _distribution(group.waited),
        "ran": _distribution(group.ran), "estimated_cost": round(group.estimated_cost, 6),
    }  # fmt: skip


def _distribution(measured: Distribution) -> Shape:
    """`p95` 3.0 says: 95 % took 3 s at most, and not all of them as little as the bound below it. Null: nothing was
    measured or, where `count` is not 0, longer than the last bound."""
    mean = measured.mean_seconds
    estimates = {name: measured.quantile(share) for name, share in _SHARES}
    return {
        "count": measured.measured, "mean_seconds": None if mean is None else round(mean, 6),
        **{f"{name}_at_most_seconds": at and at.at_most_seconds for name, at in estimates.items()},
        "bounds_seconds": list(measured.bounds_seconds), "counts": list(measured.counts),
    }  # fmt: skip
