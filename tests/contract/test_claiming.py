"""What every queue promises about claims: order, turns, locks, delays, and what a claim records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from jobledger.application.ports import Claim, OpenJob
from jobledger.domain.event import Metadata
from jobledger.domain.job import JobStarted, JobStatus, Lease, interrupt, stall
from jobledger.infrastructure import mapper

from .support import TRACE_PARENT, LedgerUnderTest, job_id, metadata, new_job

PAST = datetime(2026, 1, 1, tzinfo=UTC)


def _stall(ledger: LedgerUnderTest, job: OpenJob) -> None:
    lease = Lease("w1", job.state.attempt)
    ledger.change(job, *stall(job.state, lease, last_seen_at=None), lease=lease)


def test_an_empty_queue_gives_nothing(ledger: LedgerUnderTest) -> None:
    """A claim of nothing writes nothing."""
    ledger.create_tenant("acme")
    head = ledger.reader.head()
    assert ledger.claim() == Claim(())
    assert ledger.reader.head() == head


def test_a_claim_starts_an_attempt(ledger: LedgerUnderTest) -> None:
    """A claimed job is in progress with its first attempt counted, held by the worker that claimed it."""
    job_id = ledger.dispatch(persona="bot")
    job = ledger.claim_one()
    state = job.state
    assert (job.job_id, job.tenant, job.version, job.payload) == (job_id, "acme", 2, b'{"invoice":"42"}')
    assert (state.status, state.attempt, state.attempts_counted, state.worker) == (JobStatus.IN_PROGRESS, 1, 1, "w1")
    assert (job.correlation_id, job.trace_parent) == ("flow-1", TRACE_PARENT)
    assert job.started_at is not None
    assert ledger.open_job(job_id) == job
    assert ledger.claimed_ids() == []


def test_a_claim_records_what_the_mapper_would(stored_ledger: LedgerUnderTest) -> None:
    """The bytes of `job.started`, built from fragments, are those of the event encoded by the mapper."""
    about = metadata(correlation_id='ü "quoted" \\ \u2028', causation_id="elsewhere.7")
    new = new_job(persona="bot-1", about=about)
    stored_ledger.create_tenant("acme")
    stored_ledger.write(new)
    now = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)
    stored_ledger.claim(now=now, code_version='v"1"', lease_seconds=12)
    _, started = stored_ledger.reader.stream("acme", new.event.originator_id)
    facts = JobStarted(
        job_type="invoice.send", queue="default", persona="bot-1", attempt=1, worker="w1", code_version='v"1"',
        lease_seconds=12.0,
    )  # fmt: skip
    expected = Metadata(
        correlation_id=about.correlation_id, trace_parent=about.trace_parent, actor="worker:w1", time=now
    )
    assert started.facts == facts
    assert mapper.encode_state(started.metadata, started.facts) == mapper.encode_state(expected, facts)
    assert stored_ledger.raw_state(new.event.originator_id, 2) == mapper.encode_state(expected, facts)


def test_leaves_are_those_of_the_canonical_form(stored_ledger: LedgerUnderTest) -> None:
    """The leaf of each event, dispatched or started, is the hash that the mapper computes."""
    job_id = stored_ledger.dispatch()
    stored_ledger.claim_one()
    for event in stored_ledger.reader.stream("acme", job_id):
        state = mapper.encode_state(event.metadata, event.facts)
        if event.originator_version == 1:
            state = stored_ledger.raw_state(job_id, 1)
        microseconds = (event.recorded_at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        leaf = mapper.leaf("acme", job_id, event.originator_version, microseconds, event.topic, state)
        assert stored_ledger.raw_leaf(job_id, event.originator_version) == leaf


def test_priority_then_time_due_then_id(ledger: LedgerUnderTest) -> None:
    """Within a tenant the higher priority comes first, then what was due first, then the older id."""
    later = PAST + timedelta(microseconds=1)
    second, third = sorted((job_id(), job_id()))
    fifth = ledger.dispatch(priority=-1, due_at=PAST)
    ledger.dispatch(id=third, due_at=PAST)
    ledger.dispatch(id=second, due_at=PAST)
    fourth = ledger.dispatch(due_at=later)
    first = ledger.dispatch(priority=100, due_at=later)
    assert ledger.claimed_ids(2) == [first, second]
    assert ledger.claimed_ids(2) == [third, fourth]
    assert ledger.claimed_ids(2) == [fifth]


def test_tenants_share_a_batch(ledger: LedgerUnderTest) -> None:
    """A tenant with many urgent jobs does not take the whole batch."""
    for _ in range(8):
        ledger.dispatch(tenant="noisy", priority=100)
    for tenant in ("quiet", "silent"):
        ledger.dispatch(tenant=tenant)
    tenants = [job.tenant for job in ledger.claim(6).jobs]
    assert sorted(set(tenants)) == ["noisy", "quiet", "silent"]


def test_tenants_take_turns(ledger: LedgerUnderTest) -> None:
    """Claims of one job each go round the tenants."""
    for tenant in ("a", "b", "c"):
        for _ in range(3):
            ledger.dispatch(tenant=tenant)
    tenants = [ledger.claim_one().tenant for _ in range(9)]
    assert [sorted(tenants[begin : begin + 3]) for begin in (0, 3, 6)] == [["a", "b", "c"]] * 3


def test_queues_take_turns(ledger: LedgerUnderTest) -> None:
    """A busy queue does not starve another one of the same worker."""
    for _ in range(4):
        ledger.dispatch(queue="busy")
    ledger.dispatch(queue="idle")
    queues = [ledger.claim_one(queues=("busy", "idle")).state.queue for _ in range(3)]
    assert "idle" in queues


def test_only_asked_for_queues_and_types(ledger: LedgerUnderTest) -> None:
    """Jobs of other queues are left, and so are jobs of types the worker does not know."""
    ledger.dispatch(queue="other")
    ledger.dispatch(job_type="unknown.here", priority=100)
    wanted = ledger.dispatch()
    assert ledger.claimed_ids() == [wanted]


def test_only_asked_for_personas_and_tenants(ledger: LedgerUnderTest) -> None:
    """A worker dedicated to personas, or to tenants, takes theirs only."""
    bot, _, other = ledger.dispatch(persona="bot"), ledger.dispatch(persona="x"), ledger.dispatch(tenant="other")
    assert ledger.claimed_ids(personas=("bot",)) == [bot]
    assert ledger.claimed_ids(tenants=("other",)) == [other]


def test_one_job_of_a_lock_key_runs(ledger: LedgerUnderTest) -> None:
    """Of jobs with one lock key the next starts after the one before has ended; other keys don't wait."""
    first, second = ledger.dispatch(lock_key="k"), ledger.dispatch(lock_key="k")
    other_key, other_tenant = ledger.dispatch(lock_key="k2"), ledger.dispatch(lock_key="k", tenant="other")
    jobs = ledger.claim().jobs
    assert {job.job_id for job in jobs} == {first, other_key, other_tenant}
    assert ledger.claimed_ids() == []
    ledger.complete(next(job for job in jobs if job.job_id == first))
    assert ledger.claimed_ids() == [second]


def test_locked_jobs_hide_nothing(ledger: LedgerUnderTest) -> None:
    """Many urgent jobs behind one lock key do not keep others from running."""
    locked = [ledger.dispatch(lock_key="k", priority=50) for _ in range(20)]
    free = ledger.dispatch()
    assert set(ledger.claimed_ids(2)) == {locked[0], free}


def test_delayed_jobs_wait(ledger: LedgerUnderTest) -> None:
    """A delayed job is left until it is due, then it is claimed like any other."""
    ledger.dispatch(status="delayed", due_in_seconds=3600)
    due = ledger.dispatch(status="delayed", due_in_seconds=-1)
    assert ledger.claimed_ids() == [due]


def test_blocked_jobs_wait(ledger: LedgerUnderTest) -> None:
    """A job that waits for others is not claimed."""
    ledger.dispatch(status="blocked")
    assert ledger.claimed_ids() == []


def test_a_job_that_stalled_is_claimed_alone(ledger: LedgerUnderTest) -> None:
    """Nothing is claimed beside a job that lost its worker before: innocents do not die with it."""
    suspect = ledger.dispatch()
    _stall(ledger, ledger.claim_one())
    innocent = {ledger.dispatch(), ledger.dispatch()}
    batches = [ledger.claimed_ids(), ledger.claimed_ids()]
    assert [suspect] in batches
    assert {job_id for batch in batches for job_id in batch} == {suspect, *innocent}


def test_an_interrupted_job_comes_again(ledger: LedgerUnderTest) -> None:
    """A job that was given back is claimed again: a new attempt that counts as if the one before had not been."""
    ledger.dispatch()
    job = ledger.claim_one()
    lease = Lease("w1", 1)
    ledger.change(job, *interrupt(job.state, lease, why="shutdown"), lease=lease)
    waiting = ledger.open_job(job.job_id)
    assert (waiting.state.worker, waiting.started_at) == (None, None)
    again = ledger.claim_one(worker="w2")
    assert (again.state.attempt, again.state.attempts_counted, again.state.worker) == (2, 1, "w2")


def test_jobs_of_inactive_tenants_are_not_started(ledger: LedgerUnderTest) -> None:
    """Ready jobs of a suspended or unknown tenant are left, and the tenant is named."""
    ledger.dispatch(tenant="suspended")
    ledger.suspend_tenant("suspended")
    ledger.write(new_job(tenant="unknown"))
    fine = ledger.dispatch(tenant="fine")
    claim = ledger.claim()
    assert [job.job_id for job in claim.jobs] == [fine]
    assert sorted(claim.inactive_tenants) == ["suspended", "unknown"]
    waiting = ledger.queue.waiting_of_inactive_tenants(limit=10)
    assert sorted(job.tenant for job in waiting) == ["suspended", "unknown"]
    assert len(ledger.queue.waiting_of_inactive_tenants(limit=1)) == 1


def test_a_claim_is_bounded(ledger: LedgerUnderTest) -> None:
    """A claim brings no more than was asked for, and all of it in the end."""
    ledger.create_tenant("acme")
    ledger.writer.write([new_job() for _ in range(25)])
    assert [len(ledger.claim(10).jobs) for _ in range(4)] == [10, 10, 5, 0]


def test_events_of_a_claim_are_in_order(ledger: LedgerUnderTest) -> None:
    """All events of a batch lie above what was there, with rising positions."""
    ledger.create_tenant("acme")
    ledger.writer.write([new_job() for _ in range(5)])
    head = ledger.reader.head()
    ledger.claim()
    batch = ledger.reader.read_after(head, limit=100)
    assert [event.topic for event in batch.events] == ["job.started"] * 5
    assert sorted({event.position for event in batch.events}) == [event.position for event in batch.events]
