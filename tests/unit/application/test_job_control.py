"""What people do to jobs: cancel, reschedule, requeue, discard, or bring to a status."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobledger.application.commands import (
    CancelJob,
    DiscardJob,
    RequeueJob,
    RescheduleJob,
    UpdateJobStatus,
)
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.job_control import TRIES, JobControl
from jobledger.application.job_finder import JobFinder
from jobledger.application.job_repository import LedgerJobRepository
from jobledger.application.known import KnownTenants, KnownTypes
from jobledger.application.ports import Job
from jobledger.application.positions import Positions
from jobledger.application.writes import Outcome, WriteStatus
from jobledger.domain.errors import (
    IllegalTransition,
    InvalidInput,
    LeaseLost,
    LedgerBusy,
    NotFound,
    ReasonRequired,
    UnknownTenant,
    VersionConflict,
)
from jobledger.domain.event import Event
from jobledger.domain.job import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobRequeued,
    JobSentToDlq,
    JobStatus,
)
from tests.support.use_cases import ACTOR, START, UseCases, app


def test_a_waiting_job_is_cancelled() -> None:
    """At once; it leaves the queue; who and why are on record, within the job's own flow."""
    cases = UseCases()
    job_id = cases.dispatch(correlation_id="order-7").job_id
    changed = cases.ask(CancelJob, tenant="acme", job=job_id, reason="not needed")
    assert (changed.job_id, changed.status, changed.version) == (job_id, JobStatus.CANCELLED, 2)
    event = cases.events(job_id)[-1]
    assert isinstance(event.facts, JobCancelled) and event.facts.reason == "not needed"
    assert (event.metadata.actor, event.metadata.correlation_id) == (ACTOR.id, "order-7")
    assert event.causation_id == cases.events(job_id)[0].event_id
    assert cases.ledger.queue.open_jobs("acme", [job_id]) == {}


def test_a_running_job_is_asked_to_stop() -> None:
    """Its worker keeps the lease; the row says that somebody asked."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.claim()
    changed = cases.ask(CancelJob, tenant="acme", job=job_id, reason="not needed")
    assert changed.status is JobStatus.IN_PROGRESS
    row = cases.ledger.queue.open_jobs("acme", [job_id])[job_id]
    assert (row.state.worker, row.state.cancel_reason) == ("w1", "not needed")


def test_a_job_is_named_by_the_end_of_its_id() -> None:
    """Eight characters are enough within a tenant."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    changed = cases.ask(CancelJob, tenant="acme", job=job_id.hex[-8:].upper(), reason="x")
    assert changed.job_id == job_id


def test_an_ambiguous_end_lists_the_candidates() -> None:
    """Which job is meant is for the caller to say."""
    cases = UseCases()
    first = cases.dispatch().job_id
    twin = UUID(int=first.int ^ (1 << 40))
    cases.dispatch(job_id=twin)
    refusal = cases.refused(InvalidInput, CancelJob, tenant="acme", job=first.hex[-8:], reason="x")
    assert str(first) in str(refusal) and str(twin) in str(refusal)
    assert refusal.hint == "give more of the id"


@pytest.mark.parametrize("reference", [uuid4(), "00000000"])
def test_a_job_that_is_not_there_is_not_found(reference: object) -> None:
    """By id or by its end."""
    UseCases().refused(NotFound, CancelJob, tenant="acme", job=reference, reason="x")


def test_the_job_of_another_tenant_is_not_there() -> None:
    """The same answer as for no job at all: nothing crosses from one tenant to another."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    for reference in (job_id, job_id.hex[-8:]):
        cases.refused(NotFound, CancelJob, tenant="other", job=reference, reason="x")
    cases.refused(UnknownTenant, CancelJob, tenant="ghost", job=job_id, reason="x")


@pytest.mark.parametrize("command", [CancelJob, RescheduleJob, RequeueJob, DiscardJob])
def test_a_manual_act_without_a_reason_is_refused(command: type[Any]) -> None:
    """And nothing happens (R4.13)."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.refused(ReasonRequired, command, tenant="acme", job=job_id, reason=" ")
    assert cases.topics(job_id) == ["job.dispatched"]


@pytest.mark.parametrize("reference", ["short", "not-hexadecimal!", 7, ""])
def test_a_reference_that_is_none_is_refused(reference: object) -> None:
    """The error names the field."""
    refusal = UseCases().refused(InvalidInput, CancelJob, tenant="acme", job=reference, reason="x")
    assert str(refusal.field).startswith("job")


# --- reschedule ------------------------------------------------------------------------------------------------------


def test_a_job_is_rescheduled() -> None:
    """Priority and time change in the queue too."""
    cases = UseCases()
    job_id, later = cases.dispatch().job_id, START + timedelta(hours=1)
    changed = cases.ask(RescheduleJob, tenant="acme", job=job_id, reason="later", priority=7, due_at=later)
    assert changed.status is JobStatus.DELAYED
    row = cases.ledger.queue.open_jobs("acme", [job_id])[job_id]
    assert (row.state.status, row.state.priority, row.state.due_at) == (JobStatus.DELAYED, 7, later)


@pytest.mark.parametrize(
    ("fields", "field"),
    [({}, "priority"), ({"priority": 101}, "priority"), ({"due_at": datetime(2026, 3, 2)}, "due_at")],  # noqa: DTZ001
)
def test_a_bad_reschedule_is_refused(fields: dict[str, Any], field: str) -> None:
    """Nothing to change, out of bounds, or a time without a zone."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    assert cases.refused(InvalidInput, RescheduleJob, tenant="acme", job=job_id, reason="x", **fields).field == field


# --- out of the DLQ --------------------------------------------------------------------------------------------------


def test_a_dead_job_is_requeued() -> None:
    """New attempts, with reason and ticket; it can be claimed again."""
    cases = UseCases()
    job_id = cases.dead().job_id
    changed = cases.ask(RequeueJob, tenant="acme", job=job_id, reason="gateway fixed", ticket="OPS-12", attempts=2)
    assert changed.status is JobStatus.PENDING
    facts = cases.last_facts(job_id)
    assert isinstance(facts, JobRequeued)
    assert (facts.ticket, facts.attempts_granted, facts.payload_edited) == ("OPS-12", 2, False)
    (job,) = cases.claim()
    assert (job.job_id, job.state.attempt, job.state.attempts_allowed) == (job_id, 2, 3)


def test_an_edited_payload_is_validated_and_runs() -> None:
    """The hash of the payload before stands on record, the new one is what the worker gets."""
    cases = UseCases()
    job_id = cases.dead().job_id
    before = hashlib.sha256(cases.events(job_id)[0].body or b"").hexdigest()
    cases.ask(RequeueJob, tenant="acme", job=job_id, reason="typo", payload={"invoice_id": "43"})
    event = cases.events(job_id)[-1]
    assert isinstance(event.facts, JobRequeued)
    assert (event.facts.payload_edited, event.facts.payload_sha256_before) == (True, before)
    (job,) = cases.claim()
    assert job.payload == event.body == b'{"invoice_id":"43","note":"","lines":[],"copies":1}'


def test_the_hash_before_is_that_of_the_payload_in_force() -> None:
    """After a second edit it is the first edit's."""
    cases = UseCases()
    job_id = cases.dead().job_id
    for invoice_id in ("43", "44"):
        cases.ask(RequeueJob, tenant="acme", job=job_id, reason="typo", payload={"invoice_id": invoice_id})
        cases.fail(cases.claim()[0], for_good=True)
    edits = [event for event in cases.events(job_id) if isinstance(event.facts, JobRequeued)]
    second = edits[1].facts
    assert isinstance(second, JobRequeued)
    assert second.payload_sha256_before == edits[0].metadata.body_sha256


@pytest.mark.parametrize(
    ("payload", "field"), [({}, "payload.invoice_id"), ({"invoice_id": "1", "note": "AKIA" + "A" * 16}, "payload.note")]
)
def test_an_edited_payload_that_does_not_fit_is_refused(payload: dict[str, object], field: str) -> None:
    """The job stays dead."""
    cases = UseCases()
    job_id = cases.dead().job_id
    refusal = cases.refused(InvalidInput, RequeueJob, tenant="acme", job=job_id, reason="x", payload=payload)
    assert refusal.field == field
    assert cases.topics(job_id)[-1] == "job.sent_to_dlq"


def test_a_dead_job_is_discarded() -> None:
    """For good: it leaves the queue."""
    cases = UseCases()
    job_id = cases.dead().job_id
    assert cases.ask(DiscardJob, tenant="acme", job=job_id, reason="hopeless").status is JobStatus.DISCARDED
    assert cases.ledger.queue.open_jobs("acme", [job_id]) == {}
    cases.refused(IllegalTransition, RequeueJob, tenant="acme", job=job_id, reason="x")


# --- update status ---------------------------------------------------------------------------------------------------


def _update(cases: UseCases, job_id: UUID, status: str, **fields: Any) -> JobStatus:  # noqa: ANN401
    fields.setdefault("reason", "asked")
    return cases.ask(UpdateJobStatus, tenant="acme", job=job_id, status=status, **fields).status


def test_a_target_status_is_mapped_to_its_decision() -> None:
    """One public command that leads wherever a decision leads (R0.3)."""
    cases = UseCases()
    later = START + timedelta(hours=1)
    job_id = cases.dispatch().job_id
    assert _update(cases, job_id, "delayed", due_at=later) is JobStatus.DELAYED
    assert _update(cases, job_id, "pending") is JobStatus.PENDING
    assert _update(cases, job_id, "dlq") is JobStatus.DLQ
    assert _update(cases, job_id, "pending") is JobStatus.PENDING
    assert _update(cases, job_id, "cancelled") is JobStatus.CANCELLED
    assert cases.topics(job_id) == [
        "job.dispatched", "job.rescheduled", "job.rescheduled", "job.sent_to_dlq", "job.requeued", "job.cancelled",
    ]  # fmt: skip
    assert _update(cases, cases.dead().job_id, "discarded") is JobStatus.DISCARDED


def test_who_runs_a_job_may_report_its_end() -> None:
    """Naming worker and attempt: the result is checked and stored."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.claim()
    cases.clock.advance(5)
    held = {"worker": "w1", "attempt": 1}
    assert _update(cases, job_id, "completed", result={"sent": 2}, **held) is JobStatus.COMPLETED
    event = cases.events(job_id)[-1]
    assert isinstance(event.facts, JobCompleted)
    assert (event.body, event.facts.seconds_running) == (b'{"sent":2}', 5)


def test_who_runs_a_job_may_report_its_failure() -> None:
    """The retry policy decides what follows: another attempt, then the DLQ."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    for attempt, status in ((1, JobStatus.DELAYED), (2, JobStatus.DLQ)):
        cases.claim()
        given = {"worker": "w1", "attempt": attempt, "reason": "printer on fire", "error_type": "Fire"}
        assert _update(cases, job_id, "failed", **given) is status
        cases.clock.advance(60)
    failures = [event.facts for event in cases.events(job_id) if isinstance(event.facts, JobFailed)]
    assert [(facts.error_type, facts.message) for facts in failures] == [("Fire", "printer on fire")] * 2
    assert isinstance(cases.last_facts(job_id), JobSentToDlq)


def test_an_ending_is_fenced() -> None:
    """Another worker, or an attempt that ended, is refused."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.claim()
    update = {"tenant": "acme", "job": job_id, "status": "completed", "result": {}}
    cases.refused(LeaseLost, UpdateJobStatus, **update, worker="w2", attempt=1)
    cases.refused(LeaseLost, UpdateJobStatus, **update, worker="w1", attempt=2)
    assert cases.refused(InvalidInput, UpdateJobStatus, **update).field == "worker"
    assert cases.refused(InvalidInput, UpdateJobStatus, **update, worker="w1").field == "attempt"


def test_a_result_that_does_not_fit_is_refused() -> None:
    """With the field's path; the attempt goes on."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    cases.claim()
    update = {"tenant": "acme", "job": job_id, "status": "completed", "worker": "w1", "attempt": 1}
    assert cases.refused(InvalidInput, UpdateJobStatus, **update, result={"sent": "x"}).field == "result.sent"
    assert cases.topics(job_id)[-1] == "job.started"


_ILLEGAL = [
    ("pending", "completed"), ("pending", "failed"), ("pending", "in_progress"), ("pending", "blocked"),
    ("pending", "discarded"), ("in_progress", "pending"), ("in_progress", "delayed"), ("in_progress", "dlq"),
    ("in_progress", "discarded"), ("dlq", "completed"), ("dlq", "cancelled"), ("dlq", "delayed"), ("dlq", "dlq"),
    ("completed", "pending"), ("completed", "cancelled"), ("completed", "failed"), ("cancelled", "pending"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "target"), _ILLEGAL)
def test_an_illegal_move_names_both_statuses(status: str, target: str) -> None:
    """Where the job is, and where it cannot go."""
    cases = UseCases()
    job_id = _job_in(cases, status)
    refusal = cases.refused(
        IllegalTransition, UpdateJobStatus, tenant="acme", job=job_id, status=target, reason="x",
        due_at=START + timedelta(hours=1) if target == "delayed" else None,
    )  # fmt: skip
    assert refusal.status == status
    assert status in str(refusal) and str(refusal.target) in str(refusal)


def _job_in(cases: UseCases, status: str) -> UUID:
    if status == "dlq":
        return cases.dead().job_id
    job_id = cases.dispatch().job_id
    if status in ("in_progress", "completed"):
        (job,) = cases.claim()
        if status == "completed":
            cases.complete(job)
    if status == "cancelled":
        cases.ask(CancelJob, tenant="acme", job=job_id, reason="x")
    return job_id


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"status": "delayed"}, "due_at"), ({"status": "delayed", "due_at": START}, "due_at"),
        ({"status": "pending", "due_at": START + timedelta(hours=1)}, "due_at"), ({"status": "nonsense"}, "status"),
    ],
)  # fmt: skip
def test_a_status_that_says_too_little_is_refused(fields: dict[str, Any], field: str) -> None:
    """Delayed until when; pending is now."""
    cases = UseCases()
    job_id = cases.dispatch().job_id
    refusal = cases.refused(InvalidInput, UpdateJobStatus, tenant="acme", job=job_id, reason="x", **fields)
    assert str(refusal.field).startswith(field)


# --- conflicts -------------------------------------------------------------------------------------------------------


class _MovingRepository:
    """Another writer is faster, so many times."""

    def __init__(self, inner: LedgerJobRepository, answers: list[WriteStatus]) -> None:
        self.inner = inner
        self.answers = answers
        self.reads = 0

    def get(self, tenant: str, job_id: UUID) -> Job:
        self.reads += 1
        return self.inner.get(tenant, job_id)

    def get_many(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, Job]:
        return self.inner.get_many(tenant, job_ids)

    def save(self, events: Sequence[Event], expected_version: int | None, **rest: Any) -> Outcome:  # noqa: ANN401
        return Outcome(self.answers.pop(0)) if self.answers else self.inner.save(events, expected_version, **rest)


def _with_conflicts(answers: list[WriteStatus]) -> tuple[UseCases, _MovingRepository, UUID]:
    cases = UseCases()
    ports = cases.ledger.ports
    tenants = KnownTenants(ports.catalogue, ports.clock)
    repository = _MovingRepository(LedgerJobRepository(ports.reader, ports.writer), answers)
    dispatcher = Dispatcher(ports.clock, ports.identifiers)
    JobControl(
        repository=repository, queue=ports.queue, finder=JobFinder(ports.views, tenants),
        tenants=tenants, types=KnownTypes(app, ports.catalogue, ports.clock), positions=Positions(ports.reader),
        identifiers=ports.identifiers,
    ).register(dispatcher)  # fmt: skip
    job_id = cases.dispatch().job_id
    cases.dispatcher = dispatcher
    return cases, repository, job_id


def test_a_decision_is_taken_anew_when_the_job_moved_on() -> None:
    """Read again, decided again, saved."""
    cases, repository, job_id = _with_conflicts([WriteStatus.CONFLICT, WriteStatus.MISSING, WriteStatus.BUSY])
    assert cases.ask(CancelJob, tenant="acme", job=job_id, reason="x").status is JobStatus.CANCELLED
    assert repository.reads == 4


@pytest.mark.parametrize(("status", "error"), [(WriteStatus.CONFLICT, VersionConflict), (WriteStatus.BUSY, LedgerBusy)])
def test_a_job_that_never_holds_still_is_given_up(status: WriteStatus, error: type[Exception]) -> None:
    """After a bounded number of tries."""
    cases, repository, job_id = _with_conflicts([status] * 99)
    with pytest.raises(error):
        cases.ask(CancelJob, tenant="acme", job=job_id, reason="x")
    assert repository.reads == TRIES
