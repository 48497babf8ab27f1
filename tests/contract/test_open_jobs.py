"""The work queue is what its ledger says, on both engines; where it is not, that is found and mended."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Signal
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as for_all
from hypothesis import strategies as st

from jobledger.application.dispatcher import Dispatcher
from jobledger.application.message import Actor
from jobledger.application.ports import OpenJob
from jobledger.application.positions import Positions
from jobledger.application.projection_control import ProjectionControl
from jobledger.application.writes import AppendEvents
from jobledger.domain import job as jobs
from jobledger.domain.errors import CorruptEvent, IllegalTransition, LedgerBusy, ReasonRequired, Refusal
from jobledger.domain.event import Event
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.job import AttemptError, JobFacts, Lease, Measured
from jobledger.domain.limit import Scope, Target
from jobledger.domain.projection import ProjectionRebuildBegun, ProjectionRebuilt, projection_stream
from jobledger.domain.refusal import DispatchRefused
from jobledger.infrastructure.postgres.connections import Connections
from jobledger.infrastructure.postgres.queue_tables import PostgresQueueTables
from jobledger.infrastructure.queue_rebuilding import QueueRebuild, QueueTables, rebuild_queue, verify_queue
from jobledger.infrastructure.sqlite.database import Database
from jobledger.infrastructure.sqlite.queue_tables import SqliteQueueTables
from jobledger.infrastructure.system import RandomIdentifiers, SystemClock
from jobledger.projections.shadow import Comparison

from .limits_support import apply_limits, limit
from .support import LedgerUnderTest, change_of, job_id, metadata
from .views_support import place_of

ACTOR = Actor(id="user:anna", authenticated=True)
BROKEN = AttemptError("Broken", "it broke", "f", dlq_reason="unrecoverable")


class Queued:
    """A ledger under test with the tables of its queue."""

    def __init__(self, ledger: LedgerUnderTest, tables: QueueTables) -> None:
        self.ledger = ledger
        self.tables = tables
        self.dispatcher = Dispatcher(SystemClock(), RandomIdentifiers())
        positions = Positions(ledger.reader)
        ProjectionControl(reader=ledger.reader, writer=ledger.writer, positions=positions).register(self.dispatcher)

    def verify(self) -> Comparison:
        """Compare queue and ledger."""
        return verify_queue(self.tables)

    def rebuild(self, reason: str = "rows were lost") -> QueueRebuild:
        """Make the queue what the ledger says."""
        return rebuild_queue(self.tables, self.ledger.queue, self.dispatcher, actor=ACTOR, reason=reason)

    def damage(self, statement: str, *jobs: UUID) -> None:
        """Change the table behind everybody's back; `{}` stands for each job."""
        sqlite = self.ledger.engine == "sqlite"
        with self.ledger.connect() as connection:
            table = "open_jobs" if sqlite else "jobledger.open_jobs"
            values = [job.bytes if sqlite else job for job in jobs]
            statement = statement.replace("open_jobs", table).replace("{}", "?" if sqlite else "%s")
            assert connection.execute(statement, values).rowcount > 0
            connection.commit()

    def recorded(self) -> list[Any]:
        """What the ledger says was done to the queue."""
        stream = projection_stream("open_jobs")
        return [event.facts for event in self.ledger.reader.stream(SYSTEM_TENANT, stream)]

    def fail(self, job: OpenJob) -> None:
        """The attempt fails for good."""
        lease = Lease(job.state.worker or "", job.state.attempt)
        facts = jobs.fail(job.state, lease, BROKEN, now=datetime.now(UTC), jitter=0, measured=Measured())
        assert self.ledger.change(job, *facts, lease=lease).position is not None


def open_tables(ledger: LedgerUnderTest, closing: ExitStack) -> QueueTables:
    """The tables of the queue, as another process opens them."""
    if ledger.engine == "sqlite":
        database = Database(Path(place_of(ledger)))
        closing.callback(database.close)
        return SqliteQueueTables(database)
    connections = Connections(place_of(ledger))
    closing.callback(connections.close)
    return PostgresQueueTables(connections)


@pytest.fixture
def queued(stored_ledger: LedgerUnderTest) -> Iterator[Queued]:
    """An empty ledger with its queue."""
    with ExitStack() as closing:
        yield Queued(stored_ledger, open_tables(stored_ledger, closing))


def assert_equal(comparison: Comparison, rows: int) -> None:
    """So many rows on both sides, and the same."""
    assert comparison.is_equal and comparison.sample == ()
    assert (comparison.rows_live, comparison.rows_fresh) == (rows, rows)
    assert comparison.digest_live == comparison.digest_fresh


# --- verifying -------------------------------------------------------------------------------------------------------


def test_an_empty_queue_is_what_an_empty_ledger_says(queued: Queued) -> None:
    """Nothing differs where there is nothing."""
    assert_equal(queued.verify(), 0)


def one_of_each(queued: Queued) -> dict[str, UUID]:
    """A job in each status that has a row, and some that have none."""
    ledger = queued.ledger
    made = {"dead": ledger.dispatch(), "finished": ledger.dispatch(), "running": ledger.dispatch(persona="o'brien")}
    for job in ledger.claim(limit=3).jobs:
        if job.job_id == made["dead"]:
            queued.fail(job)
        elif job.job_id == made["finished"]:
            ledger.complete(job)
        else:
            lease = Lease("w1", 1)
            ledger.change(job, *jobs.progress(job.state, lease, fraction=0.5), lease=lease, only_version=True)
    made["delayed"] = ledger.dispatch(due_in_seconds=3_600, status="delayed")
    made["blocked"] = ledger.dispatch(status="blocked")
    made["locked"] = ledger.dispatch(lock_key="ünï\x1fcode", limit_key="gpt", priority=7)
    made["waiting"] = ledger.dispatch(tenant="globex", payload=b'{"invoice":"43"}')
    return made


def test_jobs_of_each_status_have_the_row_that_the_ledger_says(queued: Queued) -> None:
    """Pending, delayed, blocked, in progress and dead; finished ones have none."""
    made = one_of_each(queued)
    assert_equal(queued.verify(), len(made) - 1)


def test_a_refused_dispatch_is_no_job(queued: Queued) -> None:
    """Its stream has the id that the job would have had, and says why there is none."""
    one_of_each(queued)
    refused = DispatchRefused(
        tenant_claimed="acme", type_claimed="no.such", code="unknown_job_type", field="type", rule=None, message="no"
    )
    queued.ledger.write(AppendEvents((Event(job_id(), 1, SYSTEM_TENANT, metadata(), refused),)))
    assert_equal(queued.verify(), 6)


def test_what_follows_by_itself_is_no_difference(queued: Queued) -> None:
    """A delayed job that a claim promoted is pending without an event; a lane follows its persona's limits later."""
    ledger = queued.ledger
    past = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(2):
        ledger.dispatch(status="delayed", due_at=past, queue="late", persona="bot")
    assert_equal(queued.verify(), 2)
    assert len(ledger.claim(limit=1, queues=("late",), job_types=("other.type",)).jobs) == 0  # but promoted
    limit(ledger, Target(Scope.PERSONA, "acme", "bot"), concurrency=1)
    assert_equal(queued.verify(), 2)
    apply_limits(ledger)
    assert_equal(queued.verify(), 2)


DAMAGES = {
    "deleted": ("DELETE FROM open_jobs WHERE job_id = {}", "waiting", "all"),
    "status": ("UPDATE open_jobs SET status = 'pending' WHERE job_id = {}", "delayed", {"status"}),
    "version": ("UPDATE open_jobs SET version = version + 1 WHERE job_id = {}", "running", {"version"}),
    "tenant": ("UPDATE open_jobs SET tenant_id = 'globex' WHERE job_id = {}", "locked", {"tenant_id"}),
    "counters": (
        "UPDATE open_jobs SET attempt = 9, attempts_counted = 9, attempts_allowed = 9, stalls = 9 WHERE job_id = {}",
        "dead", {"attempt", "attempts_counted", "attempts_allowed", "stalls"},
    ),
    "lease": ("UPDATE open_jobs SET worker = 'w2', started_at = NULL WHERE job_id = {}", "running",
              {"worker", "started_at"}),
    "keys": ("UPDATE open_jobs SET lock_key = NULL, limit_key = 'x', lane = NULL WHERE job_id = {}", "locked",
             {"lock_key", "limit_key", "lane"}),
    "cancel": ("UPDATE open_jobs SET cancel_reason = 'why' WHERE job_id = {}", "running", {"cancel_reason"}),
    "fragments": (
        "UPDATE open_jobs SET identity = thread, spec = thread, thread = identity WHERE job_id = {}",
        "waiting", {"identity", "spec", "thread"},
    ),
    "payload": ("UPDATE open_jobs SET payload = identity WHERE job_id = {}", "waiting", {"payload"}),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_is_found_and_mended(queued: Queued, damage: str) -> None:
    """The columns that differ are named, others are not; afterwards the row is what it was, as are its neighbours."""
    statement, which, columns = DAMAGES[damage]
    made = one_of_each(queued)
    whole = queued.verify()
    queued.damage(statement, made[which])
    found = queued.verify()
    assert (found.differing, [difference.key for difference in found.sample]) == (1, [(made[which],)])
    (difference,) = found.sample
    if columns == "all":
        assert difference.live is None and found.rows_live == found.rows_fresh - 1
    else:
        assert set(difference.columns) == columns
    assert found.digest_fresh == whole.digest_fresh != found.digest_live
    rebuilt = queued.rebuild()
    assert rebuilt.before == found._replace(position=rebuilt.before.position)
    assert (rebuilt.after.digest_live, queued.verify().digest_live) == (whole.digest_live, whole.digest_live)


def test_a_row_too_many_is_found_and_removed(queued: Queued) -> None:
    """A job that is finished, or that never was, has no row."""
    job = queued.ledger.dispatch()
    queued.ledger.complete(queued.ledger.claim_one())
    other = queued.ledger.dispatch()
    queued.damage("UPDATE open_jobs SET job_id = {} WHERE job_id = {}", job, other)
    found = queued.verify()
    assert found.differing == 2 and [(row.live is None, row.fresh is None) for row in found.sample] == [
        (False, True), (True, False),
    ]  # fmt: skip
    queued.rebuild()
    assert_equal(queued.verify(), 1)
    assert queued.ledger.claimed_ids() == [other]


def test_payloads_are_never_shown(queued: Queued) -> None:
    """A comparison holds their hashes."""
    job = queued.ledger.dispatch(payload=b'{"card":"4111"}')
    queued.damage("UPDATE open_jobs SET payload = thread, priority = 3 WHERE job_id = {}", job)
    assert "4111" not in repr(queued.verify())


# --- rebuilding ------------------------------------------------------------------------------------------------------


def test_a_lost_queue_is_made_again_from_the_ledger(queued: Queued) -> None:
    """Every row, with its payload, in its lane: what was running is rescued, what waits can be claimed."""
    ledger = queued.ledger
    made = one_of_each(queued)
    limit(ledger, Target(Scope.PERSONA, "globex", "bot"), concurrency=1)
    limited = ledger.dispatch(tenant="globex", persona="bot")
    before = {job: ledger.open_job(job) for name, job in made.items() if name not in {"finished", "waiting"}}
    whole = queued.verify()
    queued.damage("DELETE FROM open_jobs")
    rebuilt = queued.rebuild()
    assert rebuilt.after.digest_live == whole.digest_live and rebuilt.before.rows_live == 0
    assert {job: ledger.open_job(job) for job in before} == before
    assert [expired.job.job_id for expired in ledger.queue.expired(limit=10)] == [made["running"]]
    assert set(ledger.claimed_ids()) == {made["locked"], made["waiting"], limited}
    assert queued.verify().is_equal


def test_an_edited_payload_is_the_one_in_force(queued: Queued) -> None:
    """After a requeue with another payload the row has that one, and gets it again."""
    ledger = queued.ledger
    job = ledger.dispatch()
    queued.fail(ledger.claim_one())
    dead = ledger.open_job(job)
    (requeued,) = jobs.requeue(dead.state, now=datetime.now(UTC), reason="fixed", payload_sha256_before="0" * 64)
    ledger.write(change_of(dead, [requeued], body=b'{"invoice":"44"}', payload=b'{"invoice":"44"}'))
    assert_equal(queued.verify(), 1)
    queued.damage("DELETE FROM open_jobs")
    queued.rebuild()
    assert ledger.claim_one().payload == b'{"invoice":"44"}'


def test_two_rows_that_exchanged_their_lock_are_both_mended(queued: Queued) -> None:
    """A wrong row never keeps a right one out: of two jobs with a lock key only one may be in progress."""
    ledger = queued.ledger
    first, second = sorted(ledger.dispatch(lock_key="door") for _ in range(2))
    assert ledger.claimed_ids() == [first]
    queued.damage("UPDATE open_jobs SET status = 'pending', worker = NULL WHERE job_id = {}", first)
    queued.damage("UPDATE open_jobs SET status = 'in_progress', worker = 'w9' WHERE job_id = {}", second)
    assert queued.verify().differing == 2
    queued.rebuild()
    assert ledger.open_job(first).state.worker == "w1" and queued.verify().is_equal


def test_a_rebuild_is_recorded_with_counts_and_digests(queued: Queued) -> None:
    """Who, why, how many rows differed, and the digests of before and after."""
    one_of_each(queued)
    queued.damage("UPDATE open_jobs SET priority = 99 WHERE status = 'pending'")
    rebuilt = queued.rebuild("after the incident")
    begun, ended = queued.recorded()
    assert isinstance(begun, ProjectionRebuildBegun) and (begun.reason, begun.of_tenant) == ("after the incident", None)
    assert isinstance(ended, ProjectionRebuilt) and ended.swapped and ended.begun_version == 1
    assert (ended.differing, ended.rows_before, ended.rows_after) == (2, 6, 6)
    assert (ended.digest_before, ended.digest_after) == (rebuilt.before.digest_live, rebuilt.after.digest_live)
    assert ended.digest_before != ended.digest_after and ended.events == rebuilt.events


def test_a_rebuild_needs_a_reason(queued: Queued) -> None:
    """It is a manual act."""
    with pytest.raises(ReasonRequired):
        queued.rebuild(" ")
    assert queued.recorded() == []


def test_a_queue_in_use_is_not_rebuilt(queued: Queued) -> None:
    """While a worker's lease lasts: it is named, nothing is done and nothing recorded."""
    job = queued.ledger.dispatch()
    queued.ledger.heartbeat("worker-7")
    queued.damage("UPDATE open_jobs SET priority = 3 WHERE job_id = {}", job)
    with pytest.raises(IllegalTransition, match="worker-7") as refused:
        queued.rebuild()
    assert "stop them" in (refused.value.hint or "")
    assert queued.recorded() == [] and queued.verify().differing == 1
    queued.ledger.queue.goodbye("worker-7")
    queued.rebuild()
    assert queued.verify().is_equal


def test_a_payload_that_is_gone_stops_the_rebuild(queued: Queued) -> None:
    """Where the ledger does not hold it any more nothing is changed: the job is named, and the rebuild was given up."""
    kept, lost = queued.ledger.dispatch(), queued.ledger.dispatch()
    sqlite = queued.ledger.engine == "sqlite"
    with queued.ledger.connect() as connection:
        table, place = ("ledger", "?") if sqlite else ("jobledger.ledger", "%s")
        statement = f"UPDATE {table} SET body = NULL WHERE originator_id = {place}"
        connection.execute(statement, (lost.bytes if sqlite else lost,))
        connection.commit()
    queued.damage("UPDATE open_jobs SET priority = 3 WHERE job_id IN ({}, {})", kept, lost)
    with pytest.raises(CorruptEvent, match=str(lost)):
        queued.rebuild()
    assert queued.verify().differing == 2
    assert [facts.topic for facts in queued.recorded()] == ["projection.rebuild_begun", "projection.rebuild_cancelled"]


def test_writers_wait_for_a_rebuild(queued: Queued) -> None:
    """Nothing is written to the queue between what a rebuild reads and what it writes; readers go on."""
    job = queued.ledger.dispatch()
    written = Signal()

    def dispatch() -> None:
        while not written.is_set():
            try:
                queued.ledger.dispatch()
                written.set()
            except LedgerBusy:
                continue

    with queued.tables.writing() as write:
        writer = Thread(target=dispatch)
        writer.start()
        for _ in range(50):
            assert [row.job_id for row in write.rows()] == [job]
            assert list(queued.ledger.queue.open_jobs("acme", [job])) == [job]
        assert not written.is_set()
    writer.join()
    assert_equal(queued.verify(), 2)


# --- while everybody goes on -----------------------------------------------------------------------------------------


def work(ledger: LedgerUnderTest, number: int, until: Signal) -> None:
    """Dispatch, claim and end jobs, each way, until told to stop."""
    chance, worker = random.Random(number), f"w{number}"
    while not until.is_set():
        try:
            for _ in range(3):
                ledger.dispatch(lock_key=chance.choice([None, None, "door"]), max_stalled=5)
            for job in ledger.claim(limit=2, worker=worker).jobs:
                end(ledger, job, chance.choice(ENDINGS))
        except LedgerBusy:
            continue


def test_a_queue_that_four_writers_change_is_verified_without_a_difference(queued: Queued) -> None:
    """Events and rows change in the same transactions, and one moment is compared."""
    stop = Signal()
    with ExitStack() as closing:
        ledgers = [closing.enter_context(queued.ledger.open_again()) for _ in range(4)]
        ledgers[0].create_tenant("acme")
        for ledger in ledgers:
            ledger.tenants.add("acme")
        threads = [Thread(target=work, args=(ledger, number, stop)) for number, ledger in enumerate(ledgers)]
        for thread in threads:
            thread.start()
        try:
            seen = [queued.verify()]
            while len({comparison.digest_live for comparison in seen}) < 10 and all(t.is_alive() for t in threads):
                seen.append(queued.verify())
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert [comparison.sample for comparison in seen if not comparison.is_equal] == []
    assert seen[-1].rows_live > 0
    assert_equal(queued.verify(), queued.verify().rows_live)


# --- random histories ------------------------------------------------------------------------------------------------


def _retry(job: OpenJob, lease: Lease) -> tuple[JobFacts, ...]:
    error = BROKEN._replace(dlq_reason=None)
    return jobs.fail(job.state, lease, error, now=datetime.now(UTC), jitter=0.5, measured=Measured())


def _fail(job: OpenJob, lease: Lease) -> tuple[JobFacts, ...]:
    return jobs.fail(job.state, lease, BROKEN, now=datetime.now(UTC), jitter=0, measured=Measured())


ENDINGS: list[Callable[[OpenJob, Lease], tuple[JobFacts, ...]]] = [
    _retry, _fail,
    lambda job, lease: jobs.complete(job.state, lease, Measured()),
    lambda job, lease: jobs.snooze(job.state, lease, due_at=datetime.now(UTC), why="busy"),
    lambda job, lease: jobs.interrupt(job.state, lease, why="shutdown"),
    lambda job, lease: jobs.stall(job.state, lease, last_seen_at=None),
    lambda job, lease: jobs.stop_cancelled(job.state, lease),
]  # fmt: skip


def end(ledger: LedgerUnderTest, job: OpenJob, decide: Callable[[OpenJob, Lease], tuple[JobFacts, ...]]) -> None:
    """End an attempt, where that decision is possible."""
    lease = Lease(job.state.worker or "", job.state.attempt)
    try:
        facts = decide(job, lease)
    except Refusal:
        return
    ledger.change(job, *facts, lease=lease)


DECISIONS: list[Callable[[OpenJob], tuple[JobFacts, ...]]] = [
    lambda job: jobs.cancel(job.state, reason="not needed"),
    lambda job: jobs.release(job.state, dependency=UUID(int=1)),
    lambda job: jobs.reschedule(job.state, now=datetime.now(UTC), reason="urgent", priority=job.state.priority + 1),
    lambda job: jobs.reschedule(
        job.state, now=datetime.now(UTC), reason="later", due_at=datetime.now(UTC) + timedelta(hours=1)
    ),
    lambda job: jobs.reject(job.state, reason="unrecoverable", error_type="E", message="m", fingerprint="f"),
    lambda job: jobs.requeue(job.state, now=datetime.now(UTC), reason="fixed", attempts_granted=2),
    lambda job: jobs.discard(job.state, reason="given up"),
]
BIRTHS: list[dict[str, Any]] = [
    {}, {"persona": "bot", "priority": 5}, {"status": "blocked"}, {"status": "delayed", "due_in_seconds": -1},
    {"status": "delayed", "due_in_seconds": 60, "limit_key": "gpt"}, {"lock_key": "door", "max_stalled": 0},
]  # fmt: skip
days = st.lists(
    st.one_of(
        st.tuples(st.just("dispatch"), st.integers(0, len(BIRTHS) - 1)),
        st.tuples(st.just("claim"), st.integers(0, len(ENDINGS))),
        st.tuples(st.just("decide"), st.integers(0, 5 * len(DECISIONS))),
    ),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@for_all(day=days)
def test_whatever_happens_the_queue_is_the_fold_of_the_ledger(
    new_ledger: Callable[[], AbstractContextManager[LedgerUnderTest]], day: list[tuple[str, int]]
) -> None:
    """Random days of dispatches, claims, endings and acts of people; and a queue that is lost then is made again."""
    with new_ledger() as ledger, ExitStack() as closing:
        queued, born = Queued(ledger, open_tables(ledger, closing)), list[UUID]()
        for act, number in day:
            if act == "dispatch":
                born.append(ledger.dispatch(**BIRTHS[number]))
            elif act == "claim":
                for job in ledger.claim(limit=2).jobs:
                    if number < len(ENDINGS):
                        end(ledger, job, ENDINGS[number])
            elif born:
                decide_about(ledger, born[number % len(born)], DECISIONS[number % len(DECISIONS)])
        verified = queued.verify()
        assert verified.is_equal, verified.sample
        if verified.rows_live:
            queued.damage("DELETE FROM open_jobs")
            assert_equal(queued.rebuild().after, verified.rows_live)


def decide_about(
    ledger: LedgerUnderTest, job_id: UUID, decide: Callable[[OpenJob], tuple[JobFacts, ...]]
) -> None:  # fmt: skip
    """Somebody decides about a job, where that is possible."""
    job = ledger.queue.open_jobs("acme", [job_id]).get(job_id)
    if job is None:
        return
    try:
        facts = decide(job)
    except Refusal:
        return
    ledger.change(job, *facts)
