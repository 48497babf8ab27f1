"""What every ledger promises about writes: guards, conflicts, keys, positions."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
import pytest

from jobledger.application.writes import AppendEvents, TenantRow, WriteStatus
from jobledger.domain.errors import LedgerError, LedgerRestored
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.job import (
    JobStatus,
    Lease,
    Measured,
    cancel,
    complete,
    progress,
    reject,
    requeue,
    reschedule,
)
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.calls import TICKET_EVENTS

from .support import LedgerUnderTest, change_of, job_id, metadata, new_job


def test_a_dispatch_is_an_event_and_a_row(ledger: LedgerUnderTest) -> None:
    """A dispatched job has version 1 in its stream and its row in the queue."""
    new = new_job(persona="bot", priority=7, lock_key="k")
    outcome = ledger.write(new)
    (event,) = ledger.reader.stream("acme", new.event.originator_id, bodies=True)
    assert (outcome.status, outcome.version, outcome.position) == (WriteStatus.WRITTEN, 1, event.position)
    assert (event.facts, event.body, event.metadata.actor) == (new.event.facts, new.event.body, "service:test")
    row = ledger.open_job(new.event.originator_id)
    assert (row.state, row.version, row.payload) == (new.state, 1, new.event.body)


def test_a_job_id_is_taken_once(ledger: LedgerUnderTest) -> None:
    """A second dispatch under the id of a first is a conflict, and leaves neither event nor key."""
    first = ledger.dispatch()
    second = new_job(id=first, key="k-2")
    assert ledger.write(second).status is WriteStatus.CONFLICT
    assert len(ledger.reader.stream("acme", first)) == 1
    assert ledger.write(new_job(key="k-2")).status is WriteStatus.WRITTEN


def test_a_conflict_is_told_to_its_caller_only(ledger: LedgerUnderTest) -> None:
    """In one group the write in conflict is refused and the others are stored."""
    taken = ledger.dispatch()
    group = [new_job(), new_job(id=taken), new_job()]
    assert [outcome.status.value for outcome in ledger.writer.write(group)] == ["written", "conflict", "written"]
    stored = ledger.queue.open_jobs("acme", [new.event.originator_id for new in group])
    assert set(stored) == {new.event.originator_id for new in group}


def test_a_key_makes_one_job(ledger: LedgerUnderTest) -> None:
    """A dispatch under a key that was used names the first job and the hash of its payload, and stores nothing."""
    first = ledger.dispatch(key="invoice-42", payload_sha256="a" * 64)
    again = new_job(key="invoice-42", payload_sha256="b" * 64)
    outcome = ledger.write(again)
    assert (outcome.status, outcome.job_id, outcome.payload_sha256) == (WriteStatus.DUPLICATE, first, "a" * 64)
    assert ledger.reader.stream("acme", again.event.originator_id) == []
    assert ledger.queue.open_jobs("acme", [again.event.originator_id]) == {}


def test_two_of_a_key_in_one_group_make_one_job(ledger: LedgerUnderTest) -> None:
    """The first of two dispatches with one key wins, also when both share a transaction."""
    ledger.create_tenant("acme")
    first, second = new_job(key="k"), new_job(key="k")
    outcomes = ledger.writer.write([first, second])
    assert [outcome.status.value for outcome in outcomes] == ["written", "duplicate"]
    assert outcomes[1].job_id == first.event.originator_id


def test_a_key_counts_within_tenant_and_type(ledger: LedgerUnderTest) -> None:
    """The same key of another tenant, or of another job type, is another key."""
    ledger.dispatch(key="k")
    ledger.dispatch(key="k", tenant="other")
    assert ledger.write(new_job(key="k", job_type="invoice.print")).status is WriteStatus.WRITTEN


def test_a_key_outlives_its_job(ledger: LedgerUnderTest) -> None:
    """A key still names the first job after that job was completed."""
    first = ledger.dispatch(key="k")
    ledger.complete(ledger.claim_one())
    assert ledger.write(new_job(key="k")).job_id == first


def test_a_command_is_guarded_by_the_version_it_read(ledger: LedgerUnderTest) -> None:
    """Of two commands decided on the same version the second is a conflict and leaves nothing."""
    job = ledger.open_job(ledger.dispatch())
    decision = reschedule(job.state, now=metadata().time, reason="urgent", priority=9)
    assert ledger.change(job, *decision).version == 2
    assert ledger.change(job, *decision).status is WriteStatus.CONFLICT
    assert [event.topic for event in ledger.reader.stream("acme", job.job_id)] == ["job.dispatched", "job.rescheduled"]
    assert ledger.open_job(job.job_id).state.priority == 9


def test_an_ending_is_guarded_by_its_lease(ledger: LedgerUnderTest) -> None:
    """An ending that names another worker or another attempt is refused: this is the fencing."""
    ledger.dispatch()
    job = ledger.claim_one()
    decision = complete(job.state, Lease("w1", 1), Measured())
    for lease in (Lease("w2", 1), Lease("w1", 2)):
        assert ledger.change(job, *decision, lease=lease).status is WriteStatus.CONFLICT
    assert ledger.complete(job).status is WriteStatus.WRITTEN


def test_an_attempt_ends_once(ledger: LedgerUnderTest) -> None:
    """A second ending of the same attempt finds no open job."""
    ledger.dispatch()
    job = ledger.claim_one()
    assert ledger.complete(job).status is WriteStatus.WRITTEN
    assert ledger.complete(job).status is WriteStatus.MISSING
    topics = [event.topic for event in ledger.reader.stream("acme", job.job_id)]
    assert topics == ["job.dispatched", "job.started", "job.completed"]


def test_events_may_land_while_an_attempt_runs(ledger: LedgerUnderTest) -> None:
    """Progress moves the version only; the ending, guarded by its lease, takes the next one."""
    ledger.dispatch()
    job = ledger.claim_one()
    lease = Lease("w1", 1)
    half = progress(job.state, lease, fraction=0.5)
    assert ledger.change(job, *half, lease=lease, only_version=True).version == 3
    assert ledger.open_job(job.job_id).state == job.state
    assert ledger.complete(job).version == 4


def test_changes_of_one_job_in_one_group_follow_each_other(ledger: LedgerUnderTest) -> None:
    """Several writes about one job in one call get one version after the other."""
    ledger.dispatch()
    job = ledger.claim_one()
    lease = Lease("w1", 1)
    steps = [progress(job.state, lease, fraction=fraction) for fraction in (0.1, 0.2)]
    outcomes = ledger.writer.write([change_of(job, step, lease=lease, only_version=True) for step in steps])
    assert [outcome.version for outcome in outcomes] == [3, 4]


def test_an_ending_notices_a_request_to_cancel(ledger: LedgerUnderTest) -> None:
    """An ending that was decided without knowing of the request is a conflict, so that it is decided again."""
    ledger.dispatch()
    job = ledger.claim_one()
    lease = Lease("w1", 1)
    assert ledger.change(job, *cancel(job.state, reason="wrong invoice")).status is WriteStatus.WRITTEN
    half = progress(job.state, lease, fraction=0.5)
    refused = ledger.change(job, *half, lease=lease, cancel_expected=False, only_version=True)
    assert refused.status is WriteStatus.CONFLICT
    accepted = ledger.change(job, *half, lease=lease, cancel_expected=True, only_version=True)
    assert accepted.status is WriteStatus.WRITTEN
    assert ledger.open_job(job.job_id).state.cancel_reason == "wrong invoice"


def test_a_job_of_another_tenant_is_missing(ledger: LedgerUnderTest) -> None:
    """A change that names another tenant finds no job, and changes nothing."""
    job = ledger.open_job(ledger.dispatch())
    foreign = job._replace(tenant="other")
    assert ledger.change(foreign, *cancel(job.state, reason="not mine")).status is WriteStatus.MISSING
    assert ledger.change(job._replace(job_id=job_id()), *cancel(job.state, reason="x")).status is WriteStatus.MISSING
    assert ledger.open_job(job.job_id) == job


def test_the_dead_letter_queue_keeps_the_row(ledger: LedgerUnderTest) -> None:
    """A job in the DLQ is not claimed; requeued with another payload it is, with that payload."""
    job = ledger.open_job(ledger.dispatch())
    to_dlq = reject(job.state, reason="unrecoverable", error_type="E", message="m", fingerprint="f")
    assert ledger.change(job, *to_dlq).status is WriteStatus.WRITTEN
    dead = ledger.open_job(job.job_id)
    assert dead.state.status is JobStatus.DLQ
    assert ledger.claimed_ids() == []
    back = requeue(dead.state, now=metadata().time, reason="fixed", payload_sha256_before="0" * 64)
    assert ledger.change(dead, *back, body=b'{"n":2}', payload=b'{"n":2}').status is WriteStatus.WRITTEN
    assert ledger.claim_one().payload == b'{"n":2}'


def test_a_stream_with_a_natural_key_begins_once(ledger: LedgerUnderTest) -> None:
    """Inserting version 1 is the uniqueness check of a tenant's name."""
    ledger.create_tenant("acme")
    event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
    again = AppendEvents((event,), TenantRow("acme", TenantStatus.SUSPENDED))
    assert ledger.write(again).status is WriteStatus.CONFLICT
    assert ledger.catalogue.tenant("acme") == TenantRow("acme", TenantStatus.ACTIVE)


def test_positions_rise_and_are_never_used_again(stored_ledger: LedgerUnderTest) -> None:
    """After the newest events were purged the next event still gets a higher position."""
    stored_ledger.create_tenant("acme")
    outcomes = stored_ledger.writer.write([new_job() for _ in range(3)])
    positions = [outcome.position for outcome in outcomes if outcome.position is not None]
    assert positions == sorted(set(positions)) and len(positions) == 3
    last = outcomes[-1].job_id
    assert last is not None
    stored_ledger.purge(last)
    after = stored_ledger.write(new_job()).position
    assert after is not None and after > positions[-1]


def test_a_restored_ledger_takes_no_writes(stored_ledger: LedgerUnderTest) -> None:
    """A ledger whose positions lie below a checkpoint was restored: appending to it is refused."""
    stored_ledger.create_tenant("acme")
    stored_ledger.set_checkpoint(1 << 40)
    with pytest.raises(LedgerRestored):
        stored_ledger.write(new_job())
    assert [event.topic for event in stored_ledger.reader.read_after(0, limit=10).events] == ["tenant.created"]


def test_listeners_hear_of_what_was_stored(ledger: LedgerUnderTest) -> None:
    """After a commit each listener gets the writes with their outcomes; one that fails hurts nobody."""
    heard: list[str] = []

    def fail(*_: object) -> None:
        raise RuntimeError("a broken listener")

    ledger.writer.add_listener(fail)
    ledger.writer.add_listener(lambda writes, outcomes: heard.extend(outcome.status.value for outcome in outcomes))
    ledger.create_tenant("acme")
    ledger.dispatch()
    ledger.dispatch()
    assert heard[:2] == ["written", "written"]


def test_two_processes_share_positions_and_keys(stored_ledger: LedgerUnderTest) -> None:
    """What one process wrote, another one that has the ledger open sees at once."""
    first = stored_ledger.dispatch(key="k")
    with stored_ledger.open_again() as other:
        assert other.write(new_job(key="k")).job_id == first
        assert other.claimed_ids() == [first]


def events_of(tenants: Sequence[str], natural_key: str = "acme") -> AppendEvents:
    """The first events of a stream, one for each of these tenants."""
    stream, facts = stream_id("acme", "tenant", natural_key), TenantCreated(name="acme")
    return AppendEvents(
        tuple(Event(stream, version, tenant, metadata(), facts) for version, tenant in enumerate(tenants, start=1))
    )


def test_as_many_events_as_share_a_ticket_are_written_at_once(stored_ledger: LedgerUnderTest) -> None:
    """Thousands of events of one stream, each with a position of its own; what comes next lies behind them."""
    last = stored_ledger.write(events_of(["acme"] * TICKET_EVENTS)).position
    after = stored_ledger.write(events_of(["acme"], "another")).position
    read = stored_ledger.reader.read_after(0, limit=2 * TICKET_EVENTS).events
    assert len({event.position for event in read}) == len(read) == TICKET_EVENTS + 1
    assert [event.position for event in read[-2:]] == [last, after]


def test_more_events_than_a_ticket_holds_are_refused(postgres_ledger: LedgerUnderTest) -> None:
    """They would take positions of the next ticket: two events would stand at one position. Others are written."""
    too_many, one = events_of(["acme"] * (TICKET_EVENTS + 1)), events_of(["acme"], "another")
    refused = postgres_ledger.writer.submit([too_many])
    written = postgres_ledger.writer.submit([one])
    with pytest.raises(LedgerError, match="4097 events in one write"):
        refused.result()
    assert written.result()[0].status is WriteStatus.WRITTEN
    beyond = "SELECT jobledger.ledger_append(NULL, array_fill(%s::uuid, ARRAY[4097]), NULL, NULL, NULL, NULL)"
    with postgres_ledger.connect() as connection, pytest.raises(psycopg.Error, match="ticket of 4096 positions"):
        connection.execute(beyond, (one.events[0].originator_id,))
    assert len(postgres_ledger.reader.read_after(0, limit=10).events) == 1


@pytest.mark.parametrize("tenants", [["acme", "beta"], ["acme", "acme", "beta", "acme"], ["acme"] * 9 + ["beta"]])
def test_a_stream_has_one_tenant(stored_ledger: LedgerUnderTest, tenants: list[str]) -> None:
    """Whichever of its events names another, in one write or later: nothing of that write is stored."""

    def refuses(write: AppendEvents) -> bool:
        try:
            return stored_ledger.write(write).status is WriteStatus.CONFLICT
        except LedgerError as error:
            return "another tenant" in str(error)

    assert refuses(events_of(tenants))
    assert not stored_ledger.reader.read_after(0, limit=10).events
    assert stored_ledger.write(events_of(["acme"])).status is WriteStatus.WRITTEN
    assert refuses(AppendEvents(events_of(["acme", "beta"]).events[1:]))
    assert len(stored_ledger.reader.read_after(0, limit=10).events) == 1
