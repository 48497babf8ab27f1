"""What every ledger promises to readers: streams of one tenant, the whole in order, and values as they were."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobledger.application.writes import AppendEvents, JobTypeRow, TenantRow
from jobledger.domain.errors import LedgerError
from jobledger.domain.event import Event
from jobledger.domain.identifiers import SYSTEM_TENANT, stream_id
from jobledger.domain.job import JobDispatched, Lease, Measured, complete
from jobledger.domain.job_type import JobTypeDefinition, JobTypeRegistered
from jobledger.domain.refusal import DispatchRefused
from jobledger.domain.retry import Retry
from jobledger.domain.tenant import TenantStatus

from .support import LedgerUnderTest, job_id, metadata, new_job


def test_a_stream_is_one_tenants(ledger: LedgerUnderTest) -> None:
    """Who names another tenant reads nothing."""
    first = ledger.dispatch()
    assert [event.originator_version for event in ledger.reader.stream("acme", first)] == [1]
    assert ledger.reader.stream("other", first) == []
    assert ledger.reader.streams("other", [first]) == {}


def test_a_stream_is_read_in_pages(ledger: LedgerUnderTest) -> None:
    """After a version, up to a limit, in order; bodies only for who asks."""
    first = ledger.dispatch()
    ledger.complete(ledger.claim_one())
    versions = [event.originator_version for event in ledger.reader.stream("acme", first, after_version=1, limit=1)]
    assert versions == [2]
    assert [event.body for event in ledger.reader.stream("acme", first)] == [None, None, None]
    bodies = [event.body for event in ledger.reader.stream("acme", first, bodies=True)]
    assert bodies == [b'{"invoice":"42"}', None, b"null"]


def test_several_streams_at_once(ledger: LedgerUnderTest) -> None:
    """Streams that the tenant does not have are absent."""
    first, second = ledger.dispatch(), ledger.dispatch()
    found = ledger.reader.streams("acme", [first, second, job_id()])
    assert {stream: len(events) for stream, events in found.items()} == {first: 1, second: 1}
    assert ledger.reader.streams("acme", []) == {}


def test_the_ledger_is_read_in_order_page_by_page(ledger: LedgerUnderTest) -> None:
    """Pages follow each other without a gap; the last one is empty and stays where it was."""
    ids = [ledger.dispatch() for _ in range(5)]
    position, seen = 0, []
    for _ in range(20):
        batch = ledger.reader.read_after(position, limit=2)
        assert batch.position >= position
        seen += [event.originator_id for event in batch.events if event.topic == "job.dispatched"]
        position = batch.position
    assert seen == ids
    assert ledger.reader.read_after(position, limit=2).events == ()
    assert position >= ledger.reader.stream("acme", ids[-1])[0].position
    assert position <= ledger.reader.head()


def test_a_reader_of_some_topics_moves_on_over_others(ledger: LedgerUnderTest) -> None:
    """Events of other topics are left out but count as read."""
    ledger.dispatch()
    batch = ledger.reader.read_after(0, limit=100, topics=frozenset({"tenant.created"}))
    assert [event.topic for event in batch.events] == ["tenant.created"]
    assert ledger.reader.read_after(batch.position, limit=100, topics=frozenset({"tenant.created"})).events == ()
    last = ledger.reader.read_after(0, limit=100).events[-1].position
    assert ledger.reader.read_after(0, limit=100, topics=frozenset({"job.completed"})).position >= last


def test_the_incarnation_stays(stored_ledger: LedgerUnderTest) -> None:
    """It is the same for whoever opens the ledger, and no more than a word."""
    incarnation = stored_ledger.reader.incarnation()
    with stored_ledger.open_again() as other:
        assert other.reader.incarnation() == incarnation
    assert incarnation.isalnum()


def test_the_database_says_when(ledger: LedgerUnderTest) -> None:
    """`recorded_at` is aware, in UTC, and the same for all events of one transaction."""
    ledger.create_tenant("acme")
    ledger.writer.write([new_job(), new_job()])
    first, second = ledger.reader.read_after(0, limit=100, topics=frozenset({"job.dispatched"})).events
    assert first.recorded_at == second.recorded_at
    assert first.recorded_at.utcoffset() == timedelta(0)
    assert abs(first.recorded_at - datetime.now(UTC)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1999, 1, 1, tzinfo=UTC),
        datetime(2100, 2, 28, 12, 0, 0, 1, tzinfo=UTC),
    ],
    ids=str,
)
def test_times_come_back_to_the_microsecond(ledger: LedgerUnderTest, moment: datetime) -> None:
    """Times of the queue and of the stream are what they were, wherever they lie."""
    first = ledger.dispatch(due_at=moment, status="delayed")
    assert ledger.open_job(first).state.due_at == moment
    (event,) = ledger.reader.stream("acme", first)
    assert isinstance(event.facts, JobDispatched) and event.facts.due_at == moment


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        '{"name":"José 🏢 \\u0000 \u2028","nested":[[],{},null,true]}'.encode(),
        b'{"big":9223372036854775808,"exact":0.1,"tiny":5e-324,"huge":123456789012345678901234567890}',
        b'{"raw":"' + bytes(range(0x80, 0x100)) + b"\x00" + b'"}',
        b'{"long":"' + b"x" * 200_000 + b'"}',
    ],
    ids=["empty", "unicode", "numbers", "bytes", "long"],
)
def test_bodies_come_back_byte_for_byte(ledger: LedgerUnderTest, payload: bytes) -> None:
    """A body is bytes to the ledger: unicode, NUL, big numbers and odd bytes return unchanged."""
    first = ledger.dispatch(payload=payload)
    assert ledger.open_job(first).payload == payload
    assert ledger.reader.stream("acme", first, bodies=True)[0].body == payload
    assert ledger.claim_one().payload == payload


def test_text_that_a_database_cannot_hold_is_refused_whole(ledger: LedgerUnderTest) -> None:
    """NUL inside a text column comes back as it was, or the write is refused and leaves nothing; others go on."""
    ledger.create_tenant("acme")
    odd = new_job(lock_key="a\x00b", key="k\x00")
    try:
        ledger.write(odd)
    except LedgerError:
        assert ledger.reader.stream("acme", odd.event.originator_id) == []
        assert ledger.queue.open_jobs("acme", [odd.event.originator_id]) == {}
    else:
        assert ledger.open_job(odd.event.originator_id).state.lock_key == "a\x00b"
    ledger.dispatch()


def test_every_option_comes_back(ledger: LedgerUnderTest) -> None:
    """Text of any language, floats and nothings of a job are in its row what they were in its event."""
    new = new_job(
        persona="bot", lock_key="ключ 'quoted' \"é\"", retry=Retry.delays(0.1, 2.5), timeout_seconds=1.5,
        soft_timeout_seconds=1.25, max_stalled=0, priority=-100, kind="ai",
    )  # fmt: skip
    ledger.write(new)
    assert ledger.open_job(new.event.originator_id).state == new.state


def test_numbers_of_an_attempt_come_back(ledger: LedgerUnderTest) -> None:
    """Floats in facts are exact."""
    ledger.dispatch()
    job = ledger.claim_one()
    measured = Measured(seconds_in_queue=0.1 + 0.2, seconds_running=1e-9, estimated_cost=12345678.123457)
    lease = Lease("w1", 1)
    ledger.change(job, *complete(job.state, lease, measured), lease=lease)
    facts = ledger.reader.stream("acme", job.job_id)[-1].facts
    assert facts.model_dump()["seconds_in_queue"] == 0.1 + 0.2
    assert facts.model_dump()["seconds_running"] == 1e-9


def test_the_catalogue_knows_tenants(ledger: LedgerUnderTest) -> None:
    """Tenants by name, with the status that their stream says."""
    for name in ("zeta", "acme"):
        ledger.create_tenant(name)
    ledger.suspend_tenant("zeta")
    assert ledger.catalogue.tenants() == [
        TenantRow("acme", TenantStatus.ACTIVE), TenantRow("zeta", TenantStatus.SUSPENDED),
    ]  # fmt: skip
    assert ledger.catalogue.tenant("zeta") == TenantRow("zeta", TenantStatus.SUSPENDED)
    assert ledger.catalogue.tenant("nobody") is None


def test_the_catalogue_knows_job_types(ledger: LedgerUnderTest) -> None:
    """Job types by name, as they were last registered."""

    def register(version: int, description: str) -> JobTypeRow:
        definition = JobTypeDefinition(
            name="invoice.send", effects="steps", payload_schema={"type": "object"}, result_schema={},
            description=description,
        )  # fmt: skip
        row = JobTypeRow(definition, definition.fingerprint, f"v{version}", "condominium")
        facts = JobTypeRegistered(
            definition=definition, fingerprint=row.fingerprint, code_version=row.code_version, app=row.app
        )
        stream = stream_id(SYSTEM_TENANT, "job_type", "invoice.send")
        event = Event(stream, version, SYSTEM_TENANT, metadata(), facts)
        assert ledger.write(AppendEvents((event,), row)).version == version
        return row

    assert ledger.catalogue.job_type("invoice.send") is None
    register(1, "é")
    latest = register(2, "ü")
    assert ledger.catalogue.job_type("invoice.send") == latest
    assert ledger.catalogue.job_types() == [latest]


def test_a_refusal_is_recorded_on_the_installations_side(ledger: LedgerUnderTest) -> None:
    """A refused dispatch is a stream of one event, of the tenant `system`."""
    refused = DispatchRefused(
        tenant_claimed="?", type_claimed="?", code="unknown_tenant", field="tenant", rule=None, message="no"
    )
    stream = job_id()
    ledger.write(AppendEvents((Event(stream, 1, SYSTEM_TENANT, metadata(), refused),)))
    assert [event.facts for event in ledger.reader.stream(SYSTEM_TENANT, stream)] == [refused]
