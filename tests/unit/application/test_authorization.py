"""Who may do what: messages of identities, on a ledger in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import pytest

from jobledger.application import limits
from jobledger.application.authorization import Authorization, Authorized
from jobledger.application.commands import (
    CancelJob,
    CreateTenant,
    DispatchJob,
    DispatchJobs,
    Receipt,
    RequeueJob,
    RescheduleJob,
    ResumeTenant,
    SuspendTenant,
)
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.dlq_messages import DiscardDlq
from jobledger.application.limit_messages import (
    ExplainJob,
    GetLimitHistory,
    HoldKind,
    PauseTarget,
    RemoveLimits,
    ResumeTarget,
    SetLimits,
)
from jobledger.application.message import Actor, Message
from jobledger.application.needs import NEEDS, Scope
from jobledger.application.ports import Freshness, HorizonHold
from jobledger.application.queries import CausingEvent, GetCauses, GetJob, JobList, ListTenantJobs, ListTenants
from jobledger.application.result import Accepted, Refused, Result
from jobledger.domain.audit import AccessRefused
from jobledger.domain.errors import (
    IdempotencyConflict,
    InvalidInput,
    JobledgerError,
    NotFound,
    NotPermitted,
    UnknownTenant,
)
from jobledger.domain.identity import EXTRA_PERMISSIONS, Grant, Identity, Permission, Role
from jobledger.infrastructure.system import RandomIdentifiers
from tests.support.use_cases import UseCases, item

ACTOR = Actor(id="key:k1", address="203.0.113.7", request_id="r-1", on_behalf_of="person:ana")


@pytest.fixture
def cases() -> UseCases:
    """A ledger in memory."""
    return UseCases()


@pytest.fixture
def authorization(cases: UseCases) -> Authorization:
    """Its use cases, for identities."""
    return Authorization(cases.dispatcher, cases.ledger.ports.catalogue)


def who(
    authorization: Authorization, role: Role, *, tenants: Iterable[str] | None = ("acme",),
    queues: Iterable[str] | None = None, extra: Iterable[Permission] = (), technical: bool = True,
) -> Authorized:  # fmt: skip
    """An identity with one grant."""
    grant = Grant(
        role=role, tenants=None if tenants is None else frozenset(tenants),
        queues=None if queues is None else frozenset(queues), extra=frozenset(extra),
    )  # fmt: skip
    return authorization.of(Identity(id="key:k1", grants=(grant,), technical=technical))


def error_of(by: Authorized, message: Message[Any]) -> JobledgerError:
    """Why a message was refused."""
    result = by.execute(message)
    assert isinstance(result, Refused), result
    return result.error


def refused_access(cases: UseCases) -> list[AccessRefused]:
    """What was recorded."""
    events = cases.ledger.reader.read_after(0, limit=100_000).events
    return [event.facts for event in events if isinstance(event.facts, AccessRefused)]


def test_every_message_says_what_it_needs(cases: UseCases) -> None:
    """A message without a line in the table would be for nobody; one that has none is a mistake."""
    missing = {message.__name__ for message in cases.dispatcher.messages if message not in NEEDS}
    assert not missing


def test_what_nobody_thought_of_is_for_nobody(cases: UseCases) -> None:
    """A message without a line is refused even to an administrator."""
    nothing_known = Authorization(cases.dispatcher, cases.ledger.ports.catalogue, needs={})
    admin = who(nothing_known, Role.ADMIN, tenants=None)
    assert type(error_of(admin, ListTenants(actor=ACTOR))) is NotPermitted


@pytest.mark.parametrize("message_type", sorted(NEEDS, key=str), ids=str)
def test_no_role_is_above_what_is_needed(
    cases: UseCases, authorization: Authorization, message_type: type[Message[Any]]
) -> None:
    """Each message is refused to an identity whose grants permit nothing of what it needs."""
    need = NEEDS[message_type]
    if need.scope is Scope.OWN:
        return
    powerless = authorization.of(Identity(id="key:k1", grants=()))
    if message_type is DispatchJobs:
        bulk = powerless.execute(DispatchJobs(actor=ACTOR, items=[item()]))
        assert isinstance(bulk, Accepted)
        assert bulk.value.refused == 1
        return
    fields: dict[str, Any] = {"tenant": "acme", "name": "acme", "bodies": False, "job": UUID(int=1), "item": item()}
    message = message_type.model_construct(None, actor=ACTOR, **fields)
    assert type(error_of(powerless, message)) in (UnknownTenant, NotPermitted)


def test_another_tenant_is_as_absent_as_none(cases: UseCases, authorization: Authorization) -> None:
    """A job of another tenant, named by that tenant, answers like one of a tenant that does not exist."""
    job_id = cases.dispatch(tenant="other").job_id
    operator = who(authorization, Role.OPERATOR)
    there = error_of(operator, GetJob(actor=ACTOR, tenant="other", job=job_id))
    nowhere = error_of(operator, GetJob(actor=ACTOR, tenant="nobody", job=job_id))
    assert type(there) is type(nowhere) is UnknownTenant
    assert str(there).replace("other", "nobody") == str(nowhere)


def test_anothers_job_under_ones_own_name_is_absent(cases: UseCases, authorization: Authorization) -> None:
    """The id of another tenant's job answers like an id that nobody has."""
    job_id = cases.dispatch(tenant="other").job_id
    operator = who(authorization, Role.OPERATOR)
    error = error_of(operator, GetJob(actor=ACTOR, tenant="acme", job=job_id))
    absent = error_of(operator, GetJob(actor=ACTOR, tenant="acme", job=UUID(int=7)))
    assert type(error) is type(absent) is NotFound
    assert str(error).replace(str(job_id), str(UUID(int=7))) == str(absent)


def test_what_is_refused_is_recorded(cases: UseCases, authorization: Authorization) -> None:
    """Who, from where, in which request, on whose behalf, and what was missing."""
    job_id = cases.dead().job_id
    operator = who(authorization, Role.OPERATOR)
    error = error_of(operator, RequeueJob(actor=ACTOR, tenant="acme", job=job_id, reason="again"))
    assert isinstance(error, NotPermitted)
    assert error.permission == "dlq.requeue"
    (event,) = [
        event
        for event in cases.ledger.reader.read_after(0, limit=1_000).events
        if isinstance(event.facts, AccessRefused)
    ]
    assert event.facts == AccessRefused(asked="RequeueJob", permission="dlq.requeue", tenant_claimed="acme")
    metadata = event.metadata
    assert (metadata.actor, metadata.address, metadata.request_id, metadata.on_behalf_of) == (
        "key:k1", "203.0.113.7", "r-1", "person:ana",
    )  # fmt: skip


@pytest.mark.parametrize("extra", sorted(EXTRA_PERMISSIONS))
def test_some_permissions_are_granted_by_name(cases: UseCases, authorization: Authorization, extra: Permission) -> None:
    """An operator neither sees payloads nor requeues, unless that is granted beside the role."""
    job_id = cases.dead().job_id
    messages: dict[Permission, Message[Any]] = {
        Permission.READ_PAYLOADS: GetJob(actor=ACTOR, tenant="acme", job=job_id, bodies=True),
        Permission.REQUEUE: RequeueJob(actor=ACTOR, tenant="acme", job=job_id, reason="again"),
    }
    without, beside = who(authorization, Role.OPERATOR), who(authorization, Role.OPERATOR, extra=[extra])
    for permission, message in messages.items():
        assert isinstance(without.execute(message), Refused)
        assert beside.execute(message).is_accepted is (permission is extra)
    assert [facts.permission for facts in refused_access(cases)] == [
        permission for one in messages for permission in ([one] if one is extra else [one, one])
    ]


@pytest.mark.parametrize(
    "edit", [{"put": {"/invoice_id": "7"}}, {"without": ("/nowhere",)}, {"payload": {"invoice_id": "42"}}], ids=str
)
def test_who_may_not_see_a_payload_may_not_edit_it(
    cases: UseCases, authorization: Authorization, edit: dict[str, Any]
) -> None:  # fmt: skip
    """What fits it, and what changed, would tell what is in it; the answer is the same whether it fits or not."""
    job_id = cases.dead().job_id
    message = RequeueJob(actor=ACTOR, tenant="acme", job=job_id, reason="mended", **edit)
    blind = who(authorization, Role.OPERATOR, extra=[Permission.REQUEUE])
    error = error_of(blind, message)
    assert isinstance(error, NotPermitted)
    assert [facts.permission for facts in refused_access(cases)] == [error.permission] == ["payloads.read"]
    seeing = who(authorization, Role.OPERATOR, extra=[Permission.REQUEUE, Permission.READ_PAYLOADS])
    assert not isinstance(getattr(seeing.execute(message), "error", None), NotPermitted)


def test_queues_bound_what_is_dispatched(cases: UseCases, authorization: Authorization) -> None:
    """The queue that counts is the one that the options resolve to."""
    emitter = who(authorization, Role.EMITTER, queues=["special"])
    assert type(error_of(emitter, DispatchJob(actor=ACTOR, item=item()))) is NotPermitted
    assert emitter.execute(DispatchJob(actor=ACTOR, item=item(queue="special"))).is_accepted
    bulk = emitter.execute(DispatchJobs(actor=ACTOR, items=[item(), item(queue="special"), item(tenant="other")]))
    assert isinstance(bulk, Accepted)
    kinds = [type(one.result.error) if isinstance(one.result, Refused) else Accepted for one in bulk.value.results]
    assert kinds == [NotPermitted, Accepted, UnknownTenant]


def at_once(emitter: Authorized, command: DispatchJob) -> Result[Receipt]:
    """The answer to who does not wait for it."""
    allowed = emitter.at_once(command)
    assert allowed is not None
    return asyncio.run(emitter.execute_async(allowed))


@pytest.mark.parametrize("payload", [{"invoice_id": "42"}, {"invoice_id": "43"}], ids=["same", "other"])
def test_queues_bound_which_jobs_had_a_key(
    cases: UseCases, authorization: Authorization, payload: dict[str, str]
) -> None:  # fmt: skip
    """A job of another queue that used it before is not named, whatever its payload, however it was asked for."""
    hidden = cases.dispatch(idempotency_key="k").job_id
    emitter = who(authorization, Role.EMITTER, queues=["special"])
    asked = item(queue="special", idempotency_key="k", payload=payload)
    command = DispatchJob(actor=ACTOR, item=asked)
    told = [error_of(emitter, command)]
    begun = at_once(emitter, command)
    assert isinstance(begun, Refused)
    bulk = emitter.execute(DispatchJobs(actor=ACTOR, items=[asked, item(queue="special", invoice_id="7")]))
    assert isinstance(bulk, Accepted)
    told += [begun.error, *[one.result.error for one in bulk.value.results if isinstance(one.result, Refused)]]
    assert [(type(error), getattr(error, "job_id", "")) for error in told] == [(IdempotencyConflict, None)] * 3
    assert not [error for error in told if str(hidden) in str(error)]
    assert bulk.value.accepted == 1


def test_a_key_of_ones_own_queue_gives_the_first_job_back(cases: UseCases, authorization: Authorization) -> None:
    """To whoever is limited to that queue, as to everybody."""
    first = cases.dispatch(idempotency_key="k", queue="special").job_id
    emitter = who(authorization, Role.EMITTER, queues=["special"])
    command = DispatchJob(actor=ACTOR, item=item(queue="special", idempotency_key="k"))
    receipts = [emitter.execute(command).unwrap(), at_once(emitter, command).unwrap()]
    assert [(receipt.job_id, receipt.duplicate) for receipt in receipts] == [(first, True)] * 2


def test_queues_bound_what_is_seen(cases: UseCases, authorization: Authorization) -> None:
    """A job of another queue is absent, and a list that does not name an own queue is refused."""
    hidden, seen = cases.dispatch(invoice_id="1").job_id, cases.dispatch(invoice_id="2", queue="special").job_id
    operator = who(authorization, Role.OPERATOR, queues=["special"])
    assert operator.execute(GetJob(actor=ACTOR, tenant="acme", job=seen)).is_accepted
    assert type(error_of(operator, GetJob(actor=ACTOR, tenant="acme", job=hidden))) is NotFound
    assert type(error_of(operator, CancelJob(actor=ACTOR, tenant="acme", job=hidden, reason="no"))) is NotFound
    assert cases.topics(hidden) == ["job.dispatched"]
    assert type(error_of(operator, ListTenantJobs(actor=ACTOR, tenant="acme"))) is NotPermitted
    assert operator.execute(PauseTarget(actor=ACTOR, tenant="acme", queue="special", reason="x")).is_accepted is False


def test_who_is_for_some_queues_is_told_to_name_one(authorization: Authorization) -> None:
    """Where naming one helps: not where he named another, may do it in no queue, or nothing has a queue."""
    operator, emitter = (who(authorization, role, queues=["special"]) for role in (Role.OPERATOR, Role.EMITTER))
    told = error_of(operator, ListTenantJobs(actor=ACTOR, tenant="acme"))
    assert told.hint == "this key or token is for some queues: name one of them as `queue`"
    for by, message in (
        (operator, ListTenantJobs(actor=ACTOR, tenant="acme", queue="other")),
        (emitter, DiscardDlq(actor=ACTOR, tenant="acme", reason="x", confirmed=1)),
        (operator, SuspendTenant(actor=ACTOR, name="acme", reason="x")),
    ):
        error = error_of(by, message)
        assert type(error) is NotPermitted and "queue`" not in str(error.hint)


def test_queues_bound_what_has_to_do_with_a_job(cases: UseCases, authorization: Authorization) -> None:
    """Of what caused a job, and what it caused, only as much as lies in the identity's own queues."""
    hidden = cases.dispatch(invoice_id="1").job_id
    seen = cases.dispatch(invoice_id="2", queue="special", causation_id=f"{hidden}.1").job_id
    caused = [cases.dispatch(invoice_id=str(n), queue=queue, causation_id=f"{seen}.1").job_id
              for n, queue in ((3, "special"), (4, None))]  # fmt: skip
    operator = who(authorization, Role.OPERATOR, queues=["special"])
    bounded = operator.execute(GetCauses(actor=ACTOR, tenant="acme", job=seen)).unwrap()
    assert (bounded.cause, [job.job_id for job in bounded.caused]) == (CausingEvent(f"{hidden}.1", None), caused[:1])
    everything = who(authorization, Role.OPERATOR).execute(GetCauses(actor=ACTOR, tenant="acme", job=seen)).unwrap()
    assert everything.cause is not None
    assert everything.cause.event is not None
    assert {job.job_id for job in everything.caused} == set(caused)


def test_a_tenants_administrator_is_none_of_the_installation(cases: UseCases, authorization: Authorization) -> None:
    """Own tenants are seen; none is made, suspended, resumed, paused or limited: the installation does that."""
    admin = who(authorization, Role.ADMIN)
    listed = admin.execute(ListTenants(actor=ACTOR))
    assert isinstance(listed, Accepted)
    assert [row.name for row in listed.value] == ["acme"]
    assert type(error_of(admin, CreateTenant(actor=ACTOR, name="third"))) is NotPermitted
    assert type(error_of(admin, SuspendTenant(actor=ACTOR, name="other", reason="x"))) is UnknownTenant
    cases.ask(SuspendTenant, name="acme", reason="unpaid")
    cases.ask(PauseTarget, tenant="acme", reason="too loud")
    imposed: list[Message[Any]] = [
        ResumeTenant(actor=ACTOR, name="acme", reason="x"), SuspendTenant(actor=ACTOR, name="acme", reason="x"),
        ResumeTarget(actor=ACTOR, tenant="acme", reason="x"), PauseTarget(actor=ACTOR, tenant="acme", reason="x"),
        SetLimits(actor=ACTOR, tenant="acme", weight=100, reason="x"),
        RemoveLimits(actor=ACTOR, tenant="acme", reason="x"),
    ]  # fmt: skip
    assert {type(error_of(admin, message)) for message in imposed} == {NotPermitted}
    everywhere = who(authorization, Role.ADMIN, tenants=None)
    assert everywhere.execute(imposed[0]).is_accepted and everywhere.execute(imposed[2]).is_accepted


@pytest.mark.parametrize("named", [{"persona": "bot"}, {"key": "gateway:7"}], ids=str)
def test_personas_and_keys_are_the_tenants_own(
    cases: UseCases, authorization: Authorization, named: dict[str, str]
) -> None:  # fmt: skip
    """Its operators limit, pause and resume them."""
    operator = who(authorization, Role.OPERATOR)
    about: dict[str, Any] = {"actor": ACTOR, "tenant": "acme", "reason": "x", **named}
    done = (SetLimits(concurrency=1, **about), RemoveLimits(**about), PauseTarget(**about), ResumeTarget(**about))
    for message in done:
        assert operator.execute(message).is_accepted


@pytest.mark.parametrize("named", [{"persona": "bot"}, {"key": "gateway:7"}], ids=str)
def test_what_the_installation_did_to_a_persona_or_key_stays(
    cases: UseCases, authorization: Authorization, named: dict[str, str]
) -> None:  # fmt: skip
    """Until the installation undoes it: the tenant's operators are refused, on record."""
    operator, everywhere = who(authorization, Role.OPERATOR), who(authorization, Role.OPERATOR, tenants=None)
    about: dict[str, Any] = {"actor": ACTOR, "tenant": "acme", "reason": "x", **named}
    assert everywhere.execute(PauseTarget(**about)).is_accepted
    assert everywhere.execute(SetLimits(concurrency=1, **about)).is_accepted
    undoing = (ResumeTarget(**about), SetLimits(concurrency=50, **about), RemoveLimits(**about))
    assert {type(error_of(operator, message)) for message in undoing} == {NotPermitted}
    assert [facts.asked for facts in refused_access(cases)] == ["ResumeTarget", "SetLimits", "RemoveLimits"]
    for message in (ResumeTarget(**about), RemoveLimits(**about)):
        assert everywhere.execute(message).is_accepted
    assert operator.execute(PauseTarget(**about)).is_accepted


def test_what_was_imposed_on_keys_with_a_beginning_is_not_evaded(cases: UseCases, authorization: Authorization) -> None:
    """Limits of one of the keys would stand in the place of the limits of all; a pause of it would not."""
    operator = who(authorization, Role.OPERATOR)
    cases.ask(SetLimits, tenant="acme", key="gateway:*", concurrency=1, reason="agreed")
    one: dict[str, Any] = {"actor": ACTOR, "tenant": "acme", "key": "gateway:7", "reason": "x"}
    assert type(error_of(operator, SetLimits(concurrency=50, **one))) is NotPermitted
    assert operator.execute(PauseTarget(**one)).is_accepted and operator.execute(ResumeTarget(**one)).is_accepted
    other = SetLimits(actor=ACTOR, tenant="acme", key="other:7", concurrency=50, reason="x")
    assert operator.execute(other).is_accepted


def test_the_installations_reasons_are_not_told_to_tenants(cases: UseCases, authorization: Authorization) -> None:
    """They may be about other customers: a tenant's identity sees that it was the installation, and when."""
    job = cases.dispatch(persona="bot").job_id
    secret = {"tenant": "acme", "reason": "to make room for other"}
    cases.ask(PauseTarget, **secret)
    cases.ask(PauseTarget, queue="default", reason="to make room for other")
    reader, everywhere = who(authorization, Role.EMITTER), who(authorization, Role.OPERATOR, tenants=None)
    explained = reader.execute(ExplainJob(actor=ACTOR, tenant="acme", job=job)).unwrap()
    assert [hold.text for hold in explained.holds if hold.kind is HoldKind.PAUSED] == [
        f"{target} is paused since 2026-03-02 12:00:00 UTC by the installation"
        for target in ("queue default", "tenant acme")
    ]
    past = reader.execute(GetLimitHistory(actor=ACTOR, tenant="acme")).unwrap()
    assert past.state.paused and "room" not in repr(past) and "service:test" not in repr(past)
    messages: tuple[Message[Any], ...] = (
        ExplainJob(actor=ACTOR, tenant="acme", job=job), GetLimitHistory(actor=ACTOR, tenant="acme")
    )  # fmt: skip
    for message in messages:
        assert "to make room for other" in repr(everywhere.execute(message).unwrap())


def test_a_tenants_own_limits_have_an_end(
    cases: UseCases, authorization: Authorization, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Every claim looks at all of them; those that are there are changed, and the installation may set more."""
    monkeypatch.setattr(limits, "OWN_MAX", 2)
    operator, everywhere = who(authorization, Role.OPERATOR), who(authorization, Role.OPERATOR, tenants=None)

    def limited(key: str, concurrency: int = 1) -> SetLimits:
        return SetLimits(actor=ACTOR, tenant="acme", key=key, concurrency=concurrency, reason="x")

    for message in (limited("a"), limited("b"), limited("b", 2)):
        assert operator.execute(message).is_accepted
    assert type(error_of(operator, limited("c"))) is InvalidInput
    assert everywhere.execute(limited("c")).is_accepted
    assert operator.execute(RemoveLimits(actor=ACTOR, tenant="acme", key="a", reason="x")).is_accepted


def test_whose_transaction_holds_a_list_back_is_not_told_to_tenants(cases: UseCases) -> None:
    """Since when, that is told; its program and login may be another customer's."""
    now = cases.clock.now()
    hold = HorizonHold(now, 3.0, 4711, "billing of other", "other_login", "idle in transaction", None)
    page = JobList((), None, Freshness(1, 2, now, hold=hold))
    held = Dispatcher(cases.clock, RandomIdentifiers())
    held.register(ListTenantJobs, lambda _query, _flow: Accepted(page))
    authorization = Authorization(held, cases.ledger.ports.catalogue)
    query = ListTenantJobs(actor=ACTOR, tenant="acme")
    shown = who(authorization, Role.EMITTER).execute(query).unwrap().freshness.hold
    assert shown == hold._replace(pid=None, application=None, login=None, state=None)
    assert who(authorization, Role.OPERATOR, tenants=None).execute(query).unwrap() == page


def test_a_tenants_own_reasons_are_told(cases: UseCases, authorization: Authorization) -> None:
    """Who of the tenant's own paused a persona, and why."""
    job = cases.dispatch(persona="bot").job_id
    operator = who(authorization, Role.OPERATOR)
    pause = PauseTarget(actor=ACTOR, tenant="acme", persona="bot", reason="it repeats itself")
    assert operator.execute(pause).is_accepted
    messages: tuple[Message[Any], ...] = (
        ExplainJob(actor=ACTOR, tenant="acme", job=job), GetLimitHistory(actor=ACTOR, tenant="acme", persona="bot")
    )  # fmt: skip
    for message in messages:
        told = repr(operator.execute(message).unwrap())
        assert "it repeats itself" in told and ACTOR.id in told


def test_queues_bound_what_holds_a_job(cases: UseCases, authorization: Authorization) -> None:
    """A job of another queue that holds a lock key is not named."""
    locked = {"job_type": "invoice.locked", "invoice_id": "1"}
    holder, seen = cases.dispatch(**locked).job_id, cases.dispatch(**locked, queue="special").job_id
    cases.claim()
    explain = ExplainJob(actor=ACTOR, tenant="acme", job=seen)
    bounded = who(authorization, Role.OPERATOR, queues=["special"]).execute(explain).unwrap()
    held = [(hold.text, hold.job_id) for hold in bounded.holds if hold.kind is HoldKind.LOCKED]
    assert held == [("lock key invoice:1 is held by a job in another queue, which runs", None)]
    for queues in (None, ["special", "default"]):
        told = who(authorization, Role.OPERATOR, queues=queues).execute(explain).unwrap()
        assert holder in {hold.job_id for hold in told.holds}


def test_who_reaches_for_another_tenant_is_recorded(cases: UseCases, authorization: Authorization) -> None:
    """What would have changed something there, or shown payloads: whether there is such a tenant or not."""
    operator = who(authorization, Role.OPERATOR)
    for tenant in ("other", "nobody"):
        error_of(operator, CancelJob(actor=ACTOR, tenant=tenant, job=UUID(int=1), reason="x"))
        error_of(operator, GetJob(actor=ACTOR, tenant=tenant, job=UUID(int=1), bodies=True))
        error_of(operator, GetJob(actor=ACTOR, tenant=tenant, job=UUID(int=1)))
    assert [(facts.asked, facts.tenant_claimed) for facts in refused_access(cases)] == [
        ("CancelJob", "other"), ("GetJob", "other"), ("CancelJob", "nobody"), ("GetJob", "nobody"),
    ]  # fmt: skip


def test_a_person_is_no_worker(authorization: Authorization) -> None:
    """Technical identities only: a role for workers permits a person nothing of theirs."""
    grant = Grant(role=Role.WORKER)
    assert Identity(id="service:w", grants=(grant,)).permits(Permission.WORK, "acme", "default")
    assert not Identity(id="person:a", grants=(grant,), technical=False).permits(Permission.WORK, "acme", "default")


def test_reading_facts_is_refused_without_a_record(cases: UseCases, authorization: Authorization) -> None:
    """Writes, bodies and the audit are recorded; who may not see a list is told so, no more."""
    worker = who(authorization, Role.WORKER)
    assert type(error_of(worker, ListTenantJobs(actor=ACTOR, tenant="acme"))) is NotPermitted
    assert refused_access(cases) == []
    reschedule = RescheduleJob(actor=ACTOR, tenant="acme", job=UUID(int=1), reason="x")
    assert type(error_of(worker, reschedule)) is NotPermitted
    assert [facts.asked for facts in refused_access(cases)] == ["RescheduleJob"]
