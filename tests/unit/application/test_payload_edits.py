"""Requeueing with an edited payload: what runs, what is recorded of the edit, and who may see the values."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from jobledger.application.commands import RequeueJob
from jobledger.application.payload_edits import edits_of
from jobledger.domain.difference import Change, Difference
from jobledger.domain.errors import IllegalTransition, InvalidInput, PayloadTooLarge
from jobledger.domain.job import JobRequeued
from tests.support.use_cases import UseCases

PAYLOAD = {"invoice_id": "42", "note": "old", "lines": [{"amount_cents": 5}], "copies": 1}


def dead_with(payload: dict[str, object]) -> tuple[UseCases, UUID]:
    """Cases with one dead job."""
    cases = UseCases()
    return cases, cases.dead(payload=payload).job_id


def requeue(cases: UseCases, job_id: UUID, **edit: object) -> JobRequeued:
    """Requeue with an edit; what was recorded."""
    cases.ask(RequeueJob, tenant="acme", job=job_id, reason="typo", **edit)
    facts = cases.last_facts(job_id)
    assert isinstance(facts, JobRequeued)
    return facts


def runs_with(cases: UseCases) -> Any:  # noqa: ANN401
    """The payload that a worker gets."""
    (job,) = cases.claim()
    return json.loads(job.payload)


def test_the_changed_places_are_recorded_without_values() -> None:
    """An auditor who may not see payloads sees where it was changed."""
    cases, job_id = dead_with(PAYLOAD)
    facts = requeue(cases, job_id, payload={**PAYLOAD, "note": "TOP-SECRET-NOTE", "lines": []})
    assert facts.payload_edited
    assert facts.payload_changes == (Change(op="replace", path="/note"), Change(op="remove", path="/lines/0"))
    assert "TOP-SECRET-NOTE" not in facts.model_dump_json()


def test_a_few_places_are_changed() -> None:
    """Of the payload in force, by JSON pointers; the rest stays as it is."""
    cases, job_id = dead_with(PAYLOAD)
    put = {"/note": "new", "/lines/0/amount_cents": 7, "/lines/-": {"amount_cents": 1}}
    facts = requeue(cases, job_id, put=put, without=("/copies",))
    assert runs_with(cases) == {**PAYLOAD, "note": "new", "lines": [{"amount_cents": 7}, {"amount_cents": 1}]}
    assert facts.payload_changes is not None
    assert {change.path for change in facts.payload_changes} == {"/note", "/lines/0/amount_cents", "/lines/1"}


def test_a_second_edit_builds_on_the_first() -> None:
    """The payload in force is the last one."""
    cases, job_id = dead_with(PAYLOAD)
    requeue(cases, job_id, put={"/note": "first"})
    cases.fail(cases.claim()[0], for_good=True)
    facts = requeue(cases, job_id, put={"/copies": 2})
    assert runs_with(cases) == {**PAYLOAD, "note": "first", "copies": 2}
    assert facts.payload_changes == (Change(op="replace", path="/copies"),)


@pytest.mark.parametrize("edit", [{"payload": PAYLOAD}, {"put": {"/note": "old"}}, {"payload": {**PAYLOAD}}])
def test_an_edit_that_changes_nothing_is_none(edit: dict[str, Any]) -> None:
    """The payload stays, and nothing says otherwise."""
    cases, job_id = dead_with(PAYLOAD)
    facts = requeue(cases, job_id, **edit)
    assert (facts.payload_edited, facts.payload_changes) == (False, None)
    assert cases.events(job_id)[-1].body is None and runs_with(cases) == PAYLOAD


@pytest.mark.parametrize(
    ("edit", "field", "error"),
    [
        ({"put": {"/note": 5}}, "payload.note", InvalidInput),
        ({"put": {"/lines/7": 1}}, "payload.lines.7", InvalidInput),
        ({"without": ("/invoice_id",)}, "payload.invoice_id", InvalidInput),
        ({"without": ("/nothing",)}, "payload.nothing", InvalidInput),
        ({"put": {"note": "x"}}, "payload", InvalidInput),
        ({"put": {"/note": "AKIA" + "A" * 16}}, "payload.note", InvalidInput),
        ({"put": {"/note": "x" * 3_000}}, "payload", PayloadTooLarge),
        ({"put": {"/note": "x"}, "payload": {"invoice_id": "1"}}, "input", InvalidInput),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(edit: dict[str, Any], field: str, error: type[Any]) -> None:
    """As at a dispatch: schema, size, secrets; the error names the field, never the value, and the job stays dead."""
    cases, job_id = dead_with(PAYLOAD)
    refusal = cases.refused(error, RequeueJob, tenant="acme", job=job_id, reason="x", **edit)
    assert refusal.field == field
    assert "AKIA" not in str(refusal)
    assert cases.topics(job_id)[-1] == "job.sent_to_dlq"


def test_a_job_that_is_not_dead_is_refused_as_such() -> None:
    """Whatever is wrong with the edit."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    command = {"tenant": "acme", "job": job_id, "reason": "x", "put": {"/nothing/here": 1}}
    cases.refused(IllegalTransition, RequeueJob, **command)


def test_who_may_see_bodies_sees_before_and_after() -> None:
    """From the bodies of the events, each edit against the payload it replaced."""
    cases, job_id = dead_with(PAYLOAD)
    requeue(cases, job_id, put={"/note": "first"})
    cases.fail(cases.claim()[0], for_good=True)
    requeue(cases, job_id, put={"/note": "second"}, without=("/lines/0",))
    found = edits_of(cases.events(job_id))
    first, second = (event.originator_version for event in cases.events(job_id) if event.topic == "job.requeued")
    assert found == {
        first: (Difference("replace", "/note", "old", "first"),),
        second: (Difference("replace", "/note", "first", "second"), Difference("remove", "/lines/0",
                                                                               {"amount_cents": 5}, None)),
    }  # fmt: skip


def test_without_the_body_before_nothing_is_compared() -> None:
    """It was removed, or stands on an earlier page: no difference is made up."""
    cases, job_id = dead_with(PAYLOAD)
    requeue(cases, job_id, put={"/note": "new"})
    events = cases.events(job_id)
    assert edits_of([events[0]._replace(body=None), *events[1:]]) == {}
    assert edits_of(events[1:]) == {}
    assert edits_of([event._replace(body=None) for event in events]) == {}
