"""Every decision on a write, and on a read of bodies or the audit, is in the ledger: also of what was allowed and did
nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.accesses import EACH_MAX, AccessesThread
from jobledger.application.audit_messages import ListManualActs
from jobledger.application.authorization import Authorization, Authorized
from jobledger.application.commands import CancelJob, DispatchJob, DispatchJobs, RegisterJobTypes
from jobledger.application.limit_messages import SetLimits
from jobledger.application.message import Actor, Message
from jobledger.application.queries import GetJob
from jobledger.domain.audit import AccessAllowed
from jobledger.domain.event import RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Grant, Identity, Role
from tests.support.use_cases import UseCases, app, item
from tests.support.waiting import until

ACTOR = Actor(id="key:k1", address="203.0.113.7", request_id="r-1", on_behalf_of="person:ana")
NOWHERE = UUID(int=7)


@pytest.fixture
def cases() -> UseCases:
    """A ledger in memory."""
    return UseCases()


@pytest.fixture
def authorization(cases: UseCases) -> Authorization:
    """Its use cases, for identities."""
    return Authorization(cases.dispatcher, cases.ledger.ports.catalogue)


@pytest.fixture
def admin(authorization: Authorization) -> Authorized:
    """Who may do everything."""
    return authorization.of(Identity(id="key:k1", grants=(Grant(role=Role.ADMIN),)))


def recorded(cases: UseCases) -> list[RecordedEvent]:
    """The records of what was allowed."""
    events = cases.ledger.reader.read_tenant(SYSTEM_TENANT, 0, limit=10_000).events
    return [event for event in events if isinstance(event.facts, AccessAllowed)]


def cancel(cases: UseCases, **about: object) -> CancelJob:
    """Asks for a cancellation."""
    return CancelJob.model_validate({"actor": ACTOR, "tenant": "acme", "reason": "not needed", **about})


def of_another_version(cases: UseCases) -> Message[Any]:
    """Somebody saw another version of the job."""
    return cancel(cases, job=cases.dispatch().job_id, expected_version=9)


def of_a_dead_job(cases: UseCases) -> Message[Any]:
    """What is dead cannot be cancelled."""
    return cancel(cases, job=cases.dead().job_id)


def of_no_job(_cases: UseCases) -> Message[Any]:
    """There is none of that id."""
    return cancel(_cases, job=NOWHERE)


def of_no_payload(_cases: UseCases) -> Message[Any]:
    """The payload of a job that is not there."""
    return GetJob(actor=ACTOR, tenant="acme", job=NOWHERE, bodies=True)


def of_what_is_so(cases: UseCases) -> Message[Any]:
    """Limited so already."""
    cases.ask(SetLimits, tenant="acme", persona="bot", concurrency=1, reason="too loud")
    return SetLimits(actor=ACTOR, tenant="acme", persona="bot", concurrency=1, reason="again")


def of_types_that_are_known(cases: UseCases) -> Message[Any]:
    """Registered already."""
    cases.register_types()
    return RegisterJobTypes(actor=ACTOR, app=app.name, code_version=app.code_version, definitions=app.definitions)


def of_the_audit(_cases: UseCases) -> Message[Any]:
    """Who did what by hand."""
    return ListManualActs(actor=ACTOR, tenant="acme")


@pytest.mark.parametrize(
    ("asked", "permission", "outcome"),
    [
        (of_another_version, "jobs.operate", "version_conflict"), (of_a_dead_job, "jobs.operate", "illegal_transition"),
        (of_no_job, "jobs.operate", "not_found"), (of_no_payload, "payloads.read", "not_found"),
        (of_what_is_so, "queues.operate", "unchanged"), (of_types_that_are_known, "job_types.register", "unchanged"),
        (of_the_audit, "audit.read", ""),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
def test_what_is_allowed_and_leaves_no_record_is_recorded(
    cases: UseCases, admin: Authorized, asked: Callable[[UseCases], Message[Any]], permission: str, outcome: str
) -> None:
    """Once, before the answer, with who, from where, in which request and on whose behalf."""
    message = asked(cases)
    admin.execute(message)
    (event,) = recorded(cases)
    tenant = getattr(message, "tenant", "")
    assert event.facts == AccessAllowed(
        asked=type(message).__name__, permission=permission, tenant_claimed=tenant, outcome=outcome
    )
    metadata = event.metadata
    assert (metadata.actor, metadata.address, metadata.request_id, metadata.on_behalf_of) == (
        "key:k1", "203.0.113.7", "r-1", "person:ana",
    )  # fmt: skip


def test_what_is_recorded_by_what_it_does_is_not_recorded_twice(
    cases: UseCases, admin: Authorized, authorization: Authorization
) -> None:
    """Neither a change, nor a read of a payload, nor a new job, nor a refused one, nor what shows no payload."""
    job_id = cases.dispatch().job_id
    messages: list[Message[Any]] = [
        GetJob(actor=ACTOR, tenant="acme", job=job_id), GetJob(actor=ACTOR, tenant="acme", job=job_id, bodies=True),
        GetJob(actor=ACTOR, tenant="acme", job=NOWHERE), cancel(cases, job=job_id),
        DispatchJob(actor=ACTOR, item=item()), DispatchJob(actor=ACTOR, item=item(payload={})),
        DispatchJobs(actor=ACTOR, items=[item(invoice_id="7"), item(payload={})]),
    ]  # fmt: skip
    for message in messages:
        admin.execute(message)
    authorization.accesses.record_sums()
    assert recorded(cases) == []


def test_a_duplicate_is_recorded_beside_its_answer(
    cases: UseCases, admin: Authorized, authorization: Authorization
) -> None:
    """However it was asked for: its dispatch waits for no record, which follows at once."""
    again = item(idempotency_key="k")
    cases.dispatch(idempotency_key="k")
    command = DispatchJob(actor=ACTOR, item=again)
    admin.execute(command)
    assert asyncio.run(admin.execute_async(command)).unwrap().duplicate
    admin.execute(DispatchJobs(actor=ACTOR, items=iter([again, again, item(invoice_id="7")])))
    assert recorded(cases) == []
    authorization.accesses.record_waiting()
    told = [(event.facts, event.metadata.request_id) for event in recorded(cases)]
    about = {"permission": "jobs.dispatch", "tenant_claimed": "acme", "outcome": "duplicate"}
    one, many = AccessAllowed(asked="DispatchJob", **about), AccessAllowed(asked="DispatchJobs", **about, count=2)
    assert told == [(one, "r-1"), (one, "r-1"), (many, "r-1")]


def test_a_server_records_a_duplicate_at_once(cases: UseCases, admin: Authorized, authorization: Authorization) -> None:
    """Its thread is woken, and does not wait for the minute to end."""
    cases.dispatch(idempotency_key="k")
    thread = AccessesThread(authorization.accesses)
    thread.start()
    try:
        admin.execute(DispatchJob(actor=ACTOR, item=item(idempotency_key="k")))
        until(lambda: len(recorded(cases)) == 1)
    finally:
        thread.close()


def test_who_asks_without_end_does_not_fill_the_ledger(
    cases: UseCases, admin: Authorized, authorization: Authorization
) -> None:
    """What is beyond a minute's share is summed up, by what came of it; what is refused has a share of its own."""
    dead = of_a_dead_job(cases)
    for _ in range(EACH_MAX + 40):
        admin.execute(dead)
        admin.execute(of_no_job(cases))
    authorization.accesses.record_sums()
    counts = [
        (facts.outcome, facts.count) for event in recorded(cases) if isinstance(facts := event.facts, AccessAllowed)
    ]
    each, sums = counts[:EACH_MAX], counts[EACH_MAX:]
    assert [count for _, count in each] == [1] * EACH_MAX
    left = EACH_MAX + 40 - EACH_MAX // 2
    assert sorted(sums) == [("illegal_transition", left), ("not_found", left)]
