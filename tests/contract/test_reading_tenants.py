"""What every ledger promises to auditors: one tenant's events in order, page by page, never beyond the horizon."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from jobledger.application.ports import EventFilter
from jobledger.domain.event import RecordedEvent
from jobledger.domain.manual_act import BY_HAND_MARK
from jobledger.infrastructure.postgres.connect import open_ledger

from .support import LedgerUnderTest, new_job


def read_all(
    ledger: LedgerUnderTest, tenant: str | None = "acme", limit: int = 2, **options: object
) -> list[RecordedEvent]:
    """All pages, each begun where the one before ended."""
    events: list[RecordedEvent] = []
    position, more = 0, True
    while more:
        page = ledger.reader.read_tenant(tenant, position, limit=limit, **options)  # type: ignore[arg-type]
        assert page.position >= position
        events += page.events
        position, more = page.position, len(page.events) == limit
    return events


def test_a_tenants_events_come_in_order_of_position(ledger: LedgerUnderTest) -> None:
    """Across its streams, with nothing of other tenants between them."""
    ids = [ledger.dispatch(), ledger.dispatch(tenant="other"), ledger.dispatch(), ledger.dispatch()]
    found = read_all(ledger)
    assert [event.topic for event in found] == ["tenant.created", *["job.dispatched"] * 3]
    assert [event.originator_id for event in found[1:]] == [ids[0], ids[2], ids[3]]
    assert [event.position for event in found] == sorted(event.position for event in found)
    assert {event.tenant for event in found} == {"acme"}
    assert [event.originator_id for event in read_all(ledger, "other")][1:] == [ids[1]]
    assert read_all(ledger, "nobody") == []


@pytest.mark.parametrize("limit", [1, 3, 4, 5])
def test_pages_of_any_size_hold_the_same(ledger: LedgerUnderTest, limit: int) -> None:
    """Also where the last page is just full."""
    for _ in range(3):
        ledger.dispatch()
    assert read_all(ledger, limit=limit) == read_all(ledger, limit=100)


def test_bodies_only_for_who_asks(ledger: LedgerUnderTest) -> None:
    """Without, none is read."""
    ledger.dispatch()
    assert [event.body for event in read_all(ledger)] == [None, None]
    assert [event.body for event in read_all(ledger, bodies=True)] == [None, b'{"invoice":"42"}']


def test_topics_are_filtered_by_the_ledger(ledger: LedgerUnderTest) -> None:
    """Others count as read; no topics, no events."""
    for _ in range(3):
        ledger.dispatch()
    ledger.claim(limit=2)
    only = EventFilter(topics=frozenset({"job.started", "tenant.created"}))
    assert [event.topic for event in read_all(ledger, where=only)] == ["tenant.created", "job.started", "job.started"]
    page = ledger.reader.read_tenant("acme", 0, limit=9, where=EventFilter(topics=frozenset()))
    assert page.events == () and page.position == ledger.reader.head()


def test_what_is_left_out_and_what_must_be_in_it(ledger: LedgerUnderTest) -> None:
    """Families of topics, topics that are not wanted, and a mark that the stored facts of a topic contain."""
    for priority in (5, 6, 7):
        ledger.dispatch(priority=priority)
    ledger.claim(limit=1)

    def found(**fields: object) -> list[str]:
        return [event.topic for event in read_all(ledger, where=EventFilter(**fields))]  # type: ignore[arg-type]

    nothing: frozenset[str] = frozenset()
    assert found(topics=nothing, families=frozenset({"job"})) == [*["job.dispatched"] * 3, "job.started"]
    assert found(topics=frozenset({"job.started"}), families=frozenset({"tenant"})) == ["tenant.created", "job.started"]
    assert found(topics=nothing, families=frozenset({"jo", "job.", ""})) == []
    assert found(without=frozenset({"job.dispatched"})) == ["tenant.created", "job.started"]
    marked = ("job.dispatched", '"priority":6')
    assert found(marked=marked) == ["tenant.created", "job.dispatched", "job.started"]
    assert found(marked=marked, without=frozenset({"job.started"})) == ["tenant.created", "job.dispatched"]


def test_all_tenants_are_read_in_order_where_none_is_named(ledger: LedgerUnderTest) -> None:
    """With the same filters, and page by page."""
    for tenant in ("acme", "other", "acme"):
        ledger.dispatch(tenant=tenant)
    every = read_all(ledger, tenant=None, where=EventFilter(topics=frozenset({"job.dispatched"})), limit=1)
    assert [event.tenant for event in every] == ["acme", "other", "acme"]
    assert [event.position for event in every] == sorted(event.position for event in every)
    first = every[0].position
    assert read_all(ledger, tenant=None, until=first)[-1].position == first


def test_a_dispatch_by_hand_is_stored_with_its_mark(ledger: LedgerUnderTest) -> None:
    """Acts are found by it, so no field of another name or form may take its place."""
    by_hand = ledger.dispatch(manual=True)
    ledger.dispatch()
    where = EventFilter(topics=frozenset({"job.dispatched"}), marked=BY_HAND_MARK)
    assert [event.originator_id for event in read_all(ledger, where=where)] == [by_hand]


def test_times_bound_what_is_read(ledger: LedgerUnderTest) -> None:
    """From inclusive, to exclusive, to the microsecond."""
    for _ in range(3):
        ledger.dispatch()
    every = read_all(ledger)
    moment = every[2].recorded_at
    since = read_all(ledger, where=EventFilter(recorded_from=moment))
    before = read_all(ledger, where=EventFilter(recorded_to=moment))
    assert since == [event for event in every if event.recorded_at >= moment] and every[2] in since
    assert before == [event for event in every if event.recorded_at < moment] and every[2] not in before
    later = EventFilter(recorded_from=moment + timedelta(microseconds=1))
    assert every[2] not in read_all(ledger, where=later)


def test_reading_ends_at_a_position(ledger: LedgerUnderTest) -> None:
    """That one included; what came later is not there, and what is not there yet does not count as read."""
    for _ in range(4):
        ledger.dispatch()
    every = read_all(ledger)
    assert read_all(ledger, until=every[2].position) == every[:3]
    assert ledger.reader.read_tenant("acme", 0, limit=9, until=every[2].position).position == every[2].position
    beyond = ledger.reader.read_tenant("acme", 0, limit=9, until=1 << 60)
    assert beyond.position == ledger.reader.head()
    assert ledger.reader.read_tenant("acme", 1 << 60, limit=9).events == ()


def test_no_event_stands_beyond_what_was_given_out(ledger: LedgerUnderTest) -> None:
    """However soon one asks after a write; and what is far beyond was not given out."""
    for _ in range(3):
        written = ledger.reader.stream("acme", ledger.dispatch())[0].position
        assert written <= ledger.reader.given_out() < written + (1 << 20)


def test_nothing_is_read_past_a_transaction_that_is_open(postgres_dsn: str) -> None:
    """Its position came first: what was committed after it appears together with it, in order."""
    opened = open_ledger(postgres_dsn)
    try:
        opened.writer.write([first := new_job()])
        with psycopg.connect(postgres_dsn) as caller:
            opened.transaction_writer.dispatch(caller, [slow := new_job()])
            (outcome,) = opened.writer.write([quick := new_job()])
            held = opened.reader.read_tenant("acme", 0, limit=9).events
            assert [event.originator_id for event in held] == [first.event.originator_id]
            assert opened.reader.head() < (outcome.position or 0) <= opened.reader.given_out()
            caller.commit()
        while opened.reader.head() < (outcome.position or 0):
            pass  # a process asks for the horizon every 5 ms, at most
        read = [event.originator_id for event in opened.reader.read_tenant("acme", 0, limit=9).events]
        assert read == [new.event.originator_id for new in (first, slow, quick)]
    finally:
        opened.close()


@pytest.mark.parametrize("tenant", ["acme", None])
def test_no_statement_looks_at_the_whole_ledger_for_a_few(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch, tenant: str | None
) -> None:
    """Where hardly anything matches, a batch ends after so many events, empty or not, and the next one goes on there:
    all that match are found, in order."""
    for number in range(10):
        ledger.dispatch()
        if number in {2, 9}:
            ledger.claim(limit=1)
    monkeypatch.setattr(ledger.reader, "scan_events", 3)
    where = EventFilter(topics=frozenset({"job.started"}))
    everything = [event.position for event in read_all(ledger, tenant, limit=100)]
    head, position, found, batches = ledger.reader.head(), 0, [], 0
    while position < head:
        batch = ledger.reader.read_tenant(tenant, position, limit=2, where=where)
        looked_at = [each for each in everything if position < each <= batch.position]
        assert batch.position > position and len(looked_at) <= 3
        position, batches = batch.position, batches + 1
        found += [event.topic for event in batch.events]
    assert found == ["job.started", "job.started"] and batches > len(everything) // 3
