"""Why a job waits: everything that holds it back is named, with the numbers, and nothing that does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from jobledger import Receipt
from jobledger.application.client import LedgerClient
from jobledger.application.commands import CancelJob, RequeueJob, RescheduleJob, SuspendTenant
from jobledger.application.limit_messages import ExplainJob, Hold, HoldKind, PauseTarget, SetLimits
from jobledger.application.ports import WorkerHeartbeat, WorkerReport
from jobledger.domain.errors import NotFound
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import Rate
from tests.support.use_cases import ACTOR, UseCases

NAMED: dict[str, dict[str, str]] = {
    "queue default": {"queue": "default"}, "tenant acme": {"tenant": "acme"},
    "persona bot": {"tenant": "acme", "persona": "bot"}, "key gpt": {"tenant": "acme", "key": "gpt"},
}  # fmt: skip
TARGETS = pytest.mark.parametrize(("name", "named"), NAMED.items(), ids=NAMED)
BOUND: dict[str, Any] = {"persona": "bot", "limit_key": "gpt"}


def served(*, tenants: tuple[str, ...] = (), personas: tuple[str, ...] = (), app: str = "test") -> UseCases:
    """A ledger with one worker for queue `default`."""
    cases = UseCases()
    report = WorkerReport(app=app, tenants=tenants, personas=personas)
    cases.ledger.queue.heartbeat(WorkerHeartbeat("w1", "v1", ("default",), 4, 0, 30.0, report))
    return cases


def holds(cases: UseCases, job: Receipt | UUID) -> tuple[Hold, ...]:
    """What holds a job back."""
    return cases.ask(ExplainJob, tenant="acme", job=job if isinstance(job, UUID) else job.job_id).holds


def only(cases: UseCases, job: Receipt) -> Hold:
    """The only thing that does."""
    (hold,) = holds(cases, job)
    return hold


def test_what_nothing_holds_waits_for_its_turn() -> None:
    """The answer says so, and how many workers there are."""
    cases = served()
    hold = only(cases, cases.dispatch())
    assert (hold.kind, "1 worker takes" in hold.text) == (HoldKind.TURN, True)


@TARGETS
def test_a_pause_says_who_and_why(name: str, named: dict[str, str]) -> None:
    """Whether it is of the queue, the tenant, the persona or the key; a job that it is not about is not held."""
    cases = served()
    job, free = cases.dispatch(**BOUND), cases.dispatch(tenant="other", queue="keyed")
    cases.ask(PauseTarget, **named, reason="provider down")
    hold = only(cases, job)
    assert (hold.kind, hold.target is not None) == (HoldKind.PAUSED, True)
    assert f"{name} is paused since 2026-03-02 12:00:00 UTC by {ACTOR.id}: provider down" in hold.text
    others = cases.ask(ExplainJob, tenant="other", job=free.job_id).holds
    assert [hold.kind for hold in others] == [HoldKind.NO_WORKER]


@TARGETS
def test_a_limit_of_jobs_at_a_time_tells_its_numbers(name: str, named: dict[str, str]) -> None:
    """Only once it is reached; when a job ends, it is not."""
    cases = served()
    cases.ask(SetLimits, **named, concurrency=2, reason="agreed")
    jobs = [cases.dispatch(**BOUND) for _ in range(3)]
    (running,) = cases.claim()
    assert only(cases, jobs[2]).kind is HoldKind.TURN
    cases.claim(limit=5)
    hold = only(cases, jobs[2])
    assert (hold.kind, hold.used, hold.allowed) == (HoldKind.CONCURRENCY, 2, 2)
    assert hold.text == f"{name} runs 2 of at most 2 at a time"
    cases.complete(running)
    assert only(cases, jobs[2]).kind is HoldKind.TURN


@TARGETS
def test_a_rate_tells_its_numbers(name: str, named: dict[str, str]) -> None:
    """Once its window is full, and as long as it is."""
    cases = served()
    cases.ask(SetLimits, **named, rate=Rate(count=2, seconds=10), reason="agreed")
    jobs = [cases.dispatch(**BOUND) for _ in range(3)]
    for _ in range(2):
        assert only(cases, jobs[2]).kind is HoldKind.TURN
        (job,) = cases.claim()
        cases.complete(job)
    hold = only(cases, jobs[2])
    assert (hold.kind, hold.used, hold.allowed) == (HoldKind.RATE, 2, 2)
    assert hold.text == f"{name} started 2 in its window, the rate allows 2/10s"
    cases.clock.advance(11)
    assert only(cases, jobs[2]).kind is HoldKind.TURN


def test_a_prefix_holds_each_of_its_keys() -> None:
    """What is paused is named as the job's own key."""
    cases = served()
    cases.ask(PauseTarget, tenant="acme", key="gateway:*", reason="down")
    hold = only(cases, cases.dispatch(limit_key="gateway:7"))
    assert "key gateway:7 is paused since" in hold.text
    assert only(cases, cases.dispatch(limit_key="gate")).kind is HoldKind.TURN


def test_the_job_that_holds_the_lock_key_is_named() -> None:
    """So that one can look at it."""
    cases = served()
    first, second = cases.dispatch("invoice.locked"), cases.dispatch("invoice.locked")
    cases.claim()
    hold = only(cases, second)
    assert (hold.kind, hold.job_id) == (HoldKind.LOCKED, first.job_id)
    assert str(first.job_id) in hold.text


def test_a_delayed_job_says_when() -> None:
    """Until it is due."""
    cases = served()
    job = cases.dispatch(delay_seconds=20)
    hold = only(cases, job)
    assert (hold.kind, hold.text) == (HoldKind.DELAYED, "not before 2026-03-02 12:00:20 UTC")
    cases.clock.advance(21)
    assert only(cases, job).kind is HoldKind.TURN


def test_a_suspended_tenants_job_is_on_its_way_to_the_dlq() -> None:
    """That is no pause."""
    cases = served()
    job = cases.dispatch()
    cases.ask(SuspendTenant, name="acme", reason="unpaid")
    hold = only(cases, job)
    assert (hold.kind, "suspended" in hold.text) == (HoldKind.TENANT, True)


def test_everything_that_holds_a_job_is_named() -> None:
    """Not only the first thing that was found."""
    cases = UseCases()
    job = cases.dispatch("invoice.locked", delay_seconds=60, persona="bot", limit_key="gpt")
    for named in NAMED.values():
        cases.ask(PauseTarget, **named, reason="all of it")
    kinds = [hold.kind for hold in holds(cases, job)]
    assert kinds == [HoldKind.DELAYED, *[HoldKind.PAUSED] * 4, HoldKind.NO_WORKER]


@pytest.mark.parametrize(
    ("tenants", "personas", "kind"),
    [
        (("acme",), (), HoldKind.TURN), (("other",), (), HoldKind.NO_WORKER), (("acme",), ("bot",), HoldKind.TURN),
        (("acme",), ("someone",), HoldKind.NO_WORKER),
    ],
)  # fmt: skip
def test_a_worker_of_others_is_no_worker(tenants: tuple[str, ...], personas: tuple[str, ...], kind: HoldKind) -> None:
    """Dedicated workers count for whom they are there."""
    cases = served(tenants=tenants, personas=personas)
    assert only(cases, cases.dispatch(persona="bot")).kind is kind


def test_a_worker_of_another_program_is_no_worker() -> None:
    """It takes jobs of the queue, but not of this type: the answer names both programs."""
    cases = served(app="clinic")
    cases.register_types()
    hold = only(cases, cases.dispatch())
    assert hold.kind is HoldKind.NO_WORKER
    assert (
        hold.text == "no worker of app test, which published invoice.send, runs; those of queue default are of clinic"
    )


def test_a_worker_that_was_lost_is_no_worker() -> None:
    """Its lease ran out."""
    cases = served()
    job = cases.dispatch()
    cases.clock.advance(31)
    assert only(cases, job).kind is HoldKind.NO_WORKER


def test_what_does_not_wait_is_held_by_nothing() -> None:
    """One that runs, is dead, or has ended: its account says it all."""
    cases = served()
    job = cases.dispatch()
    (running,) = cases.claim()
    assert cases.ask(ExplainJob, tenant="acme", job=job.job_id)[:3] == (job.job_id, JobStatus.IN_PROGRESS, ())
    cases.complete(running)
    assert cases.ask(ExplainJob, tenant="acme", job=job.job_id).status is JobStatus.COMPLETED
    assert holds(cases, cases.dead()) == ()


def account(cases: UseCases, job: Receipt | UUID) -> str:
    """Where a job stands, in a sentence."""
    return cases.ask(ExplainJob, tenant="acme", job=job if isinstance(job, UUID) else job.job_id).account


def test_of_a_running_job_it_is_said_since_when_and_by_whom() -> None:
    """Its worker, how long it runs of how long it may, when the worker was last heard of, and that it was asked to
    stop."""
    cases = served()
    job = cases.dispatch()
    (running,) = cases.claim()
    cases.clock.advance(20)
    found = cases.ask(ExplainJob, tenant="acme", job=job.job_id)
    assert found.account == "runs for 20 s (of 60 s): attempt 1 on w1, last heard of 20 s ago"
    assert found.since == cases.clock.now() - timedelta(seconds=20)
    cases.ask(CancelJob, tenant="acme", job=job.job_id, reason="wrong customer")
    cases.clock.advance(20)
    text = account(cases, job)
    assert "its lease has run out" in text and text.endswith("asked to stop: wrong customer")
    cases.ledger.queue.goodbye("w1")
    assert "nothing is known any more" in account(cases, running.job_id)


def test_of_a_job_that_waits_or_ended_it_is_said_what_decided_that() -> None:
    """The decision that brought it there, by whom and why."""
    cases = served()
    job = cases.dispatch()
    assert account(cases, job) == "was dispatched by service:test and never ran"
    cases.ask(RescheduleJob, tenant="acme", job=job.job_id, reason="urgent", priority=9)
    assert account(cases, job) == "was rescheduled by service:test: urgent"
    cases.complete(cases.claim()[0])
    assert account(cases, job).startswith("completed in attempt 1 on w1, which ran ")
    gone = cases.dispatch()
    cases.ask(CancelJob, tenant="acme", job=gone.job_id, reason="not needed")
    assert account(cases, gone) == "was cancelled by service:test: not needed"
    dead = cases.dead()
    said = account(cases, dead)
    assert said.startswith("is dead, no retry can help: ") and said.endswith("only a person gets it out of the DLQ")
    cases.ask(RequeueJob, tenant="acme", job=dead.job_id, reason="fixed", ticket="OPS-1")
    assert account(cases, dead) == "was taken out of the DLQ by service:test: fixed (OPS-1)"


def test_nobody_is_told_of_another_tenants_job() -> None:
    """The same answer as for one that never was; the client asks for its own tenant's."""
    cases = served()
    job = cases.dispatch()
    cases.refused(NotFound, ExplainJob, tenant="other", job=job.job_id)
    acme = LedgerClient(cases.dispatcher, ACTOR, tenant="acme")
    assert acme.jobs.explain(job.job_id.hex[-8:]).job_id == job.job_id
