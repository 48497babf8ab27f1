"""Limits and pauses as use cases: audited, refused where they make no sense, and seen by whoever lists them."""

from __future__ import annotations

from typing import Any

import pytest

from jobledger.application.client import LedgerClient
from jobledger.application.limit_messages import (
    GetLimitHistory,
    ListLimits,
    ListQueues,
    PauseTarget,
    RemoveLimits,
    ResumeTarget,
    SetLimits,
    TargetChanged,
)
from jobledger.application.ports import WakeUp
from jobledger.application.wake_up_listener import ANY_QUEUE, waking
from jobledger.application.writes import LimitRow
from jobledger.domain.errors import (
    IllegalTransition,
    InvalidInput,
    LedgerBusy,
    ProtectedTenant,
    ReasonRequired,
    Refusal,
    UnknownTenant,
)
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import FlowState, Limits, Rate, Scope, Target, queue_target, tenant_target
from tests.support.use_cases import ACTOR, UseCases

BOT = Target(Scope.PERSONA, "acme", "billing-bot")
WHY = {"reason": "agreed"}
RATE = Rate(count=100, seconds=60)
COMMANDS = [SetLimits, RemoveLimits, PauseTarget, ResumeTarget]
NAMED: dict[str, tuple[dict[str, str], Target]] = {
    "queue": ({"queue": "billing"}, queue_target("billing")),
    "tenant": ({"tenant": "acme"}, tenant_target("acme")),
    "persona": ({"tenant": "acme", "persona": "billing-bot"}, BOT),
    "key": ({"tenant": "acme", "key": "gateway:*"}, Target(Scope.KEY, "acme", "gateway:*")),
}
TARGETS = pytest.mark.parametrize(("named", "target"), NAMED.values(), ids=NAMED)


def fields_of(command: type[object], **fields: object) -> dict[str, Any]:
    """The fields that a command about limits takes at least."""
    return {**fields, **({"concurrency": 1} if command is SetLimits else {})}


# --- commands --------------------------------------------------------------------------------------------------------


@TARGETS
def test_limits_are_set_and_recorded(named: dict[str, str], target: Target) -> None:
    """With who and why, in the target's own stream; the catalogue shows them at once."""
    cases = UseCases()
    changed = cases.ask(SetLimits, **named, concurrency=5, rate=RATE, **WHY)
    assert changed[:3] == (target, FlowState(Limits(concurrency=5, rate=RATE)), True)
    (event,) = cases.ledger.reader.stream(target.tenant, target.stream)
    assert (event.topic, event.metadata.actor) == (f"{target.scope}.limited", ACTOR.id)
    assert cases.ask(ListLimits) == (LimitRow(target, changed.state),)


@TARGETS
def test_what_is_not_named_stays(named: dict[str, str], target: Target) -> None:
    """A rate set later lifts no concurrency, a pause changes neither, and all of it can be taken away again."""
    cases = UseCases()
    cases.ask(SetLimits, **named, concurrency=5, **WHY)
    assert cases.ask(SetLimits, **named, rate=RATE, **WHY).state == FlowState(Limits(concurrency=5, rate=RATE))
    assert cases.ask(PauseTarget, **named, **WHY).state == FlowState(Limits(concurrency=5, rate=RATE), paused=True)
    only_rate = cases.ask(RemoveLimits, **named, concurrency=True, **WHY)
    assert only_rate.state == FlowState(Limits(rate=RATE), paused=True)
    assert cases.ask(ResumeTarget, **named, **WHY).state == FlowState(Limits(rate=RATE))
    assert cases.ask(RemoveLimits, **named, **WHY) == TargetChanged(target, FlowState())
    assert cases.ask(ListLimits) == ()


def test_a_weight_is_a_tenants() -> None:
    """It stands beside the other limits and is removed by itself."""
    cases = UseCases()
    cases.ask(SetLimits, tenant="acme", concurrency=5, **WHY)
    assert cases.ask(SetLimits, tenant="acme", weight=5, **WHY).state.limits == Limits(concurrency=5, weight=5)
    assert cases.ask(RemoveLimits, tenant="acme", weight=True, **WHY).state.limits == Limits(concurrency=5)
    assert cases.refused(InvalidInput, SetLimits, queue="billing", weight=5, **WHY).field == "weight"


def test_what_is_so_already_is_said_and_not_recorded() -> None:
    """The same limits again are accepted and change nothing; a pause of what is paused is refused."""
    cases = UseCases()
    cases.ask(SetLimits, queue="billing", concurrency=5, **WHY)
    assert not cases.ask(SetLimits, queue="billing", concurrency=5, **WHY).changed
    assert not cases.ask(RemoveLimits, queue="keyed", **WHY).changed
    cases.ask(PauseTarget, queue="billing", **WHY)
    assert cases.refused(IllegalTransition, PauseTarget, queue="billing", **WHY).status == "paused"
    cases.refused(IllegalTransition, ResumeTarget, queue="keyed", **WHY)
    assert len(cases.ask(GetLimitHistory, queue="billing").events) == 2


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
@pytest.mark.parametrize(
    ("fields", "refusal", "field"),
    [
        ({"queue": "billing"}, ReasonRequired, "reason"),
        ({"tenant": "acme", "reason": " "}, ReasonRequired, "reason"),
        ({**WHY}, InvalidInput, "target"),
        ({"persona": "bot", **WHY}, InvalidInput, "tenant"),
        ({"queue": "billing", "tenant": "acme", **WHY}, InvalidInput, "queue"),
        ({"tenant": "nobody", **WHY}, UnknownTenant, "tenant"),
        ({"tenant": "nobody", "persona": "bot", **WHY}, UnknownTenant, "tenant"),
        ({"tenant": "system", **WHY}, ProtectedTenant, "tenant"),
        ({"tenant": "system", "key": "k", **WHY}, ProtectedTenant, "tenant"),
        ({"queue": "Not A Queue", **WHY}, InvalidInput, "queue"),
        ({"tenant": "acme", "persona": "no\x00persona", **WHY}, InvalidInput, "persona"),
        ({"tenant": "acme", "key": "", **WHY}, InvalidInput, "key"),
    ],
)
def test_what_makes_no_sense_is_refused(
    command: type[Any], fields: dict[str, str], refusal: type[Refusal], field: str
) -> None:
    """Each refusal names the field; nothing is recorded."""
    cases = UseCases()
    head = cases.ledger.reader.head()
    assert cases.refused(refusal, command, **fields_of(command, **fields)).field == field
    assert cases.ledger.reader.head() == head


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({}, "limits"), ({"concurrency": 0}, "concurrency"), ({"weight": 101}, "weight"),
        ({"rate": {"count": 0, "seconds": 1}}, "rate.count"),
    ],
)  # fmt: skip
def test_limits_out_of_bounds_are_refused(limits: dict[str, object], field: str) -> None:
    """Limiting to nothing is a pause, and saying nothing is a slip."""
    assert UseCases().refused(InvalidInput, SetLimits, tenant="acme", **limits, **WHY).field == field


def test_a_suspended_tenant_may_be_limited() -> None:
    """It may come back."""
    cases = UseCases()
    client(cases).tenants.suspend("acme", reason="unpaid")
    assert cases.ask(SetLimits, tenant="acme", concurrency=1, **WHY).changed


def test_a_decision_is_taken_anew_when_the_target_changed_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody pauses the queue between reading and saving: the limits are set all the same, and the pause stays."""
    cases = UseCases()
    target, read = queue_target("billing"), cases.ledger.reader.stream
    meanwhile: list[object] = ["a pause"]

    def stream(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - goes through
        stored = read(*arguments, **options)
        if meanwhile and arguments[1] == target.stream:
            meanwhile.clear()
            cases.ask(PauseTarget, queue="billing", **WHY)
        return stored

    monkeypatch.setattr(cases.ledger.reader, "stream", stream)
    changed = cases.ask(SetLimits, queue="billing", concurrency=5, **WHY)
    assert changed.state == FlowState(Limits(concurrency=5), paused=True)
    assert [event.topic for event in read(target.tenant, target.stream)] == ["queue.paused", "queue.limited"]


# --- what follows ----------------------------------------------------------------------------------------------------


class Hints:
    """Notes what workers are told."""

    def __init__(self) -> None:
        self.queues: list[frozenset[str]] = []

    def notify(self, queues: frozenset[str]) -> None:
        """Somebody says that jobs may start."""
        self.queues.append(queues)

    def wait(self, timeout_seconds: float) -> bool:
        """Nobody waits here."""
        return False

    def close(self) -> None:
        """Nothing is held."""


def test_workers_are_woken_when_jobs_may_start_again() -> None:
    """After a resume and a change of limits, not after a pause; jobs of a tenant may wait in any queue."""
    cases, hints = UseCases(), Hints()
    wake_up: WakeUp = hints
    cases.ledger.writer.add_listener(waking(wake_up))
    cases.ask(PauseTarget, queue="billing", **WHY)
    cases.ask(SetLimits, queue="billing", concurrency=5, **WHY)
    assert hints.queues == []
    cases.ask(ResumeTarget, queue="billing", **WHY)
    cases.ask(SetLimits, tenant="acme", concurrency=5, **WHY)
    assert hints.queues == [{"billing"}, {ANY_QUEUE}]


@pytest.mark.parametrize(
    ("named", "asked"), [({"tenant": "acme", "persona": "bot"}, 3), ({"tenant": "acme"}, 0), ({"queue": "billing"}, 0)]
)
def test_jobs_that_wait_are_brought_in_line_with_a_personas_limits(
    named: dict[str, str], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until nothing is left to do; other targets need nothing of the kind."""
    cases = UseCases()
    left = [0, 5, 9]
    monkeypatch.setattr(cases.ledger.queue, "apply_limits", left.pop)
    cases.ask(SetLimits, **named, concurrency=1, **WHY)
    assert len(left) == 3 - asked


def test_a_ledger_that_is_busy_then_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are in force; only how fast jobs are found depends on it, and maintenance does it later."""
    cases = UseCases()

    def busy() -> int:
        raise LedgerBusy("not now")

    monkeypatch.setattr(cases.ledger.queue, "apply_limits", busy)
    assert cases.ask(SetLimits, tenant="acme", persona="bot", concurrency=1, **WHY).changed
    assert len(cases.ask(ListLimits)) == 1


def test_a_queue_that_nobody_knows_is_remarked_on() -> None:
    """It may come into being later: it is limited, and the answer says what was probably meant."""
    cases = UseCases()
    cases.register_types()
    assert "did you mean 'keyed'" in (cases.ask(PauseTarget, queue="keyd", **WHY).remark or "")
    assert "holds for jobs to come" in (cases.ask(PauseTarget, queue="zzz", **WHY).remark or "")
    for queue in ("keyed", "default"):
        assert cases.ask(PauseTarget, queue=queue, **WHY).remark is None
    cases.dispatch(queue="nightly")
    assert cases.ask(SetLimits, queue="nightly", concurrency=1, **WHY).remark is None
    assert cases.ask(ResumeTarget, queue="zzz", **WHY).remark is None


def test_a_persona_that_never_had_a_job_is_remarked_on() -> None:
    """Nothing is said once it had one, nor when its limits go."""
    cases = UseCases()
    named = {"tenant": "acme", "persona": "billing-bot"}
    assert "billing-bot" in (cases.ask(SetLimits, **named, concurrency=1, **WHY).remark or "")
    assert cases.ask(RemoveLimits, **named, **WHY).remark is None
    cases.dispatch(persona="billing-bot")
    assert cases.ask(SetLimits, **named, concurrency=1, **WHY).remark is None


# --- queries ---------------------------------------------------------------------------------------------------------


def test_limits_are_listed_by_tenant_and_scope() -> None:
    """A tenant's own are its tenant's, personas' and keys' limits; a queue's are nobody's own."""
    cases = UseCases()
    for named, _ in NAMED.values():
        cases.ask(SetLimits, **named, concurrency=1, **WHY)
    cases.ask(SetLimits, tenant="other", concurrency=1, **WHY)
    assert [row.target.scope for row in cases.ask(ListLimits)] == ["key", "persona", "queue", "tenant", "tenant"]
    assert [row.target.scope for row in cases.ask(ListLimits, tenant="acme")] == ["key", "persona", "tenant"]
    assert [row.target.subject for row in cases.ask(ListLimits, scope="tenant")] == ["acme", "other"]
    assert cases.ask(ListLimits, tenant="other", scope="queue") == ()
    cases.refused(UnknownTenant, ListLimits, tenant="nobody")


def test_the_history_of_a_target_comes_in_pages() -> None:
    """Oldest first, with the state as it is now on every page."""
    cases = UseCases()
    for concurrency in (1, 2, 3):
        cases.ask(SetLimits, queue="billing", concurrency=concurrency, reason=f"try {concurrency}")
    first = cases.ask(GetLimitHistory, queue="billing", limit=2)
    assert [event.facts.reason for event in first.events] == ["try 1", "try 2"]  # type: ignore[attr-defined]
    assert (first.next_version, first.state.limits.concurrency) == (2, 3)
    last = cases.ask(GetLimitHistory, queue="billing", limit=2, after_version=2)
    assert (len(last.events), last.next_version, last.state) == (1, None, first.state)
    nothing = cases.ask(GetLimitHistory, queue="never-touched")
    assert (nothing.events, nothing.state) == ((), FlowState())


def test_queues_are_listed_as_they_are() -> None:
    """Those of job types, of open jobs, and those that are limited; jobs are counted by status."""
    cases = UseCases()
    cases.register_types()
    for _ in range(3):
        cases.dispatch()
    cases.dispatch(delay_seconds=60, queue="nightly")
    (job, other) = cases.claim(limit=2)
    cases.fail(other, for_good=True)
    assert job.state.status is JobStatus.IN_PROGRESS
    cases.ask(PauseTarget, queue="idle", **WHY)
    queues = {row.queue: row for row in cases.ask(ListQueues)}
    assert list(queues) == ["default", "idle", "keyed", "nightly"]
    assert queues["default"].jobs == {JobStatus.PENDING: 1, JobStatus.IN_PROGRESS: 1, JobStatus.DLQ: 1}
    assert queues["default"].job_types == ("invoice.computed", "invoice.locked", "invoice.send")
    assert (queues["nightly"].jobs, queues["nightly"].job_types) == ({JobStatus.DELAYED: 1}, ())
    assert (queues["idle"].state, queues["idle"].jobs) == (FlowState(paused=True), {})
    assert queues["keyed"].state == FlowState()


# --- the client ------------------------------------------------------------------------------------------------------


def client(cases: UseCases, tenant: str | None = None) -> LedgerClient:
    """The public interface over these use cases."""
    return LedgerClient(cases.dispatcher, ACTOR, tenant=tenant)


def test_the_client_does_all_of_it() -> None:
    """Rates are written as text; a persona or key without a tenant is one of the client's own."""
    cases = UseCases()
    acme = client(cases, "acme")
    changed = acme.limits.set(persona="billing-bot", concurrency=1, rate="100/60s", reason="agreed")
    assert changed[:2] == (BOT, FlowState(Limits(concurrency=1, rate=RATE)))
    assert acme.limits.pause(key="gateway:1", reason="agreed").target == Target(Scope.KEY, "acme", "gateway:1")
    assert acme.limits.resume(key="gateway:1", reason="agreed").state == FlowState()
    assert acme.limits.remove(persona="billing-bot", rate=True, reason="agreed").state == FlowState(
        Limits(concurrency=1)
    )
    assert [row.target for row in acme.limits.list(tenant="acme", scope="persona")] == [BOT]
    assert len(acme.limits.history(persona="billing-bot").events) == 2
    assert acme.limits.set(queue="billing", rate=RATE, reason="agreed").target == queue_target("billing")
    assert [row.queue for row in acme.queues.list()] == ["billing"]


def test_a_client_without_a_tenant_says_whose() -> None:
    """And a client of a tenant limits that tenant only where it is named: not by leaving everything out."""
    cases = UseCases()
    with pytest.raises(InvalidInput) as caught:
        client(cases).limits.set(persona="bot", concurrency=1, reason="agreed")
    assert caught.value.field == "tenant"
    with pytest.raises(InvalidInput) as caught:
        client(cases, "acme").limits.set(concurrency=1, reason="agreed")
    assert caught.value.field == "target"
    with pytest.raises(InvalidInput) as caught:
        client(cases, "acme").limits.set(tenant="acme", rate="fast", reason="agreed")
    assert caught.value.field == "rate"
