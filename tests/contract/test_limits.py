"""What every queue promises about limits: never above one, nobody else held back by it, all of it done in the end."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.ports import OpenJob
from jobledger.application.writes import LimitRow
from jobledger.domain.job import interrupt, snooze, stall
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target, queue_target, tenant_target
from jobledger.infrastructure.testing.clock import START, FrozenClock

from .limits_support import (
    BOT,
    BOUND,
    GPT,
    SCOPES,
    TARGETS,
    apply_limits,
    end,
    limit,
    most_running,
    most_starts_in_a_window,
    pause,
    resume,
    works_off,
)
from .support import LedgerUnderTest, in_memory, new_job

PAST = datetime(2026, 1, 1, tzinfo=UTC)
OTHER: dict[str, Any] = {"tenant": "other", "persona": "x", "limit_key": "mail", "queue": "other"}
BOTH_QUEUES: dict[str, Any] = {"queues": ("default", "other")}
each_scope = pytest.mark.parametrize("target", TARGETS, ids=SCOPES)


def _stall(ledger: LedgerUnderTest, job: OpenJob) -> None:
    end(ledger, job, lambda job, lease: stall(job.state, lease, last_seen_at=None))


def _give_back(ledger: LedgerUnderTest, job: OpenJob) -> None:
    end(ledger, job, lambda job, lease: interrupt(job.state, lease, why="shutdown"))


def _put_off(ledger: LedgerUnderTest, job: OpenJob) -> None:
    end(ledger, job, lambda job, lease: snooze(job.state, lease, due_at=datetime.now(UTC), why="later"))


END_WITHOUT_SUCCESS = {"given back": _give_back, "put off": _put_off, "lost": _stall}


# --- concurrency -----------------------------------------------------------------------------------------------------


def test_without_limits_nothing_is_limited(ledger: LedgerUnderTest) -> None:
    """A claim where there are no limits says so, whatever keys and personas jobs have."""
    for _ in range(3):
        ledger.dispatch(**BOUND)
    claim = ledger.claim()
    assert (len(claim.jobs), claim.limited, claim.again_seconds) == (3, False, None)


@each_scope
def test_no_more_run_than_allowed(ledger: LedgerUnderTest, target: Target) -> None:
    """Of a limited queue, tenant, persona or key no more jobs run at once; the end of one lets the next one go."""
    limit(ledger, target, concurrency=2)
    jobs = [ledger.dispatch(**BOUND, due_at=PAST + timedelta(seconds=number)) for number in range(5)]
    claim = ledger.claim()
    assert [job.job_id for job in claim.jobs] == jobs[:2]
    assert claim.limited
    again = ledger.claim()
    assert (again.jobs, again.limited, again.again_seconds) == ((), True, None)
    ledger.complete(claim.jobs[1])
    assert ledger.claimed_ids() == jobs[2:3]
    ledger.complete(claim.jobs[0])
    assert ledger.claimed_ids() == jobs[3:4]


@each_scope
def test_a_limit_holds_nobody_else_back(ledger: LedgerUnderTest, target: Target) -> None:
    """While one target is at its limit, jobs of all others are claimed."""
    limit(ledger, target, concurrency=1)
    first = ledger.dispatch(**BOUND, priority=100)
    ledger.dispatch(**BOUND, priority=100)
    assert ledger.claimed_ids() == [first]
    others = {ledger.dispatch(**OTHER)}
    if target.scope in {Scope.PERSONA, Scope.KEY}:
        others |= {ledger.dispatch(), ledger.dispatch(persona="x", limit_key="mail"), ledger.dispatch(lock_key="k")}
    assert set(ledger.claimed_ids(10, **BOTH_QUEUES)) == others


@each_scope
def test_what_runs_already_counts(ledger: LedgerUnderTest, target: Target) -> None:
    """A limit that comes while jobs run counts them, and no more start until enough of them have ended."""
    for _ in range(6):
        ledger.dispatch(**BOUND)
    running = ledger.claim(3).jobs
    limit(ledger, target, concurrency=2)
    apply_limits(ledger)
    assert ledger.claimed_ids() == []
    ledger.complete(running[0])
    assert ledger.claimed_ids() == []
    ledger.complete(running[1])
    assert len(ledger.claimed_ids()) == 1


@each_scope
def test_a_limit_that_is_removed_limits_nothing(ledger: LedgerUnderTest, target: Target) -> None:
    """Without its limit a target's jobs are claimed as if there had never been one, and its row is gone."""
    limit(ledger, target, concurrency=1)
    jobs = {ledger.dispatch(**BOUND) for _ in range(4)}
    first = ledger.claimed_ids()
    limit(ledger, target)
    assert ledger.catalogue.limits() == []
    apply_limits(ledger)
    claim = ledger.claim()
    assert {*first, *(job.job_id for job in claim.jobs)} == jobs
    assert not claim.limited
    assert ledger.catalogue.limits() == []


@each_scope
@pytest.mark.parametrize("how", ["given back", "put off", "lost"])
def test_an_attempt_that_ended_without_success_counts_no_more(
    ledger: LedgerUnderTest, target: Target, how: str
) -> None:
    """A job that was given back, put off or lost its worker leaves its place to another one."""
    limit(ledger, target, concurrency=1)
    for _ in range(2):
        ledger.dispatch(**BOUND)
    job = ledger.claim_one()
    assert ledger.claimed_ids() == []
    END_WITHOUT_SUCCESS[how](ledger, job)
    assert len(ledger.claimed_ids()) == 1
    assert ledger.claimed_ids() == []


def test_all_limits_of_a_job_hold(ledger: LedgerUnderTest) -> None:
    """A job runs where its queue, its tenant, its persona and its key have room: the tightest decides."""
    for target, concurrency in zip(TARGETS, (6, 5, 4, 3), strict=True):
        limit(ledger, target, concurrency=concurrency)
    for _ in range(8):
        ledger.dispatch(**BOUND)
        ledger.dispatch(persona="bot")
        ledger.dispatch()
        ledger.dispatch(tenant="other")
    jobs = ledger.claim(40).jobs
    assert len(jobs) == 6
    assert sum(job.tenant == "acme" for job in jobs) <= 5
    assert sum(job.state.persona == "bot" for job in jobs) <= 4
    assert sum(job.state.limit_key == "gpt" for job in jobs) <= 3


def test_a_tenants_limit_counts_in_all_queues(ledger: LedgerUnderTest) -> None:
    """A tenant, persona or key is limited as such: what one queue took is not left for the next, in one claim."""
    limit(ledger, tenant_target("acme"), concurrency=3)
    for queue in ("default", "other"):
        for _ in range(3):
            ledger.dispatch(queue=queue)
    assert len(ledger.claim(10, **BOTH_QUEUES).jobs) == 3
    assert ledger.claimed_ids(10, **BOTH_QUEUES) == []


@pytest.mark.parametrize("seed", range(3))
def test_limits_hold_whatever_happens(ledger: LedgerUnderTest, seed: int) -> None:
    """Claims, endings of all kinds and new jobs in any order: no limit is ever exceeded, and all jobs are done."""
    dice = random.Random(seed)
    allowed = {queue_target("default"): 5, tenant_target("acme"): 4, BOT: 2, Target(Scope.KEY, "acme", "gpt-*"): 1}
    for target, concurrency in allowed.items():
        limit(ledger, target, concurrency=concurrency)
    waiting = [
        {
            "tenant": dice.choice(("acme", "acme", "other")), "persona": dice.choice((None, "bot", "x")),
            "limit_key": dice.choice((None, None, "gpt-1", "gpt-2")), "lock_key": dice.choice((None, None, "k")),
            "queue": dice.choice(("default", "other")), "priority": dice.choice((0, 0, 7)), "max_stalled": 100,
        }
        for _ in range(40)
    ]  # fmt: skip
    held: list[OpenJob] = []
    done: set[UUID] = set()
    for _ in range(600):
        if waiting and dice.random() < 0.3:
            ledger.dispatch(**waiting.pop())
        held += ledger.claim(dice.randint(1, 6), **BOTH_QUEUES).jobs
        _assert_within_limits(held)
        if held and dice.random() < 0.7:
            _end_somehow(ledger, held.pop(dice.randrange(len(held))), dice, done)
        if len(done) == 40:
            break
    assert len(done) == 40


def _assert_within_limits(held: list[OpenJob]) -> None:
    assert sum(job.state.queue == "default" for job in held) <= 5
    assert sum(job.tenant == "acme" for job in held) <= 4
    assert sum(job.tenant == "acme" and job.state.persona == "bot" for job in held) <= 2
    for key in ("gpt-1", "gpt-2"):
        assert sum(job.tenant == "acme" and job.state.limit_key == key for job in held) <= 1
    locked = [(job.tenant, job.state.lock_key) for job in held if job.state.lock_key]
    assert len(set(locked)) == len(locked)


def _end_somehow(ledger: LedgerUnderTest, job: OpenJob, dice: random.Random, done: set[UUID]) -> None:
    if dice.random() < 0.6:
        ledger.complete(job)
        done.add(job.job_id)
    else:
        END_WITHOUT_SUCCESS[dice.choice(list(END_WITHOUT_SUCCESS))](ledger, job)


@each_scope
def test_workers_at_once_stay_within_a_limit(stored_ledger: LedgerUnderTest, target: Target) -> None:
    """Several workers claim and complete at the same time: at no moment do more run than allowed; all is done."""
    limit(stored_ledger, target, concurrency=3)
    stored_ledger.create_tenant("acme")
    jobs = [new_job(**BOUND) for _ in range(60)]
    stored_ledger.writer.write(jobs)
    done: list[UUID] = []

    def work(ledger: LedgerUnderTest, worker: str) -> None:
        while len(done) < len(jobs):
            for job in ledger.claim(2, worker=worker).jobs:
                ledger.complete(job)
                done.append(job.job_id)

    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        ledgers = [stored_ledger, stored_ledger, *(stack.enter_context(stored_ledger.open_again()) for _ in range(2))]
        for future in [threads.submit(work, ledger, f"w{number}") for number, ledger in enumerate(ledgers)]:
            future.result(120)
    assert most_running(stored_ledger) <= 3
    assert sorted(done) == sorted(job.event.originator_id for job in jobs)


# --- pauses ----------------------------------------------------------------------------------------------------------


@each_scope
def test_nothing_of_a_paused_target_is_started(ledger: LedgerUnderTest, target: Target) -> None:
    """Jobs of a paused target wait, those of others do not; resumed, they are claimed. What runs goes on."""
    running, waiting = ledger.dispatch(**BOUND), ledger.dispatch(**BOUND)
    job = ledger.claim_one()
    pause(ledger, target)
    apply_limits(ledger)
    ledger.dispatch(**BOUND, priority=100)
    other = ledger.dispatch(**OTHER)
    claim = ledger.claim(10, **BOTH_QUEUES)
    assert [job.job_id for job in claim.jobs] == [other]
    assert claim.limited
    ledger.complete(job)
    assert ledger.claimed_ids() == []
    resume(ledger, target)
    apply_limits(ledger)
    claimed = ledger.claimed_ids()
    assert len(claimed) == 2
    assert waiting in claimed
    assert running not in claimed


def test_a_pause_keeps_the_limit(ledger: LedgerUnderTest) -> None:
    """A target that was paused and resumed is limited as before."""
    limit(ledger, BOT, concurrency=1)
    pause(ledger, BOT)
    for _ in range(2):
        ledger.dispatch(persona="bot")
    assert ledger.claimed_ids() == []
    resume(ledger, BOT)
    assert len(ledger.claimed_ids()) == 1


# --- rates -----------------------------------------------------------------------------------------------------------


@each_scope
def test_a_rate_allows_so_many_starts(ledger: LedgerUnderTest, target: Target) -> None:
    """Within a window no more start than allowed, however soon they end; the claim says when the next one may."""
    limit(ledger, target, rate=(3, 600.0))
    for _ in range(5):
        ledger.dispatch(**BOUND)
    first = ledger.claim(2).jobs
    second = ledger.claim(10)
    assert (len(first), len(second.jobs)) == (2, 1)
    for job in (*first, *second.jobs):
        ledger.complete(job)
    third = ledger.claim()
    assert third.jobs == ()
    assert third.limited
    assert third.again_seconds is not None
    assert 0 < third.again_seconds <= 606.0


@each_scope
def test_a_rate_is_never_exceeded_in_any_window(ledger: LedgerUnderTest, target: Target) -> None:
    """Claimed without a pause, jobs under a rate start late enough, and all of them do."""
    limit(ledger, target, rate=(4, 0.4))
    ledger.create_tenant("acme")
    ledger.writer.write([new_job(**BOUND) for _ in range(14)])
    assert len(works_off(ledger, limit=3)) == 14
    assert most_starts_in_a_window(ledger, 0.4) <= 4


def test_again_is_when_a_rate_allows_the_next_start() -> None:
    """Who comes back when the claim said finds a job to start, and none before; windows of hours hold as well."""
    clock = FrozenClock()
    ledger = in_memory(clock)
    limit(ledger, BOT, rate=(3, 3600.0))
    for _ in range(10):
        ledger.dispatch(persona="bot")
    started = 0
    while started < 10:
        claim = ledger.claim(2)
        started += len(claim.jobs)
        if claim.again_seconds is not None and started < 10:
            clock.advance(claim.again_seconds - 1)
            assert ledger.claimed_ids() == []
            clock.advance(1)
    assert most_starts_in_a_window(ledger, 3600.0) == 3
    assert clock.now() - START <= timedelta(hours=3, minutes=3)


def test_a_rate_holds_nobody_else_back(ledger: LedgerUnderTest) -> None:
    """Jobs behind an exhausted rate are passed by."""
    limit(ledger, GPT, rate=(1, 600.0))
    for _ in range(3):
        ledger.dispatch(limit_key="gpt", priority=100)
    assert len(ledger.claimed_ids()) == 1
    other = ledger.dispatch()
    claim = ledger.claim()
    assert [job.job_id for job in claim.jobs] == [other]
    assert claim.again_seconds is not None


def test_a_new_rate_knows_what_the_old_one_used(ledger: LedgerUnderTest) -> None:
    """Where a rate is tightened, the starts it granted before count."""
    limit(ledger, BOT, rate=(3, 600.0))
    for _ in range(6):
        ledger.dispatch(persona="bot")
    assert len(ledger.claimed_ids()) == 3
    limit(ledger, BOT, rate=(4, 300.0))
    assert len(ledger.claimed_ids()) == 1


def test_jobs_under_a_rate_are_not_claimed_ahead(ledger: LedgerUnderTest) -> None:
    """Of jobs under a rate a claim brings what begins at once, so that the rate holds for when they run, too; others
    are claimed ahead."""
    limit(ledger, tenant_target("acme"), rate=(10, 600.0))
    for _ in range(6):
        ledger.dispatch()
    jobs = ledger.claim(10, at_once=2).jobs
    assert len(jobs) == 2
    free = {ledger.dispatch(tenant="other") for _ in range(4)}
    claimed = ledger.claim(10, at_once=2).jobs
    assert free <= {job.job_id for job in claimed}
    assert sum(job.tenant == "acme" for job in claimed) <= 2
    assert ledger.claimed_ids(10, at_once=0) == []


# --- keys and personas -----------------------------------------------------------------------------------------------


def test_a_prefix_limits_each_of_its_keys(ledger: LedgerUnderTest) -> None:
    """A limit for `gpt-*` applies to each key that begins so, for itself; an exact one comes before it, and so does a
    longer prefix."""
    for subject, concurrency in (("gpt-*", 1), ("gpt-4-*", 2), ("gpt-5", 3)):
        limit(ledger, Target(Scope.KEY, "acme", subject), concurrency=concurrency)
    for key in ("gpt-1", "gpt-2", "gpt-4-a", "gpt-5", "gp"):
        for _ in range(4):
            ledger.dispatch(limit_key=key)
    claimed = Counter(job.state.limit_key for job in ledger.claim(100).jobs)
    assert claimed == {"gpt-1": 1, "gpt-2": 1, "gpt-4-a": 2, "gpt-5": 3, "gp": 4}


def test_keys_and_personas_are_a_tenants_own(ledger: LedgerUnderTest) -> None:
    """Another tenant's persona and key of the same name are not limited."""
    limit(ledger, BOT, concurrency=1)
    limit(ledger, GPT, concurrency=1)
    for tenant in ("acme", "other"):
        for _ in range(2):
            ledger.dispatch(tenant=tenant, **BOUND)
    assert sorted(job.tenant for job in ledger.claim().jobs) == ["acme", "other", "other"]


def test_a_persona_limited_to_one_runs_oldest_first(ledger: LedgerUnderTest) -> None:
    """A persona that may run one job at a time runs them by priority, then by age, whatever their keys are."""
    limit(ledger, BOT, concurrency=1)
    keys = [{"lock_key": "b"}, {"limit_key": "z"}, {}, {"lock_key": "a", "limit_key": "y"}, {"lock_key": "b"}]
    normal = [
        ledger.dispatch(persona="bot", due_at=PAST + timedelta(seconds=age), **key) for age, key in enumerate(keys)
    ]
    urgent = ledger.dispatch(persona="bot", priority=5, lock_key="c", due_at=PAST + timedelta(days=1))
    assert works_off(ledger) == [urgent, *normal]


def test_jobs_that_waited_before_a_limit_came_obey_it(ledger: LedgerUnderTest) -> None:
    """A limit for a persona binds jobs that were dispatched before, with keys and without, and after it is gone they
    run freely."""
    jobs = [ledger.dispatch(persona="bot", lock_key=key) for key in (None, "a", "b", None)]
    jobs.append(ledger.dispatch(persona="bot", status="delayed", due_in_seconds=-1))
    limit(ledger, BOT, concurrency=1)
    apply_limits(ledger)
    free = ledger.dispatch()
    assert free in ledger.claimed_ids()
    ledger.claim()
    assert len(_running(ledger, jobs)) == 1
    limit(ledger, BOT)
    apply_limits(ledger)
    ledger.claim()
    assert len(_running(ledger, jobs)) == 5


def _running(ledger: LedgerUnderTest, jobs: list[UUID]) -> list[OpenJob]:
    return [job for job in ledger.queue.open_jobs("acme", jobs).values() if job.state.worker is not None]


def test_an_attempt_that_began_before_a_limit_came_obeys_it_when_it_comes_back(ledger: LedgerUnderTest) -> None:
    """A job that ran while its persona was limited, and waits again, waits under the limit."""
    ledger.dispatch(persona="bot")
    ledger.dispatch(persona="bot")
    first, second = ledger.claim().jobs
    limit(ledger, BOT, concurrency=1)
    apply_limits(ledger)
    _give_back(ledger, first)
    _give_back(ledger, second)
    apply_limits(ledger)
    assert len(ledger.claimed_ids()) == 1
    assert ledger.claimed_ids() == []


def test_a_lock_key_beside_limits(ledger: LedgerUnderTest) -> None:
    """One job of a lock key runs, wherever its limits have room."""
    limit(ledger, GPT, concurrency=3)
    for _ in range(2):
        for lock_key in ("a", "b"):
            ledger.dispatch(limit_key="gpt", lock_key=lock_key)
    assert sorted(job.state.lock_key or "" for job in ledger.claim().jobs) == ["a", "b"]


def test_no_lane_starves_behind_a_hundred_others(ledger: LedgerUnderTest) -> None:
    """A job whose key comes after more keys than a claim looks at, each of which always has a job, has its turn."""
    ledger.create_tenant("acme")
    ledger.writer.write([new_job(lock_key=f"a-{number:03}") for number in range(140)])
    last = ledger.dispatch(lock_key="z", priority=1)
    claimed: list[UUID] = []
    for _ in range(6):
        for job in ledger.claim(4).jobs:
            claimed.append(job.job_id)
            ledger.complete(job)
            ledger.dispatch(lock_key=job.state.lock_key)
    assert last in claimed


# --- turns of tenants ------------------------------------------------------------------------------------------------


def test_a_batch_is_shared_by_weight(ledger: LedgerUnderTest) -> None:
    """A tenant of weight 3 gets three times what one of weight 1 gets, and all of it while nobody else waits."""
    limit(ledger, tenant_target("heavy"), weight=3)
    for tenant in ("heavy", "light"):
        ledger.create_tenant(tenant)
        ledger.writer.write([new_job(tenant=tenant) for _ in range(24)])
    claims = [ledger.claim(8) for _ in range(4)]
    assert [Counter(job.tenant for job in claim.jobs) for claim in claims] == [{"heavy": 6, "light": 2}] * 4
    assert not any(claim.limited for claim in claims)
    assert {job.tenant for job in ledger.claim(8).jobs} == {"light"}


def test_tenants_that_are_left_out(ledger: LedgerUnderTest) -> None:
    """Tenants that the worker has jobs of already are not visited, stalled jobs of theirs included."""
    ledger.dispatch(tenant="a")
    _stall(ledger, ledger.claim_one())
    ledger.dispatch(tenant="a")
    other = ledger.dispatch(tenant="b")
    assert ledger.claimed_ids(10, except_tenants=("a",)) == [other]
    assert ledger.claimed_ids(10, except_tenants=("a", "b")) == []
    assert [job.state.stalls for job in ledger.claim().jobs] == [1]


def test_a_look_aside_takes_no_job_that_stalled(ledger: LedgerUnderTest) -> None:
    """Beside the jobs of tenants that wait at the worker, a job that may have killed its worker is left where it is."""
    stalled = ledger.dispatch(tenant="a")
    _stall(ledger, ledger.claim_one())
    other = ledger.dispatch(tenant="b")
    assert ledger.claimed_ids(10, except_tenants=("c",)) == [other]
    assert ledger.claimed_ids(10) == [stalled]


def test_tenants_without_room_keep_no_other_waiting(stored_ledger: LedgerUnderTest) -> None:
    """More paused tenants than a claim visits: the one behind them has its turn."""
    for number in range(120):
        stored_ledger.dispatch(tenant=f"a-{number:03}")
        pause(stored_ledger, tenant_target(f"a-{number:03}"))
    wanted = stored_ledger.dispatch(tenant="b")
    assert wanted in [job_id for _ in range(4) for job_id in stored_ledger.claimed_ids(4)]


def test_inactive_tenants_are_named_beside_limits(ledger: LedgerUnderTest) -> None:
    """A suspended tenant's ready jobs are left and the tenant is named, limited or not."""
    limit(ledger, tenant_target("limited"), concurrency=1)
    for tenant in ("limited", "plain"):
        ledger.dispatch(tenant=tenant)
        ledger.suspend_tenant(tenant)
    limit(ledger, BOT, concurrency=1)
    job = ledger.dispatch(persona="bot")
    claim = ledger.claim()
    assert [job.job_id for job in claim.jobs] == [job]
    assert sorted(claim.inactive_tenants) == ["limited", "plain"]


# --- stalled jobs ----------------------------------------------------------------------------------------------------


@each_scope
def test_a_job_that_stalled_obeys_limits(ledger: LedgerUnderTest, target: Target) -> None:
    """A job that lost its worker waits where its target is at its limit or paused; others that stalled do not."""
    mine = ledger.dispatch(**BOUND, due_at=PAST)
    _stall(ledger, ledger.claim_one())
    theirs = ledger.dispatch(**OTHER)
    _stall(ledger, ledger.claim_one(**BOTH_QUEUES, tenants=("other",)))
    pause(ledger, target)
    assert ledger.claimed_ids(10, **BOTH_QUEUES) == [theirs]
    assert ledger.claimed_ids(10, **BOTH_QUEUES) == []
    resume(ledger, target)
    limit(ledger, target, concurrency=1)
    assert ledger.claimed_ids() == [mine]
    ledger.dispatch(**BOUND)
    assert ledger.claimed_ids() == []


# --- the catalogue ---------------------------------------------------------------------------------------------------


def test_the_catalogue_knows_limits(ledger: LedgerUnderTest) -> None:
    """All targets that are limited or paused, by scope, tenant and subject, with what is in force."""
    limit(ledger, tenant_target("acme"), concurrency=4, weight=7)
    limit(ledger, BOT, rate=(100, 0.5))
    pause(ledger, BOT)
    pause(ledger, queue_target("default"))
    pause(ledger, GPT)
    resume(ledger, GPT)
    assert ledger.catalogue.limits() == [
        LimitRow(BOT, FlowState(Limits(rate=Rate(count=100, seconds=0.5)), paused=True)),
        LimitRow(queue_target("default"), FlowState(paused=True)),
        LimitRow(tenant_target("acme"), FlowState(Limits(concurrency=4, weight=7))),
    ]


def test_what_another_process_limits_is_known_at_once(stored_ledger: LedgerUnderTest) -> None:
    """A limit that somebody else sets, changes or removes holds for the next claim."""
    stored_ledger.create_tenant("acme")
    stored_ledger.writer.write([new_job() for _ in range(9)])
    assert len(stored_ledger.claimed_ids(1)) == 1
    with stored_ledger.open_again() as other:
        for concurrency, more in ((2, 1), (5, 3), (4, 0)):
            limit(other, tenant_target("acme"), concurrency=concurrency)
            assert len(stored_ledger.claimed_ids(1)) + len(stored_ledger.claimed_ids(9)) == more
        limit(other, tenant_target("acme"))
    assert len(stored_ledger.claimed_ids(10)) == 4
