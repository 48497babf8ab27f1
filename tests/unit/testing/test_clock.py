"""Time and identifiers of tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobledger import App, InvalidInput
from jobledger.testing import FrozenClock, InMemoryLedger

MOMENT = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_a_frozen_clock_moves_only_when_it_is_told_to() -> None:
    """Both readings stand still, and move together."""
    clock = FrozenClock(MOMENT)
    before = clock.monotonic()
    assert clock.now() == clock.now() == MOMENT
    assert clock.advance(1.5, minutes=2, hours=1, days=1) == MOMENT + timedelta(days=1, seconds=3_721.5)
    assert clock.monotonic() - before == timedelta(days=1, seconds=3_721.5).total_seconds()


def test_time_moves_forward_only() -> None:
    """A clock that goes back is a mistake of the test."""
    clock = FrozenClock(MOMENT)
    with pytest.raises(InvalidInput, match="has passed"):
        clock.advance(-1)
    assert clock.now() == MOMENT


def test_a_start_needs_a_time_zone() -> None:
    """Naive times are refused; aware ones of any zone are read as UTC."""
    with pytest.raises(InvalidInput, match="no time zone"):
        FrozenClock(datetime(2026, 7, 1))  # noqa: DTZ001 - that is the point
    assert FrozenClock(MOMENT.astimezone(timezone(timedelta(hours=-3)))).now().tzinfo is UTC


def test_the_same_seed_gives_the_same_ledger(app: App) -> None:
    """Ids, flows and jitter can be reproduced."""

    def story(seed: int) -> list[object]:
        ledger = InMemoryLedger(app, seed=seed)
        receipt = ledger.dispatch("order.pack", {"order_id": "1"}, tenant="acme")
        ledger.fail_next("order.pack", ConnectionError("gone"))
        ledger.drain(until_idle=True)
        details = ledger.jobs.get(receipt.job_id, tenant="acme")
        return [receipt.job_id, details.correlation_id, details.trace_parent, ledger.clock.now()]

    assert story(1) == story(1)
    assert story(1)[0] != story(2)[0]


def test_jobs_dispatched_at_one_moment_run_in_that_order(app: App, ledger: InMemoryLedger) -> None:
    """Ids of one millisecond sort as they were made."""
    receipts = [ledger.dispatch("order.pack", {"order_id": str(n)}, tenant="acme") for n in range(200)]
    ids = [receipt.job_id for receipt in receipts]
    assert ids == sorted(ids)
    assert len({job_id.hex[-8:] for job_id in ids}) == len(ids)
