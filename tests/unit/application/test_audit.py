"""Replay for auditors, manual acts, and reads of bodies: what is handed out, and what is recorded of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

import pytest

from jobledger.application.audit_messages import (
    BeginExport,
    EndExport,
    Export,
    GetExport,
    ListManualActs,
    RecordedAct,
)
from jobledger.application.commands import (
    CancelJob,
    CreateTenant,
    DiscardJob,
    RequeueJob,
    RescheduleJob,
    SuspendTenant,
    UpdateJobStatus,
)
from jobledger.application.dlq_messages import GetDeadJob, RequeueDlq
from jobledger.application.limit_messages import PauseTarget
from jobledger.application.queries import GetJob, GetJobHistory, ListDlq, ListTenantJobs
from jobledger.application.writes import AppendEvents, WriteStatus
from jobledger.domain.audit import AuditExportBegun, AuditExported, BodiesRead
from jobledger.domain.errors import (
    InvalidInput,
    LedgerBusy,
    LedgerError,
    LedgerUnavailable,
    NotFound,
    UnknownTenant,
    UnknownTopic,
    VersionConflict,
)
from jobledger.domain.event import Event, Facts, RecordedEvent
from tests.support.use_cases import ACTOR, UseCases

SHA256 = "0" * 64


@pytest.fixture
def cases() -> UseCases:
    """All use cases, on a ledger in memory."""
    return UseCases()


def begin(cases: UseCases, tenant: str = "acme", **fields: object) -> Export:
    """Begin an export."""
    return cases.ask(BeginExport, tenant=tenant, **fields)


def topics(export: Export) -> list[str]:
    """What is handed out."""
    return [event.topic for event in export.events]


def recorded(cases: UseCases, topic: str, tenant: str = "acme") -> list[RecordedEvent]:
    """The events of a topic."""
    events = cases.ledger.reader.read_tenant(tenant, 0, limit=10_000).events
    return [event for event in events if event.topic == topic]


# --- exports ---------------------------------------------------------------------------------------------------------


def test_a_replay_is_one_tenants_events_in_order(cases: UseCases) -> None:
    """All there were when it began; its own record is not one of them."""
    cases.dispatch()
    (job,) = cases.claim()
    cases.complete(job)
    export = begin(cases)
    cases.dispatch()
    assert topics(export) == ["tenant.created", "job.dispatched", "job.started", "job.completed"]
    assert topics(begin(cases, "other")) == ["tenant.created"]


def test_it_is_recorded_before_the_first_event_and_after_the_last(cases: UseCases) -> None:
    """By whom, with which query, why; then what was handed out."""
    export = begin(cases, types=["job.*"], by="somebody", bodies=True, format="csv", reason="audit 2026")
    (begun,) = recorded(cases, "audit.export_begun")
    assert isinstance(begun.facts, AuditExportBegun) and begun.metadata.actor == ACTOR.id
    assert begun.facts.query == export.query and begun.facts.query.types == ("job.*",)
    assert (begun.facts.format, begun.facts.bodies, begun.facts.reason) == ("csv", True, "audit 2026")
    fields = {"tenant": "acme", "export_id": export.export_id}
    assert cases.ask(GetExport, **fields).ended is None
    ended = {"events": 3, "first_position": 1, "last_position": 9, "sha256": SHA256}
    cases.ask(EndExport, **fields, **ended)
    assert cases.ask(GetExport, **fields).ended == AuditExported.model_validate(ended)
    cases.refused(VersionConflict, EndExport, **fields, **ended)


def test_only_an_export_of_the_tenant_is_ended(cases: UseCases) -> None:
    """Neither a job nor another tenant's."""
    ended = {"events": 0, "first_position": None, "last_position": None, "sha256": SHA256}
    export = begin(cases)
    cases.refused(NotFound, EndExport, tenant="other", export_id=export.export_id, **ended)
    cases.refused(NotFound, EndExport, tenant="acme", export_id=cases.dispatch().job_id, **ended)
    cases.refused(NotFound, GetExport, tenant="other", export_id=export.export_id)


def test_nothing_is_handed_out_that_cannot_be_recorded(cases: UseCases) -> None:
    """Not even the iterator."""
    cases.ledger.writer.unavailable = LedgerUnavailable("the disk is full")
    with pytest.raises(LedgerUnavailable):
        begin(cases)


def test_types_and_actor_filter(cases: UseCases) -> None:
    """A family by its name and a star; several add up."""
    cases.dispatch()
    (job,) = cases.claim()
    cases.complete(job)
    assert topics(begin(cases, types=["job.started"])) == ["job.started"]
    assert topics(begin(cases, types=["tenant.*", "job.completed"])) == ["tenant.created", "job.completed"]
    assert topics(begin(cases, by="worker:w1")) == ["job.started", "job.completed"]
    assert topics(begin(cases, by="nobody")) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"types": ["jobs.*"]}, "types"), ({"types": ["*"]}, "types.0"), ({"types": ["job.st*"]}, "types.0"),
        ({"format": "xml"}, "format"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused(cases: UseCases, fields: dict[str, object], named: str) -> None:
    """And not recorded."""
    assert cases.refused(InvalidInput, BeginExport, tenant="acme", **fields).field == named
    assert recorded(cases, "audit.export_begun") == []


def test_a_period_ends_after_it_begins(cases: UseCases) -> None:
    """An empty one is a mistake."""
    now = cases.clock.now()
    cases.refused(InvalidInput, BeginExport, tenant="acme", recorded_from=now, recorded_to=now)


def test_unknown_tenants_are_refused_and_the_installation_is_not(cases: UseCases) -> None:
    """Its events belong to the tenant `system`."""
    cases.refused(UnknownTenant, BeginExport, tenant="nobody")
    cases.ask(PauseTarget, queue="mail", reason="provider down")
    assert topics(begin(cases, "system")) == ["queue.paused"]


def test_a_period_holds_what_was_recorded_in_it(cases: UseCases) -> None:
    """From inclusive, to exclusive; closed once something was recorded an hour behind it."""
    moments = []
    for _ in range(6):
        cases.clock.advance(1_800)
        moments.append(cases.clock.now())
        cases.dispatch()
    closed = begin(cases, types=["job.*"], recorded_from=moments[1], recorded_to=moments[3])
    assert [event.recorded_at for event in closed.events] == moments[1:3]
    assert not closed.horizon_reached
    open_end = begin(cases, types=["job.*"], recorded_from=moments[4], recorded_to=moments[5] + timedelta(days=1))
    assert [event.recorded_at for event in open_end.events] == moments[4:]
    assert open_end.horizon_reached and begin(cases).horizon_reached


@pytest.mark.parametrize("bodies", [False, True])
def test_it_is_read_page_by_page(cases: UseCases, monkeypatch: pytest.MonkeyPatch, bodies: bool) -> None:
    """More than a page comes whole; a body only for who asked."""
    monkeypatch.setattr("jobledger.application.audit.PAGE", 2)
    monkeypatch.setattr("jobledger.application.audit.PAGE_WITH_BODIES", 2)
    ids = [cases.dispatch(invoice_id=str(number)).job_id for number in range(5)]
    events = list(begin(cases, types=["job.dispatched"], bodies=bodies).events)
    assert [event.originator_id for event in events] == ids
    assert all((event.body is not None) is bodies for event in events)


# --- manual acts -----------------------------------------------------------------------------------------------------


def acts(cases: UseCases, **fields: object) -> list[RecordedAct]:
    """All pages, of three each."""
    found: list[RecordedAct] = []
    cursor: str | None = None
    while True:
        page = cases.ask(ListManualActs, cursor=cursor, limit=3, **fields)
        found += page.acts
        if page.cursor is None:
            return found
        assert len(page.acts) == 3
        cursor = page.cursor


def test_the_acts_of_people_are_listed(cases: UseCases) -> None:
    """In order, with why and ticket, and nothing of what programs did by themselves."""
    first, second, third = (cases.dispatch(invoice_id=str(number)).job_id for number in range(3))
    cases.ask(RescheduleJob, tenant="acme", job=first, priority=5, reason="urgent")
    cases.ask(CancelJob, tenant="acme", job=first, reason="not needed")
    (job,) = cases.claim()
    cases.fail(job, for_good=True)
    cases.ask(RequeueJob, tenant="acme", job=second, reason="fixed", ticket="OPS-1")
    cases.ask(UpdateJobStatus, tenant="acme", job=third, status="dlq", reason="wrong customer")
    cases.ask(DiscardJob, tenant="acme", job=third, reason="gone")
    cases.dispatch(invoice_id="9", manual=True, reason="by hand")
    cases.ask(SuspendTenant, name="other", reason="unpaid")
    told = [(act.tenant, act.act.what, act.act.reason, act.act.ticket) for act in acts(cases)]
    assert told == [
        ("acme", "created", "", None), ("other", "created", "", None), ("acme", "rescheduled", "urgent", None),
        ("acme", "cancelled", "not needed", None), ("acme", "requeued", "fixed", "OPS-1"),
        ("acme", "sent to the DLQ", "wrong customer", None), ("acme", "discarded", "gone", None),
        ("acme", "dispatched by hand", "by hand", None), ("other", "suspended", "unpaid", None),
    ]  # fmt: skip
    assert [act.job_id for act in acts(cases, tenant="acme")][1:3] == [first, first]
    assert {act.tenant for act in acts(cases, tenant="other")} == {"other"}


def test_acts_of_the_installation_are_its_own(cases: UseCases) -> None:
    """Under the tenant `system`, and among all."""
    cases.ask(PauseTarget, queue="mail", reason="provider down")
    (act,) = acts(cases, tenant="system")
    assert (act.act.what, act.act.subject, act.job_id) == ("paused", "queue mail", None)
    assert acts(cases)[-1] == act


def test_a_cancellation_of_a_running_job_is_one_act(cases: UseCases) -> None:
    """Who asked is listed; that the attempt then failed, and the job with it, is what followed."""
    job_id = cases.dispatch().job_id
    (job,) = cases.claim()
    cases.ask(CancelJob, tenant="acme", job=job_id, reason="too slow")
    cases.fail(cases.ledger.queue.open_jobs("acme", [job.job_id])[job.job_id])
    assert [event.topic for event in cases.events(job_id)][-2:] == ["job.failed", "job.cancelled"]
    assert [act.act.what for act in acts(cases, tenant="acme")] == ["created", "asked to cancel"]


def test_acts_are_filtered_by_actor_and_time(cases: UseCases) -> None:
    """Of all tenants, as of one."""
    cases.clock.advance(7_200)
    since = cases.clock.now()
    cases.ask(CreateTenant, name="third")
    assert [act.act.subject for act in acts(cases, recorded_from=since)] == ["tenant third"]
    assert [act.act.subject for act in acts(cases, recorded_to=since)] == ["tenant acme", "tenant other"]
    assert acts(cases, by="nobody") == [] and len(acts(cases, by=ACTOR.id)) == 3


def test_each_job_of_a_bulk_act_names_it(cases: UseCases) -> None:
    """The act itself is listed, too."""
    cases.dead()
    cases.ask(RequeueDlq, tenant="acme", confirmed=1, reason="fixed")
    bulk, job = acts(cases, tenant="acme")[-2:]
    assert (bulk.act.what, job.act.what, job.cause) == ("began a bulk act", "requeued", bulk.event_id)


# --- reads of bodies -------------------------------------------------------------------------------------------------


def reads(cases: UseCases) -> list[tuple[UUID, tuple[int, ...], str]]:
    """Reads of bodies that are recorded: of which job, which versions, by whom."""
    found = [(event.facts, event.metadata.actor) for event in recorded(cases, "audit.bodies_read")]
    return [(facts.job_id, facts.versions, actor) for facts, actor in found if isinstance(facts, BodiesRead)]


def test_a_read_of_a_payload_and_a_result_is_recorded(cases: UseCases) -> None:
    """Who, of which job, which versions: those whose bodies were shown."""
    job_id = cases.dispatch().job_id
    assert cases.ask(GetJob, tenant="acme", job=job_id, bodies=True).payload
    (job,) = cases.claim()
    cases.complete(job)
    assert cases.ask(GetJob, tenant="acme", job=job_id, bodies=True).result == b"null"
    assert reads(cases) == [(job_id, (1,), ACTOR.id), (job_id, (1, 3), ACTOR.id)]


def test_a_read_of_a_history_with_bodies_is_recorded(cases: UseCases) -> None:
    """Only of the page that was shown; one without a body on it is none."""
    job_id = cases.dispatch().job_id
    (job,) = cases.claim()
    cases.complete(job)
    cases.ask(GetJobHistory, tenant="acme", job=job_id, bodies=True, limit=1)
    cases.ask(GetJobHistory, tenant="acme", job=job_id, bodies=True, after_version=1, limit=1)
    assert reads(cases) == [(job_id, (1,), ACTOR.id)]


def test_a_read_of_a_dead_jobs_bodies_is_one(cases: UseCases) -> None:
    """Payload and traceback together; a job that is not dead shows none, and nothing is recorded."""
    dead, alive = cases.dead().job_id, cases.dispatch(invoice_id="2").job_id
    cases.ask(GetDeadJob, tenant="acme", job=dead, bodies=True)
    cases.refused(InvalidInput, GetDeadJob, tenant="acme", job=alive, bodies=True)
    assert reads(cases) == [(dead, (1, 3), ACTOR.id)]


def test_what_shows_no_body_is_not_recorded(cases: UseCases) -> None:
    """Facts, lists, and the reads of workers."""
    job_id = cases.dead().job_id
    cases.ask(GetJob, tenant="acme", job=job_id)
    cases.ask(GetJobHistory, tenant="acme", job=job_id)
    cases.ask(GetDeadJob, tenant="acme", job=job_id)
    cases.ask(ListTenantJobs, tenant="acme")
    cases.ask(ListDlq, tenant="acme")
    assert reads(cases) == []


@pytest.mark.parametrize("error", [LedgerUnavailable("the disk is full"), LedgerBusy("too slow")], ids=type)
@pytest.mark.parametrize("query", [GetJob, GetJobHistory, GetDeadJob])
def test_bodies_that_cannot_be_recorded_are_not_shown(
    cases: UseCases, query: Callable[..., Any], error: LedgerError
) -> None:
    """The error says so, and that everything else can be had."""
    job_id = cases.dead().job_id
    cases.ledger.writer.unavailable = error
    with pytest.raises(type(error), match="bodies are not shown, because who reads them is recorded first") as caught:
        cases.send(query, tenant="acme", job=job_id, bodies=True)  # type: ignore[arg-type]
    assert error.message in caught.value.message and "--no-bodies" in (caught.value.hint or "")
    cases.ask(query, tenant="acme", job=job_id, bodies=False)  # type: ignore[arg-type]


# --- what is newer than this program ---------------------------------------------------------------------------------


class _Praised(Facts):
    """An event of a version to come."""

    topic: ClassVar[str] = "job.praised"


def praise(cases: UseCases) -> None:
    """Record one, as a newer program beside this one does."""
    event = cases.events(cases.dispatch().job_id)[-1]
    newer = Event(event.originator_id, 2, "acme", event.metadata, _Praised())
    assert cases.ledger.writer.write([AppendEvents((newer,))])[0].status is WriteStatus.WRITTEN


@pytest.mark.parametrize("types", [(), ("job.*",), ("job.failed", "job.*")])
def test_an_export_stops_at_what_it_cannot_read(cases: UseCases, types: tuple[str, ...]) -> None:
    """A family holds what is newer than this program, too: it is not left out in silence."""
    praise(cases)
    export = begin(cases, types=types)
    with pytest.raises(UnknownTopic, match=r"job\.praised"):
        topics(export)


def test_an_export_of_other_types_goes_on(cases: UseCases) -> None:
    """What was not asked for need not be read."""
    praise(cases)
    assert topics(begin(cases, types=("job.dispatched", "tenant.*"))) == ["tenant.created", "job.dispatched"]


@pytest.mark.parametrize("tenant", ["acme", None])
def test_acts_that_may_be_missing_are_not_listed_as_if_they_were_all(cases: UseCases, tenant: str | None) -> None:
    """Whether something newer is an act, only the newer program knows."""
    praise(cases)
    with pytest.raises(UnknownTopic):
        cases.send(ListManualActs, tenant=tenant)
