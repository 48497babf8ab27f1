"""Workers over the network: what their identities may work for goes along with what they ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.authorization import Authorization, Authorized
from jobledger.application.lease_messages import ClaimJobs, CompleteAttempt, LeasedJob, RenewLeases, WorkScope
from jobledger.application.message import Actor, Message
from jobledger.application.result import Refused
from jobledger.domain.audit import AccessRefused
from jobledger.domain.errors import LeaseLost, NotPermitted, UnknownTenant
from jobledger.domain.identity import Grant, Identity, Role
from tests.support.use_cases import UseCases

ACTOR = Actor(id="key:k1")


@pytest.fixture
def cases() -> UseCases:
    """A ledger in memory whose registry knows the types."""
    cases = UseCases()
    cases.register_types()
    return cases


def grant(role: Role, tenants: Iterable[str] | None = None, queues: Iterable[str] | None = None) -> Grant:
    """A role, for tenants and queues."""
    return Grant(
        role=role, tenants=None if tenants is None else frozenset(tenants),
        queues=None if queues is None else frozenset(queues),
    )  # fmt: skip


def who(cases: UseCases, *grants: Grant, technical: bool = True) -> Authorized:
    """An identity with these grants."""
    authorization = Authorization(cases.dispatcher, cases.ledger.ports.catalogue)
    return authorization.of(Identity(id="key:k1", grants=grants, technical=technical))


def claim(by: Authorized, **wishes: Any) -> tuple[LeasedJob, ...]:  # noqa: ANN401
    """The jobs that a claim brings."""
    return by.execute(ClaimJobs(actor=ACTOR, worker="w1", limit=10, **wishes)).unwrap().jobs


def error_of(by: Authorized, message: Message[Any]) -> type[Exception]:
    """Why a message was refused."""
    result = by.execute(message)
    assert isinstance(result, Refused), result
    return type(result.error)


def test_a_worker_gets_jobs_of_its_tenants_only(cases: UseCases) -> None:
    """What it may work for goes along, whatever it says itself; other grants of the identity count for nothing."""
    mine = cases.dispatch().job_id
    cases.dispatch(tenant="other")
    by = who(cases, grant(Role.WORKER, ["acme"]), grant(Role.EMITTER))
    assert [job.job_id for job in claim(by, scopes=(WorkScope(),))] == [mine]


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.WORKER])
def test_who_is_no_worker_works_for_nobody(cases: UseCases, role: Role) -> None:
    """It is refused, and that is recorded: claiming shows payloads."""
    by = who(cases, grant(role))
    assert error_of(by, ClaimJobs(actor=ACTOR, worker="w1")) is NotPermitted
    assert error_of(by, RenewLeases(actor=ACTOR, worker="w1", held=())) is NotPermitted
    refused = [event.facts for event in cases.ledger.reader.read_after(0, limit=1_000).events][-2:]
    assert [one.asked for one in refused if isinstance(one, AccessRefused)] == ["ClaimJobs", "RenewLeases"]


def test_a_person_never_works(cases: UseCases) -> None:
    """Technical identities only."""
    person = who(cases, grant(Role.WORKER), technical=False)
    assert error_of(person, ClaimJobs(actor=ACTOR, worker="w1")) is NotPermitted


def test_a_queue_or_tenant_without_a_grant_is_refused(cases: UseCases) -> None:
    """A tenant that is no business of it is one that does not exist."""
    by = who(cases, grant(Role.WORKER, ["acme"], ["default"]), grant(Role.AUDITOR, ["third"]))
    assert error_of(by, ClaimJobs(actor=ACTOR, worker="w1", queues=("keyed",))) is NotPermitted
    assert error_of(by, ClaimJobs(actor=ACTOR, worker="w1", tenants=frozenset({"third"}))) is NotPermitted
    for tenant in ("other", "nobody"):
        assert error_of(by, ClaimJobs(actor=ACTOR, worker="w1", tenants=frozenset({tenant}))) is UnknownTenant


def test_an_attempt_of_another_tenant_is_as_absent_as_its_tenant(cases: UseCases) -> None:
    """The same answer for a tenant that exists and one that does not; within its own, a lease that it does not hold."""
    job_id = cases.dispatch(tenant="other").job_id
    (job,) = claim(who(cases, grant(Role.WORKER)))
    by = who(cases, grant(Role.WORKER, ["acme"]))

    def ending(tenant: str, of: UUID) -> CompleteAttempt:
        return CompleteAttempt(actor=ACTOR, worker="w1", tenant=tenant, job_id=of, attempt=job.attempt)

    assert error_of(by, ending("other", job_id)) is error_of(by, ending("nobody", job_id)) is UnknownTenant
    assert error_of(by, ending("acme", job_id)) is LeaseLost
