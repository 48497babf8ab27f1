"""A tenant that is suspended: nothing dead of it is brought back, and its own change nothing; all can be looked at."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from jobledger.application.audit_messages import ListManualActs
from jobledger.application.authorization import Authorization, Authorized
from jobledger.application.commands import (
    CancelJob,
    DiscardJob,
    RequeueJob,
    RescheduleJob,
    ResumeTenant,
    SuspendTenant,
    UpdateJobStatus,
)
from jobledger.application.dlq_messages import CountDlq, DiscardDlq, RequeueDlq
from jobledger.application.lease_messages import ClaimJobs, CompleteAttempt
from jobledger.application.limit_messages import PauseTarget, RemoveLimits, ResumeTarget, SetLimits
from jobledger.application.message import Actor, Message
from jobledger.application.queries import GetJob, ListTenantJobs
from jobledger.application.result import Refused
from jobledger.domain.audit import AccessRefused
from jobledger.domain.errors import TenantSuspended
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Grant, Identity, Role
from jobledger.domain.job import JobStatus
from tests.support.use_cases import UseCases

ACTOR = Actor(id="key:k1")
ABOUT: dict[str, Any] = {"actor": ACTOR, "tenant": "acme", "reason": "a test"}


@pytest.fixture
def cases() -> UseCases:
    """A ledger in memory."""
    return UseCases()


def who(cases: UseCases, role: Role, *tenants: str) -> Authorized:
    """An identity for these tenants, or for all."""
    grant = Grant(role=role, tenants=frozenset(tenants) or None)
    authorization = Authorization(cases.dispatcher, cases.ledger.ports.catalogue)
    return authorization.of(Identity(id="key:k1", grants=(grant,)))


def suspend(cases: UseCases) -> None:
    """It did not pay."""
    cases.ask(SuspendTenant, name="acme", reason="unpaid")


def is_suspended(by: Authorized, message: Message[Any]) -> bool:
    """Whether that is the answer."""
    result = by.execute(message)
    return isinstance(result, Refused) and type(result.error) is TenantSuspended


def writes(waiting: UUID, dead: UUID) -> list[Message[Any]]:
    """What its own operators do to their jobs, personas and keys."""
    return [
        CancelJob(**ABOUT, job=waiting), RescheduleJob(**ABOUT, job=waiting, priority=1), DiscardJob(**ABOUT, job=dead),
        RequeueJob(**ABOUT, job=dead), UpdateJobStatus(**ABOUT, job=waiting, status=JobStatus.CANCELLED),
        RequeueDlq(**ABOUT, confirmed=1), DiscardDlq(**ABOUT, confirmed=1),
        PauseTarget(**ABOUT, persona="bot"), ResumeTarget(**ABOUT, persona="bot"),
        SetLimits(**ABOUT, key="gateway:7", concurrency=1), RemoveLimits(**ABOUT, key="gateway:7"),
    ]  # fmt: skip


def test_nothing_dead_is_brought_back(cases: UseCases) -> None:
    """By nobody, in no way: it would come straight back, and what it died of would be gone. Once resumed it is."""
    dead = cases.dead().job_id
    suspend(cases)
    died = cases.last_facts(dead)
    cases.refused(TenantSuspended, RequeueJob, tenant="acme", job=dead, reason="again")
    cases.refused(TenantSuspended, UpdateJobStatus, tenant="acme", job=dead, status="pending", reason="again")
    cases.refused(TenantSuspended, RequeueDlq, tenant="acme", confirmed=1, reason="again")
    assert is_suspended(who(cases, Role.ADMIN), RequeueJob(**ABOUT, job=dead))
    assert cases.last_facts(dead) == died
    cases.ask(ResumeTenant, name="acme", reason="paid")
    cases.ask(RequeueJob, tenant="acme", job=dead, reason="again")


def test_its_own_change_nothing(cases: UseCases) -> None:
    """Each write of theirs is refused, and on record as refused; what others do to other tenants goes on."""
    waiting, dead = cases.dispatch(delay_seconds=60).job_id, cases.dead(invoice_id="2").job_id
    suspend(cases)
    own, asked = who(cases, Role.ADMIN, "acme", "other"), writes(waiting, dead)
    before = cases.topics(waiting), cases.topics(dead)
    assert [type(one).__name__ for one in asked if not is_suspended(own, one)] == []
    assert (cases.topics(waiting), cases.topics(dead)) == before
    events = cases.ledger.reader.read_tenant(SYSTEM_TENANT, 0, limit=1_000).events
    refused = [event.facts for event in events if isinstance(event.facts, AccessRefused)]
    assert [facts.asked for facts in refused] == [type(one).__name__ for one in asked]
    assert {facts.tenant_claimed for facts in refused} == {"acme"}
    elsewhere = cases.dispatch(tenant="other").job_id
    assert own.execute(CancelJob(actor=ACTOR, tenant="other", job=elsewhere, reason="a test")).is_accepted


def test_its_own_may_look(cases: UseCases) -> None:
    """At jobs, payloads, lists and the audit."""
    dead = cases.dead().job_id
    suspend(cases)
    admin = who(cases, Role.ADMIN, "acme")
    looks: list[Message[Any]] = [
        GetJob(actor=ACTOR, tenant="acme", job=dead, bodies=True), ListTenantJobs(actor=ACTOR, tenant="acme"),
        CountDlq(actor=ACTOR, tenant="acme"), ListManualActs(actor=ACTOR, tenant="acme"),
    ]  # fmt: skip
    assert [type(one).__name__ for one in looks if not admin.execute(one).is_accepted] == []


def test_the_installation_may_clear_up(cases: UseCases) -> None:
    """Whoever is for all tenants cancels, discards, reschedules, pauses and limits there; only nothing runs."""
    waiting, dead = cases.dispatch(delay_seconds=60).job_id, cases.dead(invoice_id="2").job_id
    suspend(cases)
    everywhere = who(cases, Role.ADMIN)
    requeues = [type(one) for one in writes(waiting, dead) if is_suspended(everywhere, one)]
    assert requeues == [RequeueDlq]  # the dead job had been discarded before
    assert cases.topics(waiting)[-1] == "job.cancelled"
    assert cases.topics(dead)[-1] == "job.discarded"


def test_what_runs_is_brought_to_its_end(cases: UseCases) -> None:
    """A worker of that tenant tells how the attempt ended that it had begun: its effects are there."""
    cases.register_types()
    job_id = cases.dispatch().job_id
    worker = who(cases, Role.WORKER, "acme")
    (lease,) = worker.execute(ClaimJobs(actor=ACTOR, worker="w1")).unwrap().jobs
    suspend(cases)
    ended = CompleteAttempt(
        actor=ACTOR, tenant="acme", job_id=job_id, worker="w1", attempt=lease.attempt, result={"sent": 1}
    )
    assert worker.execute(ended).is_accepted
    assert cases.topics(job_id)[-1] == "job.completed"
