"""Looking at jobs: one job, its history, lists with filters and pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.commands import CancelJob, RequeueJob
from jobledger.application.queries import (
    GetJob,
    GetJobHistory,
    ListDlq,
    ListPersonaJobs,
    ListTenantJobs,
)
from jobledger.domain.errors import InvalidInput, NotFound, UnknownTenant
from jobledger.domain.job import JobStatus
from tests.support.use_cases import ACTOR, START, UseCases


def test_a_job_is_shown_as_it_is() -> None:
    """All that R0.1 and R1.7 ask for, from the stream: always current."""
    cases = UseCases()
    receipt = cases.dispatch("invoice.keyed", persona="billing-bot", priority=3)
    cases.clock.advance(5)
    (job,) = cases.claim()
    cases.clock.advance(7)
    cases.complete(job, b'{"sent":1}')
    details = cases.ask(GetJob, tenant="acme", job=receipt.job_id, bodies=True)
    assert (details.job_id, details.tenant, details.status, details.failed) == (
        receipt.job_id, "acme", JobStatus.COMPLETED, False,
    )  # fmt: skip
    assert (details.state.job_type, details.state.kind, details.state.persona) == ("invoice.keyed", "ai", "billing-bot")
    assert (details.created_at, details.started_at) == (START, START + timedelta(seconds=5))
    assert details.completed_at == details.updated_at == START + timedelta(seconds=12)
    assert (details.actor, details.idempotency_key, details.version) == (ACTOR.id, "42", 3)
    assert details.payload == b'{"invoice_id":"42","note":"","lines":[],"copies":1}'
    assert details.result == b'{"sent":1}'


def test_a_failed_job_says_so_until_it_completes() -> None:
    """Waiting for its retry or in the DLQ; then done (R0.1)."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.fail(cases.claim()[0])
    waiting = cases.ask(GetJob, tenant="acme", job=job_id)
    assert (waiting.status, waiting.failed, waiting.state.last_error_type) == (JobStatus.DELAYED, True, "Broken")
    cases.clock.advance(60)
    cases.complete(cases.claim()[0])
    assert not cases.ask(GetJob, tenant="acme", job=job_id).failed


def test_bodies_are_only_read_on_request() -> None:
    """Facts without payload and result."""
    cases = UseCases()
    details = cases.ask(GetJob, tenant="acme", job=cases.dispatch().job_id)
    assert (details.payload, details.result) == (None, None)


def test_the_payload_shown_is_the_one_in_force() -> None:
    """After an edit, the edited one."""
    cases = UseCases()
    job_id = cases.dead().job_id
    cases.ask(RequeueJob, tenant="acme", job=job_id, reason="typo", payload={"invoice_id": "43"})
    assert b'"43"' in (cases.ask(GetJob, tenant="acme", job=job_id, bodies=True).payload or b"")


def test_a_job_is_found_by_the_end_of_its_id() -> None:
    """Or by its whole id as text."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    for reference in (job_id.hex[-8:], str(job_id), job_id.hex):
        assert cases.ask(GetJob, tenant="acme", job=reference).job_id == job_id


@pytest.mark.parametrize("query", [GetJob, GetJobHistory])
def test_nothing_of_another_tenant_is_shown(query: type[Any]) -> None:
    """Not found, as if it were not there; an unknown tenant is named."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.refused(NotFound, query, tenant="other", job=job_id)
    cases.refused(NotFound, query, tenant="other", job=job_id.hex[-8:])
    assert "tenants create ghost" in str(cases.refused(UnknownTenant, query, tenant="ghost", job=job_id))


def test_the_stream_of_a_refusal_is_no_job() -> None:
    """Other streams of the ledger are not shown as jobs."""
    from jobledger.application.commands import DispatchJob
    from jobledger.application.job_repository import LedgerJobRepository
    from jobledger.domain.refusal import DispatchRefused
    from tests.support.use_cases import item

    cases = UseCases()
    cases.refused(UnknownTenant, DispatchJob, item=item(tenant="ghost"))
    events = cases.ledger.reader.read_after(0, limit=100).events
    refusal = next(event for event in events if isinstance(event.facts, DispatchRefused))
    repository = LedgerJobRepository(cases.ledger.reader, cases.ledger.writer)
    with pytest.raises(NotFound):
        repository.get("system", refusal.originator_id)


# --- history ---------------------------------------------------------------------------------------------------------


def test_a_history_tells_what_happened_and_why() -> None:
    """In order, with actors and causes; bodies on request."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.fail(cases.claim()[0])
    history = cases.ask(GetJobHistory, tenant="acme", job=job_id, bodies=True)
    assert [event.topic for event in history.events] == ["job.dispatched", "job.started", "job.failed", "job.retried"]
    assert [event.metadata.actor for event in history.events] == [ACTOR.id, *["worker:w1"] * 3]
    assert history.events[2].body == b"Traceback ..."
    assert history.next_version is None
    plain = cases.ask(GetJobHistory, tenant="acme", job=job_id)
    assert {event.body for event in plain.events} == {None}


def test_a_long_history_comes_in_pages() -> None:
    """Each says where the next one begins; the last one says so too."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.fail(cases.claim()[0])
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        page = cases.ask(GetJobHistory, tenant="acme", job=job_id, after_version=after, limit=3)
        seen += [event.originator_version for event in page.events]
        after = page.next_version
    assert seen == [1, 2, 3, 4]
    assert cases.ask(GetJobHistory, tenant="acme", job=job_id, after_version=4).events == ()


# --- lists -----------------------------------------------------------------------------------------------------------


def _ids(cases: UseCases, query: type[Any] = ListTenantJobs, **where: Any) -> list[UUID]:  # noqa: ANN401
    return [row.job_id for row in cases.ask(query, tenant="acme", **where).rows]


def test_lists_are_newest_first_and_of_one_tenant() -> None:
    """A tenant's jobs, and only those."""
    cases = UseCases()
    ids = []
    for _ in range(3):
        ids.append(cases.dispatch().job_id)
        cases.clock.advance(1)
    other = cases.dispatch(tenant="other").job_id
    assert _ids(cases) == ids[::-1]
    assert [row.job_id for row in cases.ask(ListTenantJobs, tenant="other").rows] == [other]


def test_a_personas_list() -> None:
    """The jobs of one agent (R0.3)."""
    cases = UseCases()
    mine = cases.dispatch(persona="billing-bot").job_id
    cases.dispatch(persona="other-bot")
    cases.dispatch()
    assert _ids(cases, ListPersonaJobs, persona="billing-bot") == [mine]


def test_every_filter_filters() -> None:
    """Status, failed, type, kind, queue and time."""
    cases = UseCases()
    done = cases.dispatch("invoice.keyed").job_id
    cases.complete(cases.claim()[0])
    cases.clock.advance(60)
    broken = cases.dispatch().job_id
    cases.fail(cases.claim()[0])
    cases.clock.advance(60)
    waiting = cases.dispatch(queue="slow").job_id
    assert _ids(cases, status="completed") == [done]
    assert _ids(cases, failed=True) == [broken]
    assert _ids(cases, failed=False) == [waiting, done]
    assert _ids(cases, job_type="invoice.keyed") == [done]
    assert _ids(cases, kind="ai") == [done]
    assert _ids(cases, queue="slow") == [waiting]
    minute = timedelta(minutes=1)
    assert _ids(cases, created_from=START + minute, created_to=START + 2 * minute) == [broken]
    assert _ids(cases, status="delayed", queue="slow") == []


def test_a_list_comes_in_pages() -> None:
    """A cursor opens the next page, whatever was dispatched meanwhile."""
    cases = UseCases()
    ids = [cases.dispatch().job_id for _ in range(5)]
    seen: list[UUID] = []
    cursor: str | None = None
    for _ in range(9):
        page = cases.ask(ListTenantJobs, tenant="acme", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [row.job_id for row in page.rows]
        cursor = page.cursor
        cases.clock.advance(1)
        cases.dispatch()
        if cursor is None:
            break
    assert seen == ids[::-1]


def test_the_dlq_lists_the_dead() -> None:
    """With the reason and the last error, most recently dead first; a requeued one is gone."""
    cases = UseCases()
    first = cases.dead().job_id
    cases.clock.advance(60)
    second = cases.dead().job_id
    page = cases.ask(ListDlq, tenant="acme")
    assert [row.job_id for row in page.rows] == [second, first]
    assert (page.rows[0].reason, page.rows[0].error_type) == ("unrecoverable", "Broken")
    assert _ids(cases, ListDlq, dead_from=START + timedelta(seconds=30)) == [second]
    cases.ask(RequeueJob, tenant="acme", job=second, reason="fixed")
    assert _ids(cases, ListDlq) == [first]


@pytest.mark.parametrize("query", [ListTenantJobs, ListDlq])
@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"limit": 0}, "limit"), ({"limit": 501}, "limit"), ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": ""}, "cursor"),
        ({"cursor": "MjAyNi0wMy0wMnx4"}, "cursor"), ({"kind": "nonsense"}, "kind"), ({"tenant": "No Name"}, "tenant"),
        ({"surprise": 1}, "surprise"),
    ],
)  # fmt: skip
def test_a_bad_question_is_refused(query: type[Any], fields: dict[str, Any], field: str) -> None:
    """The error names the field."""
    assert UseCases().refused(InvalidInput, query, **{"tenant": "acme", **fields}).field == field


def test_naive_times_are_refused() -> None:
    """A time without a zone means nothing."""
    refusal = UseCases().refused(
        InvalidInput, ListTenantJobs, tenant="acme", created_from=datetime(2026, 3, 2)  # noqa: DTZ001
    )  # fmt: skip
    assert (refusal.field, refusal.rule) == ("created_from", "has a time zone")


# --- read your own writes --------------------------------------------------------------------------------------------


def test_a_reader_waits_for_its_own_write() -> None:
    """With the position that the command returned."""
    cases = UseCases()
    receipt = cases.dispatch()
    assert receipt.job_id in _ids(cases, after=receipt.position)
    cancelled = cases.send(CancelJob, tenant="acme", job=receipt.job_id, reason="x")
    after = getattr(cancelled, "position", None)
    assert cases.ask(GetJob, tenant="acme", job=receipt.job_id, after=after).status is JobStatus.CANCELLED


@pytest.mark.parametrize(
    "after",
    [
        "",
        "7",
        "memory.",
        "memory.x",
        "memory.-1",
        "restored.7",
        "memory.²",
        f"memory.{'9' * 30}",
        f"memory.{'0' * 5_000}1",
    ],
)
@pytest.mark.parametrize("query", [ListTenantJobs, GetJob])
def test_a_position_of_another_ledger_is_refused(query: type[Any], after: str) -> None:
    """Also one from before a restore: it may name what no longer is."""
    cases = UseCases()
    fields = {"job": cases.dispatch().job_id} if query is GetJob else {}
    assert cases.refused(InvalidInput, query, tenant="acme", after=after, **fields).field == "after"
