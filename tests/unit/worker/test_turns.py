"""Who goes next: turns of tenants for a slot, and a worker's own rate."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobledger.application.ports import OpenJob
from jobledger.application.worker.attempt import Attempt
from jobledger.application.worker.rate_window import RateWindow
from jobledger.application.worker.turns import Turns
from jobledger.domain.job import JobDispatched, evolve
from jobledger.domain.limit import Rate
from tests.support.sample_app import app

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


def attempt_of(tenant: str, job_id: UUID) -> Attempt:
    """An attempt of a job of the tenant."""
    state = evolve(None, JobDispatched(job_type="sample.ok", queue="default", due_at=NOW))
    job = OpenJob(job_id, tenant, 2, state, NOW, "correlation", "trace", b"{}")
    return Attempt(job, app.declared("sample.ok"), "worker-1")


def _taken(turns: Turns) -> list[tuple[str, int]]:
    return [(attempt.job.tenant, attempt.job.job_id.int) for attempt in turns.take_all()]


def test_a_late_tenant_does_not_wait_behind_a_backlog() -> None:
    """Its job is the second to get a slot, whatever waits of the other."""
    turns = Turns()
    turns.extend([attempt_of("big", UUID(int=number)) for number in range(5)])
    turns.extend([attempt_of("small", UUID(int=100))])
    assert _taken(turns) == [("big", 0), ("small", 100), ("big", 1), ("big", 2), ("big", 3), ("big", 4)]
    assert len(turns) == 0 and turns.tenants == ()


def test_nothing_waits_in_an_empty_one() -> None:
    """Taking from it is an error of the caller's."""
    with pytest.raises(IndexError):
        Turns().popleft()


@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=6), max_size=6))
def test_every_attempt_comes_once_and_each_tenants_in_order(batches: list[list[str]]) -> None:
    """However batches and takers interleave."""
    turns, came, numbers = Turns(), list[tuple[str, int]](), iter(range(1_000))
    given_in = list[tuple[str, int]]()
    for batch in batches:
        attempts = [attempt_of(tenant, UUID(int=next(numbers))) for tenant in batch]
        given_in += [(attempt.job.tenant, attempt.job.job_id.int) for attempt in attempts]
        turns.extend(attempts)
        if len(turns):
            taken = turns.popleft()
            came.append((taken.job.tenant, taken.job.job_id.int))
    came += _taken(turns)
    assert sorted(came) == sorted(given_in)
    for tenant in "abcd":
        assert [n for owner, n in came if owner == tenant] == [n for owner, n in given_in if owner == tenant]


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 5)), max_size=40), st.integers(1, 5), st.floats(0.1, 5))
def test_a_rate_is_never_exceeded(steps: list[tuple[float, int]], count: int, seconds: float) -> None:
    """In no window, however the starts fall."""
    window, now, starts = RateWindow(Rate(count=count, seconds=seconds)), 0.0, list[float]()
    for pause, wanted in steps:
        now += pause
        allowed = min(wanted, window.room(now))
        window.take(allowed, now)
        starts += [now] * allowed
    for first in starts:
        assert sum(first <= start < first + seconds for start in starts) <= count


def test_a_rate_says_how_long_to_wait() -> None:
    """Until the oldest start leaves the window."""
    window = RateWindow(Rate(count=2, seconds=10))
    window.take(2, 100.0)
    assert window.wait_seconds(104.0) == pytest.approx(6.0)
    assert window.wait_seconds(110.0) == 0.0
