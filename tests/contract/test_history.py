"""The past of jobs on all adapters: as they were, what changed, what caused them and what they caused."""

# ruff: noqa: ANN401 - options go through to pydantic models, which check them

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all

from jobledger.application import investigating, job_streams
from jobledger.application.commands import DispatchJob, RequeueJob
from jobledger.application.dispatch_item import Dispatch
from jobledger.application.dispatcher import Dispatcher
from jobledger.application.limit_messages import ExplainJob
from jobledger.application.message import Actor, Message, Query
from jobledger.application.ports import JobFilter, JobViews
from jobledger.application.positions import Positions
from jobledger.application.queries import (
    DiffJob,
    GetCauses,
    GetJob,
    GetJobHistory,
    JobListAsOf,
    ListDlq,
    ListJobsAsOf,
    ListPersonaJobs,
    ListTenantJobs,
    Trace,
    TraceRequest,
)
from jobledger.application.result import Refused
from jobledger.application.statistics import GetTenantStatistics
from jobledger.application.tracing_requests import REFUSALS_MAX
from jobledger.application.use_cases import Ports, use_cases
from jobledger.domain import job as jobs
from jobledger.domain.audit import BodiesRead
from jobledger.domain.errors import InvalidInput, NotFound, UnknownJobType
from jobledger.domain.event import RecordedEvent
from jobledger.domain.job import AttemptError, JobStatus, Lease, Measured
from jobledger.infrastructure.memory.statistics import MemoryStatistics
from jobledger.infrastructure.memory.store import Store
from jobledger.infrastructure.memory.views import MemoryJobViews
from jobledger.infrastructure.system import RandomIdentifiers, SystemClock, SystemKeyMint
from jobledger.projections.tenant_jobs import TENANT_JOBS
from tests.support.given import NOW
from tests.support.seen import histories, moves
from tests.support.use_cases import app

from .support import LedgerUnderTest, job_id, metadata
from .views_support import Opened, ReadSide, open_read_side

ACTOR = Actor(id="person:ana")
R = TypeVar("R")


@dataclass
class Past:
    """A ledger with every use case over it."""

    ledger: LedgerUnderTest
    views: JobViews
    dispatcher: Dispatcher
    own: Opened | None

    def project(self) -> None:
        """Bring the lists up to date (in memory they always are)."""
        if self.own is not None:
            self.own.project()

    def ask(self, query: type[Message[R]], **fields: Any) -> R:
        """The answer, for tenant `acme` unless another is named."""
        return self.dispatcher.send(query, actor=ACTOR, **{"tenant": "acme", **fields}).unwrap()

    def born(self, request: str = "flow-1", cause: str | None = None, **options: Any) -> UUID:
        """A job of a request, caused by a message."""
        return self.ledger.dispatch(about=metadata(correlation_id=request, causation_id=cause), **options)

    def recorded_at(self, job: UUID, version: int, tenant: str = "acme") -> datetime:
        """When a version of a job was recorded."""
        return self.ledger.reader.stream(tenant, job)[version - 1].recorded_at

    def fail_for_good(self) -> UUID:
        """Claim the only job that is ready and send it to the DLQ."""
        job = self.ledger.claim_one()
        lease = Lease("w1", job.state.attempt)
        error = AttemptError("Broken", "it broke", "f", dlq_reason="unrecoverable")
        facts = jobs.fail(job.state, lease, error, now=NOW, jitter=0, measured=Measured())
        assert self.ledger.change(job, *facts, lease=lease).position is not None
        return job.job_id


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def past(request: pytest.FixtureRequest) -> Iterator[Past]:
    """Once per adapter."""
    ledger: LedgerUnderTest = request.getfixturevalue(f"{request.param}_ledger")
    with ExitStack() as closing:
        own = None
        store = Store(lambda: NOW)
        if request.param == "memory":
            store = ledger.queue._store  # type: ignore[attr-defined]
            views: JobViews = MemoryJobViews(store)
        else:
            own = closing.enter_context(open_read_side(ledger))
            views = own.views
        ports = Ports(
            writer=ledger.writer, transaction_writer=ledger.transaction_writer, reader=ledger.reader,
            queue=ledger.queue, catalogue=ledger.catalogue, views=views,
            statistics=MemoryStatistics(store), clock=SystemClock(), identifiers=RandomIdentifiers(),
            keys=ledger.keys, key_mint=SystemKeyMint(),
        )  # fmt: skip
        for tenant in ("acme", "other"):
            ledger.create_tenant(tenant)
        yield Past(ledger, views, use_cases(ports, app=app), own)


# --- one job as it was -----------------------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@for_all(chosen=moves)
def test_as_of_a_version_is_the_fold_up_to_it(past: Past, chosen: list[tuple[int, str, float]]) -> None:
    """Random histories: whatever version is asked for, the state is that of folding the stream up to it, and so is the
    list as of the moment it was recorded."""
    side = ReadSide(past.ledger, past.own)  # type: ignore[arg-type]  # memory has no read side to open
    ids = [job_id() for _ in range(6)]
    for tenant in ("tenant-0", "tenant-1"):
        if past.ledger.catalogue.tenant(tenant) is None:
            past.ledger.create_tenant(tenant)
    side.append(histories(chosen, ids))
    past.project()
    for which, job in enumerate(ids):
        tenant = f"tenant-{which % 2}"
        state = None
        for event in past.ledger.reader.stream(tenant, job):
            state = jobs.evolve(state, event.facts)
            shown = past.ask(GetJob, tenant=tenant, job=job, as_of=event.originator_version)
            assert (shown.state, shown.version) == (state, event.originator_version)
            assert shown.past is not None and shown.updated_at == event.recorded_at
            at_the_time = past.ask(GetJob, tenant=tenant, job=job, as_of=event.recorded_at)
            page = past.ask(ListJobsAsOf, tenant=tenant, as_of=event.recorded_at, limit=500)
            (line,) = [row for row in page.rows if row.job_id == job]
            assert line.status is at_the_time.status and line.attempt == at_the_time.state.attempt
            assert line.failed == at_the_time.failed and line.attempts_allowed == at_the_time.state.attempts_allowed


def test_before_its_first_event_there_is_no_job(past: Past) -> None:
    """The refusal says since when there is one; a version that it has not reached is refused as well."""
    job = past.born()
    with pytest.raises(NotFound, match="it was dispatched at") as caught:
        past.ask(GetJob, job=job, as_of=past.recorded_at(job, 1) - timedelta(seconds=1))
    assert caught.value.field == "as_of"
    with pytest.raises(InvalidInput, match="has no version 2"):
        past.ask(GetJob, job=job, as_of=2)
    assert past.ask(GetJob, job=job, as_of=past.recorded_at(job, 1)).status is JobStatus.PENDING
    with pytest.raises(NotFound, match="has no job"):
        past.ask(GetJob, tenant="other", job=job, as_of=1)


# --- lists as they were ----------------------------------------------------------------------------------------------


def pages(past: Past, **fields: Any) -> list[JobListAsOf]:
    """All pages of a list as of a moment."""
    found = [past.ask(ListJobsAsOf, **fields)]
    while found[-1].cursor is not None:
        found.append(past.ask(ListJobsAsOf, **fields, cursor=found[-1].cursor))
    return found


def test_a_list_as_of_a_moment_is_the_list_of_that_moment(past: Past) -> None:
    """With every filter: the lines that the list showed then, though all of them changed since."""
    filters = [JobFilter(), JobFilter(status=JobStatus.DLQ), JobFilter(failed=True), JobFilter(queue="default"),
               JobFilter(status=JobStatus.PENDING, failed=False), JobFilter(job_type="nothing")]  # fmt: skip
    first = past.born(persona="bot")
    past.fail_for_good()
    for _ in range(3):
        past.born()
    past.ledger.complete(past.ledger.claim_one())
    past.project()
    everything = past.views.tenant_jobs("acme", JobFilter(), after=None, limit=99).rows
    moment = max(row.updated_at for row in everything)
    expected = {where: past.views.tenant_jobs("acme", where, after=None, limit=99).rows for where in filters}
    expected_bot = past.views.persona_jobs("acme", "bot", JobFilter(), after=None, limit=99).rows

    while SystemClock().now() <= moment:
        pass
    past.born()
    past.ask(RequeueJob, job=first, reason="fixed")
    while past.ledger.claim().jobs:
        pass
    past.project()
    for where, rows in expected.items():
        for limit in (1, 2, 50):
            asked = {name: value for name, value in where._asdict().items() if value is not None}
            found = pages(past, as_of=moment, limit=limit, **asked)
            assert tuple(row for page in found for row in page.rows) == rows, (where, limit)
    assert pages(past, as_of=moment, persona="bot")[0].rows == expected_bot
    assert pages(past, as_of=past.recorded_at(first, 1) - timedelta(seconds=1))[0].rows == ()


def test_a_page_looks_at_a_bounded_number_of_jobs(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where few match, a page is short, even empty, and still opens the next one: nothing is missed."""
    monkeypatch.setattr(investigating, "SCAN_MAX", 3)
    monkeypatch.setattr(investigating, "_CHUNK", 2)
    dead = past.born()
    past.fail_for_good()
    for _ in range(7):
        past.born()
    past.project()
    found = pages(past, as_of=SystemClock().now() + timedelta(minutes=1), status=JobStatus.DLQ)
    assert [page.scanned for page in found] == [3, 3, 2]
    assert [[row.job_id for row in page.rows] for page in found] == [[], [], [dead]]


# --- differences -----------------------------------------------------------------------------------------------------


def test_a_diff_names_the_fields_that_changed(past: Past) -> None:
    """Before and after, in both directions; nothing where nothing did."""
    job = past.born()
    past.fail_for_good()
    forth = past.ask(DiffJob, job=job, from_version=1)
    assert (forth.before.version, forth.after.version) == (1, 4)
    changed = {change.name: (change.before, change.after) for change in forth.fields}
    assert changed["status"] == ("pending", "dlq") and changed["attempt"] == (0, 1)
    assert changed["error_type"] == (None, "Broken") and "priority" not in changed
    assert forth.topics == ("job.started", "job.failed", "job.sent_to_dlq") and forth.payload is None
    back = past.ask(DiffJob, job=job, from_version=4, to_version=1)
    assert {change.name: (change.after, change.before) for change in back.fields} == changed
    assert past.ask(DiffJob, job=job, from_version=2, to_version=2).fields == ()
    with pytest.raises(InvalidInput, match="has no version 5"):
        past.ask(DiffJob, job=job, from_version=1, to_version=5)


def test_a_diff_shows_values_of_the_payload_only_to_who_asks_and_records_that(past: Past) -> None:
    """Without bodies the places alone; with them the values, and the ledger says who looked."""
    job = past.born(payload=b'{"invoice_id":"42","note":"old"}')
    past.fail_for_good()
    past.ask(RequeueJob, job=job, reason="fixed", payload={"invoice_id": "42", "note": "new"})
    before = past.ledger.reader.head()
    places = past.ask(DiffJob, job=job, from_version=4).payload
    assert places is not None and places.differences is None and places.places is not None
    assert ("replace", "/note") in [(place.op, place.path) for place in places.places]
    assert past.ledger.reader.read_after(before, limit=9).events == ()
    values = past.ask(DiffJob, job=job, from_version=4, bodies=True).payload
    assert values is not None and values.differences is not None
    (note,) = [each for each in values.differences if each.path == "/note"]
    assert (note.before, note.after) == ("old", "new")
    (read,) = past.ledger.reader.read_after(before, limit=9).events
    assert isinstance(read.facts, BodiesRead) and read.facts.versions == (1, 5)


# --- causes and traces -----------------------------------------------------------------------------------------------


def test_a_job_knows_what_caused_it_and_what_it_caused(past: Past) -> None:
    """The event of the job that did, or the id of a message from elsewhere; never anything of another tenant."""
    root = past.born(cause="order-4711.placed")
    children = [past.born(cause=f"{root}.1") for _ in range(3)]
    foreign = past.born(tenant="other", cause=f"{root}.1")
    past.project()
    found = past.ask(GetCauses, job=root, limit=2)
    assert found.cause == ("order-4711.placed", None) and found.correlation_id == "flow-1"
    assert [job.job_id for job in found.caused] == sorted(children)[:2] and found.more
    assert all(job.listed is not None and job.caused_by == root for job in found.caused)
    child = past.ask(GetCauses, job=children[0])
    assert child.cause is not None and child.cause.event is not None and child.caused == ()
    assert (child.cause.event.originator_id, child.cause.event.originator_version) == (root, 1)
    other = past.ask(GetCauses, tenant="other", job=foreign)
    assert other.cause == (f"{root}.1", None)
    with pytest.raises(NotFound):
        past.ask(GetCauses, tenant="other", job=root)


def traced(found: Trace) -> dict[UUID, UUID | None]:
    """Jobs with what caused them."""
    return {job.job_id: job.caused_by for job in found.jobs}


def test_a_trace_holds_what_one_request_caused(past: Past) -> None:
    """Its jobs and those that these caused, through other requests too; not those of others or of other tenants."""
    root = past.born("order 4711")
    child = past.born("order 4711", cause=f"{root}.1")
    elsewhere = past.born("another", cause=f"{child}.1")
    further = past.born("a third", cause=f"{elsewhere}.1")
    past.born("unrelated")
    past.born("order 4711", tenant="other")
    past.project()
    found = past.ask(TraceRequest, request="order 4711")
    assert traced(found) == {root: None, child: root, elsewhere: child, further: elsewhere}
    assert (found.cursor, found.more, found.refused) == (None, False, ())
    with pytest.raises(NotFound):
        past.ask(TraceRequest, request="order 471")


def test_a_trace_is_paged_in_the_order_of_births(past: Past) -> None:
    """Each job of the request is on one page."""
    born = [past.born("r") for _ in range(5)]
    past.project()
    ids: list[UUID] = []
    cursor: str | None = None
    for _ in range(3):
        page = past.ask(TraceRequest, request="r", limit=2, cursor=cursor)
        ids += [job.job_id for job in page.jobs]
        cursor = page.cursor
    assert ids == sorted(born) and cursor is None


def test_a_trace_shows_dispatches_that_were_refused(past: Past) -> None:
    """Those that claimed this tenant, in the request that they were part of, with the job that asked for them."""
    root = past.born("r")
    for tenant in ("acme", "other"):
        item = Dispatch("no.such", {}, tenant=tenant, correlation_id="r", causation_id=f"{root}.1")
        with pytest.raises(UnknownJobType):
            past.dispatcher.send(DispatchJob, actor=ACTOR, item=item).unwrap()
    past.project()
    (refused,) = past.ask(TraceRequest, request="r").refused
    assert refused.caused_by == root and refused.event.facts.model_dump()["type_claimed"] == "no.such"
    assert len(past.ask(TraceRequest, tenant="other", request="r").refused) == 1


def test_a_request_that_nobody_made_is_not_found(past: Past) -> None:
    """With until when that is known; also where only another tenant has one of that name. Behind the last page of one
    that is there, there is nothing, and that is no error."""
    job = past.born("r")
    past.project()
    for tenant, request in (("acme", "never"), ("other", "r")):
        with pytest.raises(NotFound, match=r"as of .*position") as refused:
            past.ask(TraceRequest, tenant=tenant, request=request)
        assert refused.value.field == "request" and refused.value.hint
    assert past.ask(TraceRequest, request="r", cursor=job).jobs == ()


@pytest.mark.parametrize(
    "name", ['"; DROP TABLE job_traces; --', "çà et là\t", "x" * 200, 'a","trace_parent":"b', "\\"]
)
def test_callers_may_call_their_requests_what_they_like(past: Past, name: str) -> None:
    """It is found under the very name."""
    job = past.born(name, cause=name)
    past.project()
    assert traced(past.ask(TraceRequest, request=name)) == {job: None}


def test_what_other_tenants_were_refused_neither_shows_nor_hides_ours(past: Past) -> None:
    """A correlation id is what its callers say: two may say the same, and one may be refused very often."""

    def refuse(tenant: str, times: int) -> None:
        item = Dispatch("no.such", {}, tenant=tenant, correlation_id="r")
        for _ in range(times):
            assert not past.dispatcher.send(DispatchJob, actor=ACTOR, item=item).is_accepted
        past.project()

    refuse("other", REFUSALS_MAX + 1)
    with pytest.raises(NotFound):
        past.ask(TraceRequest, request="r")
    refuse("acme", 1)
    found = past.ask(TraceRequest, request="r")
    assert (len(found.refused), found.more) == (1, False)
    theirs = past.ask(TraceRequest, tenant="other", request="r")
    assert (len(theirs.refused), theirs.more) == (REFUSALS_MAX, True)


def test_a_version_says_how_much_came_later(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is counted, though no more than the next event is read."""
    past.born()
    job_id = past.fail_for_good()
    events = past.ledger.reader.stream("acme", job_id)
    assert past.ledger.reader.last_version("acme", job_id) == len(events) == 4
    assert past.ledger.reader.last_version("other", job_id) == 0
    limits: list[int | None] = []
    read = past.ledger.reader.stream

    def reading(*place: Any, limit: int | None = None, **options: Any) -> list[RecordedEvent]:
        limits.append(limit)
        return read(*place, limit=limit, **options)

    monkeypatch.setattr(past.ledger.reader, "stream", reading)
    for version in (1, 2, 3, 4):
        shown = past.ask(GetJob, job=job_id, as_of=version).past
        until = None if version == 4 else events[version].recorded_at
        assert shown is not None and (shown.later_events, shown.until) == (4 - version, until)
    assert limits == [2, 3, 4, 5]
    with pytest.raises(InvalidInput, match="its last is 4"):
        past.ask(GetJob, job=job_id, as_of=9_999_999_999)


def make_noise(past: Past) -> UUID:
    """A job that reports, logs and records steps again and again, in two attempts; all it has is noise, mostly."""
    job_id = past.born()
    for last in (False, True):
        job = past.ledger.claim_one()
        lease = Lease("w1", job.state.attempt)
        for n in range(3):
            past.ledger.change(job, *jobs.progress(job.state, lease, fraction=n / 10), lease=lease)
            past.ledger.change(job, *jobs.log(job.state, lease, level="info", line_count=1), lease=lease, body=b"x")
            past.ledger.change(job, *jobs.record_step(job.state, lease, step=f"s{n}", key="k"), lease=lease, body=b"1")
        if last:
            past.ledger.complete(job)
        else:
            past.ledger.change(job, *jobs.snooze(job.state, lease, due_at=NOW, why="not now"), lease=lease)
    return job_id


def everything(past: Past, job: UUID) -> list[object]:
    """All that can be asked of the past of a job, as of each version and each moment."""
    events = past.ledger.reader.stream("acme", job)
    answers: list[object] = [past.ask(GetJob, job=job), past.ask(ExplainJob, job=job)]
    for event in events:
        version, moment = event.originator_version, event.recorded_at
        answers += [past.ask(GetJob, job=job, as_of=version), past.ask(GetJob, job=job, as_of=moment)]
        answers.append(past.ask(ListJobsAsOf, as_of=moment).rows)
        answers += [past.ask(DiffJob, job=job, from_version=version, to_version=each) for each in (1, 5, len(events))]
    return answers


@pytest.mark.parametrize("page", [1, 2, 3, 10])
def test_pages_of_any_size_come_to_the_same(past: Past, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    """A long job is read page by page, without what its state does not depend on; nobody sees a difference."""
    job = make_noise(past)
    past.project()
    whole = everything(past, job)
    monkeypatch.setattr(job_streams, "PAGE", page)
    monkeypatch.setattr(investigating, "BEGINNING", page)
    assert everything(past, job) == whole
    with pytest.raises(NotFound, match="did not exist at"):
        past.ask(GetJob, job=job, as_of=past.recorded_at(job, 1) - timedelta(seconds=1))
    for version in (24, 99):
        with pytest.raises(InvalidInput, match="its last is 23"):
            past.ask(GetJob, job=job, as_of=version)
    with pytest.raises(NotFound, match="has no job"):
        past.ask(GetJob, tenant="other", job=job, as_of=20)


def test_what_does_not_decide_is_not_fetched(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a job with much noise, hardly more is read than the events that its state comes from."""
    job = make_noise(past)
    monkeypatch.setattr(job_streams, "PAGE", 3)
    read: list[RecordedEvent] = []
    reader = past.ledger.reader
    for name in ("stream", "stream_part"):
        original = getattr(reader, name)

        def counting(*place: Any, original: Any = original, **options: Any) -> list[RecordedEvent]:
            found: list[RecordedEvent] = original(*place, **options)
            read.extend(found)
            return found

        monkeypatch.setattr(reader, name, counting)
    past.ask(GetJob, job=job)
    assert len(read) <= 8 and len(past.ledger.reader.topics("acme", job, 0, 99)) == 23


@pytest.mark.parametrize("as_of", [0, -1, 1.5, True])
def test_a_number_that_is_no_version_is_no_moment(past: Past, as_of: object) -> None:
    """It is refused, and not taken for seconds since 1970."""
    with pytest.raises(InvalidInput, match="as_of"):
        past.ask(GetJob, job=past.born(), as_of=as_of)


def test_numbers_that_no_database_holds_are_refused(past: Past) -> None:
    """Those that it can hold are versions that the job does not have, or has none behind."""
    job = past.born()
    for fields in {"from_version": 1 << 70}, {"from_version": 1, "to_version": 1 << 70}:
        with pytest.raises(InvalidInput, match="_version"):
            past.ask(DiffJob, job=job, **fields)
    with pytest.raises(InvalidInput, match="after_version"):
        past.ask(GetJobHistory, job=job, after_version=1 << 70)
    assert past.ask(GetJobHistory, job=job, after_version=1 << 62).events == ()
    with pytest.raises(InvalidInput, match="its last is 1"):
        past.ask(DiffJob, job=job, from_version=1 << 62)


# --- waiting for what was written ------------------------------------------------------------------------------------


def test_a_query_waits_for_what_it_reads_only(past: Past) -> None:
    """A statistics view that stands still, or is slow, keeps no list back; a view that a query reads does."""
    job_id = past.born(persona="bot")
    after = Positions(past.ledger.reader).text(past.ledger.reader.head())
    patience = {"after": after, "timeout_seconds": 0.05}
    if past.own is not None:
        past.own.runner(TENANT_JOBS).run_until_current()
    assert [row.job_id for row in past.ask(ListTenantJobs, **patience).rows] == [job_id]
    assert past.ask(ListJobsAsOf, as_of=datetime.now(UTC) + timedelta(days=1), **patience).scanned == 1
    others: list[tuple[type[Query[Any]], dict[str, Any]]] = [
        (ListPersonaJobs, {"persona": "bot"}), (ListDlq, {}), (TraceRequest, {"request": "flow-1"}),
        (GetCauses, {"job": job_id}), (GetTenantStatistics, {}),
    ]  # fmt: skip
    for query, options in others:
        answer = past.dispatcher.send(query, actor=ACTOR, tenant="acme", **options, **patience)
        assert isinstance(answer, Refused) == (past.own is not None), query  # in memory all views are current


def test_a_short_id_is_found_while_its_own_view_lags(past: Past) -> None:
    """Though the list of jobs shows the job already: its short id is looked up in another view."""
    job_id = past.born()
    if past.own is not None:
        past.own.runner(TENANT_JOBS).run_until_current()
    assert past.views.find_by_short_id("acme", job_id.hex[-8:]) == [job_id]
