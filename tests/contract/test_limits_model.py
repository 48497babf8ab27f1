"""Claims of an engine are those of the ledger in memory, which takes from all jobs one by one: whatever limits there
are, whatever runs, whatever happened before."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.application.ports import OpenJob
from jobledger.domain.identifiers import uuid7
from jobledger.domain.job import interrupt, snooze, stall
from jobledger.domain.limit import Scope, Target, queue_target, tenant_target

from .limits_support import apply_limits, end, limit, pause, resume
from .support import LedgerUnderTest, in_memory

PAST = datetime(2026, 1, 1, tzinfo=UTC)
MOSTLY_DEFAULT = ("default", "default", "default", "other")
MANY = 50


class Dispatch(NamedTuple):
    """A job becomes ready."""

    tenant: int
    queue: str
    persona: str | None
    limit_key: str | None
    lock_key: str | None
    priority: int
    age: int


class Change(NamedTuple):
    """The limits of a target: of several, by number."""

    target: int
    concurrency: int | None
    starts: int | None


class Pause(NamedTuple):
    """A target is paused, or resumed where it was."""

    target: int


class Claim(NamedTuple):
    """A worker claims from one queue."""

    queue: str
    limit: int


class End(NamedTuple):
    """An attempt ends: one of those under way, by number."""

    number: int
    how: str


Act = Dispatch | Change | Pause | Claim | End

DISPATCHES = st.builds(
    Dispatch, st.integers(0, 1), st.sampled_from(MOSTLY_DEFAULT), st.sampled_from(("bot", "bot", None, "x")),
    st.sampled_from((None, None, "gpt-1", "gpt-2")), st.sampled_from((None, None, "a", "b")),
    st.sampled_from((0, 0, 5)), st.integers(0, 9),
)  # fmt: skip
CHANGES = st.builds(
    Change, st.integers(0, 6), st.sampled_from((1, 2, 3, None)), st.sampled_from((None, None, 1, 4))
)  # fmt: skip
CLAIMS = st.builds(Claim, st.sampled_from(MOSTLY_DEFAULT), st.sampled_from((1, 2, MANY)))
ENDS = st.builds(End, st.integers(0, 5), st.sampled_from(("complete", "give back", "put off", "lose")))
ACTS = st.one_of(DISPATCHES, CHANGES, CLAIMS, CLAIMS, ENDS, ENDS, ENDS, st.builds(Pause, st.integers(0, 6)))
DAYS = st.tuples(
    st.lists(DISPATCHES, min_size=8, max_size=20), st.lists(CHANGES, max_size=3),
    st.lists(ACTS, min_size=20, max_size=50),
)  # fmt: skip
"""Jobs that wait, limits, and then anything."""


class Pair:
    """An engine and its model do the same."""

    def __init__(self, engine: LedgerUnderTest, model: LedgerUnderTest, tenants: int) -> None:
        self._both = (engine, model)
        self._tenants = ("a", "b")[:tenants]
        self._targets = [
            *(tenant_target(tenant) for tenant in self._tenants), Target(Scope.PERSONA, "a", "bot"),
            Target(Scope.PERSONA, "a", "x"), Target(Scope.KEY, "a", "gpt-1"), Target(Scope.KEY, "a", "gpt-*"),
        ]  # fmt: skip
        if tenants == 1:  # with more than one it depends on whose turn it is what a queue's limit leaves
            self._targets.append(queue_target("default"))
        self._paused: set[Target] = set()
        self._running: list[tuple[OpenJob, OpenJob]] = []
        self._born_at = time.time_ns() // 1_000_000
        self._dispatched = 0
        for ledger in self._both:
            for tenant in self._tenants:
                ledger.create_tenant(tenant)

    def act(self, act: Act) -> None:
        """Both do it; claims bring the same jobs."""
        match act:
            case Dispatch():
                self._dispatch(act)
            case Change(number, concurrency, starts):
                rate = None if starts is None else (starts, 86_400.0)
                self._both_do(lambda ledger: limit(ledger, self._target(number), concurrency=concurrency, rate=rate))
            case Pause(number):
                target = self._target(number)
                self._both_do(lambda ledger: (resume if target in self._paused else pause)(ledger, target))
                self._paused ^= {target}
            case Claim(queue, limit_of_jobs):
                self._claim(queue, limit_of_jobs if len(self._tenants) == 1 else MANY)
            case End(number, how) if self._running:
                for ledger, job in zip(self._both, self._running.pop(number % len(self._running)), strict=True):
                    _end(ledger, job, how)

    def _target(self, number: int) -> Target:
        return self._targets[number % len(self._targets)]

    def _both_do(self, act: Callable[[LedgerUnderTest], object]) -> None:
        for ledger in self._both:
            act(ledger)

    def _dispatch(self, job: Dispatch) -> None:
        self._dispatched += 1
        options: dict[str, Any] = job._asdict()
        options["tenant"] = self._tenants[job.tenant % len(self._tenants)]
        options["due_at"] = PAST + timedelta(seconds=options.pop("age"))
        options["id"] = uuid7(self._born_at, self._dispatched)
        self._both_do(lambda ledger: ledger.dispatch(**options, max_stalled=100))

    def _claim(self, queue: str, count: int) -> None:
        self._both_do(apply_limits)
        engines, models = (ledger.claim(count, queues=(queue,)).jobs for ledger in self._both)
        if len(self._tenants) > 1:
            engines, models = (tuple(sorted(jobs, key=lambda job: job.job_id)) for jobs in (engines, models))
        assert [_seen(job) for job in engines] == [_seen(job) for job in models]
        self._running += zip(engines, models, strict=True)


def _seen(job: OpenJob) -> tuple[uuid.UUID, str, int, object]:
    return (job.job_id, job.tenant, job.version, job.state._replace(due_at=PAST))


def _end(ledger: LedgerUnderTest, job: OpenJob, how: str) -> None:
    match how:
        case "complete":
            ledger.complete(job)
        case "give back":
            end(ledger, job, lambda job, lease: interrupt(job.state, lease, why="shutdown"))
        case "put off":
            end(ledger, job, lambda job, lease: snooze(job.state, lease, due_at=PAST, why="later"))
        case _:
            end(ledger, job, lambda job, lease: stall(job.state, lease, last_seen_at=None))


@pytest.mark.parametrize("tenants", [1, 2])
def test_an_engine_claims_what_its_model_claims(
    new_ledger: Callable[[], AbstractContextManager[LedgerUnderTest]], tenants: int
) -> None:
    """Jobs, limits, pauses, claims and endings in any order: engine and model start the same jobs."""

    @for_all(DAYS)
    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
    def in_any_order(day: tuple[list[Act], list[Act], list[Act]]) -> None:
        with new_ledger() as engine:
            pair = Pair(engine, in_memory(), tenants)
            for act in chain.from_iterable(day):
                pair.act(act)

    in_any_order()
