"""Limits where it is easy to be wrong: limits that change, keys that look like others, turns among those held back."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.ports import OpenJob
from jobledger.domain.job import stall
from jobledger.domain.limit import RATE_SECONDS_MAX, Scope, Target, queue_target, tenant_target

from .limits_support import (
    BOUND,
    GPT,
    SCOPES,
    TARGETS,
    apply_limits,
    end,
    limit,
    most_starts_in_a_window,
    pause,
)
from .support import LedgerUnderTest, new_job

PAST = datetime(2026, 1, 1, tzinfo=UTC)
GPT_PREFIX = Target(Scope.KEY, "acme", "gp*")
each_scope = pytest.mark.parametrize("target", TARGETS, ids=SCOPES)


def _stall(ledger: LedgerUnderTest, job: OpenJob) -> None:
    end(ledger, job, lambda job, lease: stall(job.state, lease, last_seen_at=None))


# --- limits that change ----------------------------------------------------------------------------------------------


@each_scope
def test_a_narrower_window_looks_back_no_further_than_itself(ledger: LedgerUnderTest, target: Target) -> None:
    """What was started under a rate of a month holds jobs under a rate of a second back for a second, not for hours."""
    limit(ledger, target, rate=(5, RATE_SECONDS_MAX))
    for _ in range(8):
        ledger.dispatch(**BOUND)
    assert len(ledger.claimed_ids(3)) == 3
    limit(ledger, target, rate=(3, 1.0))
    again_seconds = ledger.claim().again_seconds
    assert again_seconds is not None
    assert again_seconds <= 1.01


def test_a_narrower_window_of_a_prefix_looks_back_no_further_than_itself(ledger: LedgerUnderTest) -> None:
    """The same for each of the keys of a prefix."""
    limit(ledger, GPT_PREFIX, rate=(1, RATE_SECONDS_MAX))
    for _ in range(2):
        ledger.dispatch(limit_key="gpt")
    assert len(ledger.claimed_ids()) == 1
    limit(ledger, GPT_PREFIX, rate=(1, 1.0))
    again_seconds = ledger.claim().again_seconds
    assert again_seconds is not None
    assert again_seconds <= 1.01


def test_a_wider_window_keeps_what_was_used(ledger: LedgerUnderTest) -> None:
    """What a rate of a second granted just now counts for the hour that it covers after a change."""
    limit(ledger, GPT, rate=(3, 0.1))
    for _ in range(6):
        ledger.dispatch(limit_key="gpt")
    assert len(ledger.claimed_ids(2)) == 2
    limit(ledger, GPT, rate=(3, 3600.0))
    ledger.wake_up.wait(0.3)
    apply_limits(ledger)
    assert len(ledger.claimed_ids()) == 1


def test_a_key_without_limits_of_its_own_falls_under_its_prefix_with_what_runs(ledger: LedgerUnderTest) -> None:
    """Where the own limits of a key go, what was started under them counts toward those of its prefix."""
    limit(ledger, GPT_PREFIX, concurrency=1)
    limit(ledger, GPT, rate=(100, 600.0))
    for _ in range(3):
        ledger.dispatch(limit_key="gpt")
    (running,) = ledger.claim(1).jobs
    limit(ledger, GPT)
    assert ledger.claimed_ids() == []
    ledger.complete(running)
    assert len(ledger.claimed_ids()) == 1


# --- keys that look like others --------------------------------------------------------------------------------------


def test_keys_that_hold_the_separator_of_lanes_are_their_own(ledger: LedgerUnderTest) -> None:
    """A lock key that reads like a lock key and a limit key does not run twice, whatever waits beside it."""
    ledger.dispatch(lock_key="a\x1fkb")
    (running,) = ledger.claim().jobs
    ledger.dispatch(lock_key="a", limit_key="b", job_type="report.make", due_at=PAST)
    second = ledger.dispatch(lock_key="a\x1fkb")
    assert ledger.claimed_ids() == []
    ledger.complete(running)
    assert ledger.claimed_ids() == [second]


@pytest.mark.parametrize("key", ["100%", "a_b", "'; --", "é" * 255, 'a"\\b', "k\x1fk", "*", "\ud7ff\U0001f600"])
def test_a_key_of_any_text_is_limited_by_itself(ledger: LedgerUnderTest, key: str) -> None:
    """Whatever a key holds: its limit is for it, and for no key that a pattern would make of it."""
    limit(ledger, Target(Scope.KEY, "acme", key), concurrency=1)
    for other in (key, key, "100x", "axb"):
        ledger.dispatch(limit_key=other)
    claimed = Counter(job.state.limit_key for job in ledger.claim().jobs)
    assert claimed[key] == 1
    assert claimed["100x"] + claimed["axb"] == 2


# --- turns -----------------------------------------------------------------------------------------------------------


def test_what_paused_tenants_leave_is_shared(ledger: LedgerUnderTest) -> None:
    """The shares of tenants without room go to the others evenly, not to the first of them."""
    for number in range(10):
        ledger.dispatch(tenant=f"p-{number}")
        pause(ledger, tenant_target(f"p-{number}"))
    for tenant in ("a", "b"):
        ledger.create_tenant(tenant)
        ledger.writer.write([new_job(tenant=tenant) for _ in range(60)])
    claimed = Counter(job.tenant for _ in range(6) for job in ledger.claim(12).jobs)
    assert sum(claimed.values()) == 72
    assert abs(claimed["a"] - claimed["b"]) <= 6


def test_what_tenants_without_jobs_for_a_worker_leave_is_shared(ledger: LedgerUnderTest) -> None:
    """The same where tenants only have jobs of types that the worker does not know."""
    for number in range(10):
        ledger.dispatch(tenant=f"p-{number}", job_type="report.make")
    for tenant in ("a", "b"):
        ledger.create_tenant(tenant)
        ledger.writer.write([new_job(tenant=tenant) for _ in range(60)])
    claimed = Counter(job.tenant for _ in range(6) for job in ledger.claim(12).jobs)
    assert sum(claimed.values()) == 72
    assert abs(claimed["a"] - claimed["b"]) <= 6


def test_weights_hold_for_claims_of_one_job(ledger: LedgerUnderTest) -> None:
    """A worker that claims one job at a time takes turns by weight as well, and the light tenant does not starve."""
    limit(ledger, tenant_target("heavy"), weight=9)
    for tenant in ("heavy", "light"):
        ledger.create_tenant(tenant)
        ledger.writer.write([new_job(tenant=tenant) for _ in range(150)])
    claimed = Counter(ledger.claim_one().tenant for _ in range(150))
    assert claimed["heavy"] >= 100  # 135 on average: an engine may round by chance
    assert claimed["light"] >= 1


def test_a_stalled_job_has_its_turn_behind_many_that_are_held_back(stored_ledger: LedgerUnderTest) -> None:
    """More stalled jobs of a paused tenant than a claim looks at: the one behind them runs."""
    ledger = stored_ledger
    ledger.create_tenant("paused")
    ledger.writer.write([new_job(tenant="paused", due_at=PAST) for _ in range(120)])
    wanted = ledger.dispatch(due_at=PAST + timedelta(days=1))
    for job in ledger.claim(200).jobs:
        _stall(ledger, job)
    pause(ledger, tenant_target("paused"))
    assert wanted in [job_id for _ in range(3) for job_id in ledger.claimed_ids()]


# --- rates -----------------------------------------------------------------------------------------------------------


def test_of_several_rates_no_more_is_claimed_than_begins_at_once(ledger: LedgerUnderTest) -> None:
    """What begins at once bounds all jobs under rates together, not those of each rate."""
    for number in range(4):
        limit(ledger, Target(Scope.KEY, "acme", f"k{number}"), rate=(10, 600.0))
        limit(ledger, tenant_target(f"t{number}"), rate=(10, 600.0))
        for _ in range(3):
            ledger.dispatch(limit_key=f"k{number}")
            ledger.dispatch(tenant=f"t{number}")
    assert len(ledger.claimed_ids(20, at_once=2)) == 2
    assert ledger.claimed_ids(20, at_once=0) == []


@each_scope
def test_workers_at_once_stay_within_a_rate(stored_ledger: LedgerUnderTest, target: Target) -> None:
    """Several workers claim at the same time: in no window do more start than allowed, and all do in the end."""
    limit(stored_ledger, target, rate=(6, 0.2))
    stored_ledger.create_tenant("acme")
    stored_ledger.writer.write([new_job(**BOUND) for _ in range(36)])
    done: list[UUID] = []

    def work(ledger: LedgerUnderTest, worker: str) -> None:
        while len(done) < 36:
            for job in ledger.claim(4, worker=worker).jobs:
                done.append(job.job_id)
                ledger.complete(job)

    with ExitStack() as stack, ThreadPoolExecutor(3) as threads:
        ledgers = [stored_ledger, *(stack.enter_context(stored_ledger.open_again()) for _ in range(2))]
        for future in [threads.submit(work, ledger, f"w{number}") for number, ledger in enumerate(ledgers)]:
            future.result(120)
    assert most_starts_in_a_window(stored_ledger, 0.2) <= 6


def test_queues_share_what_begins_at_once(ledger: LedgerUnderTest) -> None:
    """A claim over several queues brings no more jobs under rates than begin at once."""
    queues: dict[str, Any] = {"queues": ("default", "other")}
    for queue in queues["queues"]:
        limit(ledger, queue_target(queue), rate=(10, 600.0))
        for _ in range(4):
            ledger.dispatch(queue=queue)
    assert len(ledger.claimed_ids(20, at_once=3, **queues)) == 3
