"""Refusals without end: nobody fills the ledger with them, and none is forgotten."""

from __future__ import annotations

import pytest

from jobledger.application.access_messages import RecordRefusedAccess
from jobledger.application.accesses import EACH_MAX, Accesses, AccessesThread
from jobledger.application.authorization import Authorization
from jobledger.application.commands import RequeueJob
from jobledger.application.message import Actor
from jobledger.domain.audit import AccessRefused
from jobledger.domain.errors import LedgerUnavailable
from jobledger.domain.event import RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.identity import Grant, Identity, Role
from tests.support.use_cases import UseCases


def refused(number: int, actor: str = "key:a", asked: str = "RequeueJob", tenant: str = "acme") -> RecordRefusedAccess:
    """One refusal."""
    by = Actor(id=actor, address="198.51.100.7", request_id=f"r{number}", on_behalf_of="ana")
    return RecordRefusedAccess(actor=by, asked=asked, permission="dlq.requeue", tenant_claimed=tenant)


def recorded(cases: UseCases) -> list[RecordedEvent]:
    """What is on record."""
    events = cases.ledger.reader.read_tenant(SYSTEM_TENANT, 0, limit=10_000).events
    return [event for event in events if isinstance(event.facts, AccessRefused)]


def counts(cases: UseCases) -> list[tuple[str, str, int, str]]:
    """Who asked for what, how often, and where."""
    found = []
    for event in recorded(cases):
        assert isinstance(event.facts, AccessRefused)
        facts = event.facts
        found.append((event.metadata.actor, facts.asked, facts.count, facts.tenant_claimed))
    return found


def test_at_an_ordinary_pace_each_is_recorded() -> None:
    """At once, with its own request."""
    cases = UseCases()
    accesses = Accesses(cases.dispatcher)
    for number in range(EACH_MAX):
        accesses.record(refused(number))
    assert [event.metadata.request_id for event in recorded(cases)] == [f"r{number}" for number in range(EACH_MAX)]
    accesses.record_sums()
    assert len(recorded(cases)) == EACH_MAX


def test_what_comes_beyond_is_summed_up() -> None:
    """One record for each thing that was asked, with how often, and the last request; then it begins anew."""
    cases = UseCases()
    accesses = Accesses(cases.dispatcher)
    for number in range(EACH_MAX + 500):
        accesses.record(refused(number))
    for number in range(3):
        accesses.record(refused(number, asked="DiscardJob", tenant=f"t{number}"))
        accesses.record(refused(number, actor="key:b"))
    assert len(recorded(cases)) == EACH_MAX + 3
    accesses.record_sums()
    assert counts(cases)[EACH_MAX + 3 :] == [("key:a", "RequeueJob", 500, "acme"), ("key:a", "DiscardJob", 3, "")]
    last = recorded(cases)[EACH_MAX + 3].metadata
    assert (last.request_id, last.address, last.on_behalf_of) == (f"r{EACH_MAX + 499}", "198.51.100.7", "ana")
    accesses.record(refused(0))
    assert len(recorded(cases)) == EACH_MAX + 6
    accesses.record_sums()
    assert len(recorded(cases)) == EACH_MAX + 6


def test_what_cannot_be_recorded_now_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """And recorded with what came since."""
    cases = UseCases()
    accesses = Accesses(cases.dispatcher)
    for number in range(EACH_MAX + 5):
        accesses.record(refused(number))
    with monkeypatch.context() as broken:
        broken.setattr(cases.dispatcher, "execute", _unavailable)
        accesses.record_sums()
    for number in range(EACH_MAX + 2):
        accesses.record(refused(number))
    accesses.record_sums()
    assert [count for _, _, count, _ in counts(cases)] == [1] * (2 * EACH_MAX) + [7]


def _unavailable(_message: object) -> object:
    raise LedgerUnavailable("it does not answer")


def test_what_is_left_is_recorded_at_the_end() -> None:
    """A server that is stopped owes nothing."""
    cases = UseCases()
    accesses = Accesses(cases.dispatcher)
    thread = AccessesThread(accesses)
    thread.start()
    for number in range(EACH_MAX + 5):
        accesses.record(refused(number))
    thread.close()
    assert counts(cases)[-1] == ("key:a", "RequeueJob", 5, "acme")


def test_whoever_is_refused_by_authorization_is_counted_so() -> None:
    """The answer is the same, recorded or counted."""
    cases = UseCases()
    authorization = Authorization(cases.dispatcher, cases.ledger.ports.catalogue)
    by = authorization.of(Identity(id="key:k1", grants=(Grant(role=Role.EMITTER),), technical=True))
    job_id = cases.dispatch().job_id
    asked = RequeueJob(actor=Actor(id="key:k1"), tenant="acme", job=job_id, reason="again")
    answers = {type(getattr(by.execute(asked), "error", None)).__name__ for _ in range(EACH_MAX + 10)}
    authorization.accesses.record_sums()
    assert (answers, len(recorded(cases))) == ({"NotPermitted"}, EACH_MAX + 1)
