"""What is counted of commits, and that it stays bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobledger.application.writes import ChangeJob, NewJob, Outcome, Write, WriteStatus
from jobledger.domain.event import Event, Metadata
from jobledger.domain.identifiers import uuid7
from jobledger.domain.job import (
    JobCompleted,
    JobDispatched,
    JobFacts,
    JobFailed,
    JobProgressed,
    JobRetried,
    JobSentToDlq,
    JobStalled,
    evolve,
)
from jobledger.domain.rate_card import Usage
from jobledger.domain.retry import Retry
from jobledger.infrastructure.metrics import tally as module
from jobledger.infrastructure.metrics.tally import OTHER, RUN_SECONDS, Histogram, SeriesKey, Tally

AT = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ABOUT = Metadata(correlation_id="flow", trace_parent="00-" + "1" * 32 + "-" + "2" * 16 + "-01", actor="test", time=AT)
JOB = UUID("0198c700-0000-7000-8000-000000000001")
WRITTEN = Outcome(WriteStatus.WRITTEN, 1, 2, JOB)
IDENTITY = {"job_type": "invoice.send", "queue": "billing"}


def _change(*facts: JobFacts, tenant: str = "acme") -> ChangeJob:
    return ChangeJob(JOB, tenant, tuple(Event(JOB, 0, tenant, ABOUT, fact) for fact in facts), None)


def _dispatch(tenant: str = "acme") -> NewJob:
    facts = JobDispatched(**IDENTITY, due_at=AT)
    return NewJob(Event(uuid7(1, 1), 1, tenant, ABOUT, facts), evolve(None, facts))


def _completed(**fields: object) -> JobCompleted:
    return JobCompleted.model_validate(
        {**IDENTITY, "attempt": 1, "worker": "w1", "seconds_in_queue": 0.02, "seconds_running": 0.5, **fields}
    )


def _failed(**fields: object) -> JobFailed:
    return JobFailed.model_validate(
        {
            **IDENTITY, "attempt": 1, "worker": "w1", "error_type": "E", "message": "m", "fingerprint": "f",
            "recoverable": True, "seconds_in_queue": 0.3, "seconds_running": 2.0, **fields,
        }
    )  # fmt: skip


def test_a_commit_is_counted_by_type_and_queue() -> None:
    """Dispatches, endings with what they took and cost, failed ones too; events that end nothing are left out."""
    tally = Tally()
    retried = JobRetried(
        **IDENTITY, next_attempt=2, due_at=AT, delay_seconds=1, policy=Retry(), jitter=0.5, attempts_counted=1
    )
    dead = JobSentToDlq(
        **IDENTITY, reason="attempts_exhausted", attempt=2, error_type="E", message="m", fingerprint="f"
    )
    writes: list[Write] = [
        _dispatch(),
        _change(
            JobProgressed(**IDENTITY, attempt=1, fraction=0.5),
            _completed(usage=Usage(cpu_seconds=0.25, units={"tokens": 800}), estimated_cost=1.5),
        ),
        _change(_failed(usage=Usage(cpu_seconds=0.5, units={"tokens": 12}), estimated_cost=0.25), retried),
        _change(_failed(), dead),
        _change(JobStalled(**IDENTITY, attempt=1, worker="w1")),
    ]
    tally.committed(writes, [WRITTEN] * len(writes))
    tallied = tally.snapshot()
    assert list(tallied.series) == [SeriesKey("invoice.send", "billing")]
    series = tallied.series[SeriesKey("invoice.send", "billing")]
    assert series.dispatched == 1
    assert series.outcomes == {"completed": 1, "failed": 2, "retried": 1, "dead": 1, "stalled": 1}
    assert (series.cost, series.cpu_seconds) == (1.75, 0.75)
    assert sum(series.queued.counts) == 3
    assert series.queued.total == pytest.approx(0.62)
    assert (sum(series.ran.counts), series.ran.total) == (3, 4.5)
    assert tallied.units == {("invoice.send", "tokens"): 812}


def test_what_was_not_stored_is_not_counted() -> None:
    """A conflict belongs to whoever won."""
    tally = Tally()
    tally.committed([_dispatch(), _change(_completed())], [Outcome(WriteStatus.DUPLICATE), Outcome(WriteStatus.BUSY)])
    assert tally.snapshot().series == {}


def test_a_snapshot_is_a_copy() -> None:
    """What is counted later does not change what a scrape holds."""
    tally = Tally()
    tally.committed([_change(_completed())], [WRITTEN])
    before = tally.snapshot()
    tally.committed([_change(_completed(usage=Usage(units={"pages": 1})))], [WRITTEN])
    series = before.series[SeriesKey("invoice.send", "billing")]
    assert (series.outcomes["completed"], sum(series.ran.counts), before.units) == (1, 1, {})


def test_bounds_are_inclusive() -> None:
    """A second is within `le="1"`, a little more is not, and what is beyond all bounds is counted, too."""
    histogram = Histogram(RUN_SECONDS)
    one = RUN_SECONDS.index(1)
    for seconds in (1.0, 1.0001, 0.0, 1e9):
        histogram.observe(seconds)
    assert (histogram.counts[one], histogram.counts[one + 1], histogram.counts[0], histogram.counts[-1]) == (1, 1, 1, 1)


def test_tenants_are_told_apart_only_where_asked() -> None:
    """Without the label, all tenants are one series."""
    for labelled, expected in ((False, {""}), (True, {"acme", "other"})):
        tally = Tally(tenant_label=labelled)
        tally.committed([_dispatch("acme"), _dispatch("other")], [WRITTEN] * 2)
        assert {key.tenant for key in tally.snapshot().series} == expected


def test_labels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many tenants, types, queues or units share one label: nothing is lost from the sums."""
    monkeypatch.setattr(module, "TENANTS_MAX", 3)
    monkeypatch.setattr(module, "SERIES_MAX", 5)
    monkeypatch.setattr(module, "UNITS_MAX", 2)
    tally = Tally(tenant_label=True)
    for number in range(20):
        tally.committed([_dispatch(f"tenant-{number}")], [WRITTEN])
    tenants = {key.tenant: series.dispatched for key, series in tally.snapshot().series.items()}
    assert tenants == {"tenant-0": 1, "tenant-1": 1, "tenant-2": 1, OTHER: 17}
    for number in range(20):
        usage = Usage(units={f"unit-{number}": 1.0})
        tally.committed([_change(_completed(queue=f"queue-{number}", usage=usage))], [WRITTEN])
    tallied = tally.snapshot()
    assert len(tallied.series) <= 6
    assert sum(series.outcomes["completed"] for series in tallied.series.values()) == 20
    assert len(tallied.units) <= 5 and sum(tallied.units.values()) == 20
