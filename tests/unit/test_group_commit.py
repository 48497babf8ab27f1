"""The group commit: many callers in one transaction, and everybody's trouble his own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import pytest

from jobledger.application.writes import AppendEvents, Outcome, Write, WriteStatus
from jobledger.domain.errors import LedgerBusy, LedgerError, LedgerUnavailable
from jobledger.domain.event import Event, Metadata
from jobledger.domain.tenant import TenantCreated
from jobledger.infrastructure.group_commit import DEFERRED, Answer, GroupBlocked, GroupCommit, Limits

WAIT_SECONDS = 30
METADATA = Metadata(
    correlation_id="c", trace_parent="00-0-1-01", actor="service:test", time=datetime(2026, 1, 1, tzinfo=UTC)
)


def write(name: str, body: bytes | None = None) -> AppendEvents:
    """A write that is known by its name."""
    return AppendEvents((Event(UUID(int=1), 1, name, METADATA, TenantCreated(name=name), body),))


def names(writes: Sequence[Write]) -> list[str]:
    """The names of writes."""
    return [one.events[0].tenant for one in writes if isinstance(one, AppendEvents)]


class MemoryEngine:
    """An engine that remembers what it was given; `troubles` raise, or answer, before a flush is stored."""

    def __init__(self) -> None:
        self.flushes: list[list[str]] = []
        self.stored: list[str] = []
        self.deferred: set[str] = set()
        self.troubles: list[Callable[[list[str]], None]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.reached = threading.Semaphore(0)
        self.closed = False

    def flush(self, writes: Sequence[Write]) -> list[Answer]:
        """Store all that is not deferred."""
        flushed = names(writes)
        self.flushes.append(flushed)
        self.reached.release()
        assert self.gate.wait(WAIT_SECONDS)
        for trouble in self.troubles:
            trouble(flushed)
        answers: list[Answer] = []
        for name in flushed:
            if name in self.deferred:
                answers.append(DEFERRED)
            else:
                self.stored.append(name)
                answers.append(Outcome(WriteStatus.WRITTEN, position=len(self.stored)))
        return answers

    def close(self) -> None:
        """Remember it."""
        self.closed = True

    @contextmanager
    def held(self, writer: GroupCommit) -> Iterator[None]:
        """Inside the block one flush is under way and does not end; the buffer fills."""
        self.gate.clear()
        writer.submit([write("first")])
        assert self.reached.acquire(timeout=WAIT_SECONDS)
        try:
            yield
        finally:
            self.gate.set()


@pytest.fixture
def engine() -> MemoryEngine:
    """An engine in memory."""
    return MemoryEngine()


@contextmanager
def committing(engine: MemoryEngine, **limits: object) -> Iterator[GroupCommit]:
    """A group commit over the engine that does not wait between its retries."""
    writer = GroupCommit(engine, Limits(**{"retry_seconds": (0.0, 0.0), **limits}))  # type: ignore[arg-type]
    try:
        yield writer
    finally:
        engine.gate.set()
        writer.close()


def test_who_comes_while_a_group_is_stored_makes_the_next_group(engine: MemoryEngine) -> None:
    """Writes of many callers share one transaction, in the order in which they came."""
    with committing(engine) as writer:
        with engine.held(writer):
            futures = [writer.submit([write(f"n{number}")]) for number in range(20)]
        positions = [future.result(WAIT_SECONDS)[0].position for future in futures]
    assert engine.flushes == [["first"], [f"n{number}" for number in range(20)]]
    assert positions == list(range(2, 22))


def test_a_group_has_a_limit_of_writes_and_of_bytes(engine: MemoryEngine) -> None:
    """What is beyond a limit goes into the next group; the writes of one call stay together."""
    with committing(engine, max_writes=3, max_bytes=10_000) as writer:
        with engine.held(writer):
            calls = [
                [write("a"), write("b")],
                [write("c"), write("d")],
                [write("e", b"x" * 9_000)],
                [write("f", b"y" * 9_000)],
            ]
            futures = [writer.submit(call) for call in calls]
        for future in futures:
            future.result(WAIT_SECONDS)
    assert engine.flushes == [["first"], ["a", "b"], ["c", "d"], ["e"], ["f"]]


def test_nothing_is_nothing(engine: MemoryEngine) -> None:
    """No writes need no transaction."""
    with committing(engine) as writer:
        assert writer.write([]) == []
    assert engine.flushes == []


def test_a_deferred_write_delays_nobody(engine: MemoryEngine) -> None:
    """It is tried again in a flush of its own while others are stored, and is done once nothing blocks it."""
    engine.deferred = {"blocked"}
    with committing(engine) as writer:
        blocked = writer.submit([write("blocked")])
        for number in range(3):
            assert writer.write([write(f"free{number}")])[0].status is WriteStatus.WRITTEN
        assert not blocked.done()
        engine.deferred = set()
        assert blocked.result(WAIT_SECONDS)[0].status is WriteStatus.WRITTEN
    assert engine.stored[-1] == "blocked"


def test_a_write_that_stays_blocked_is_busy(engine: MemoryEngine) -> None:
    """After the limit its caller gets `LedgerBusy`, and nothing was stored."""
    engine.deferred = {"blocked"}
    with committing(engine, deferred_seconds=0.0) as writer, pytest.raises(LedgerBusy):
        writer.write([write("blocked")])
    assert engine.stored == []


def test_of_one_call_the_blocked_writes_are_named(engine: MemoryEngine) -> None:
    """Where other writes of the same call were stored, those that were not are `busy` outcomes."""
    engine.deferred = {"blocked"}
    with committing(engine, deferred_seconds=0.0) as writer:
        outcomes = writer.write([write("a"), write("blocked"), write("b")])
    assert [outcome.status.value for outcome in outcomes] == ["written", "busy", "written"]


def test_a_call_is_answered_in_its_order(engine: MemoryEngine) -> None:
    """Answers of later flushes stand where their writes stood."""
    engine.deferred = {"blocked"}

    def unblock(flushed: list[str]) -> None:
        engine.deferred -= set() if "a" in flushed else {"blocked"}

    engine.troubles.append(unblock)
    with committing(engine) as writer:
        outcomes = writer.write([write("blocked"), write("a")])
    assert [outcome.position for outcome in outcomes] == [2, 1]


def test_a_group_that_is_blocked_is_halved(engine: MemoryEngine) -> None:
    """Where the engine cannot say which write is blocked, halves of the group find out."""

    def block(flushed: list[str]) -> None:
        if "n5" in flushed:
            raise GroupBlocked

    engine.troubles.append(block)
    with committing(engine, deferred_seconds=0.0) as writer:
        with engine.held(writer):
            futures = [writer.submit([write(f"n{number}")]) for number in range(8)]
        with pytest.raises(LedgerBusy):
            futures[5].result(WAIT_SECONDS)
        others = [future.result(WAIT_SECONDS)[0].status for number, future in enumerate(futures) if number != 5]
    assert others == [WriteStatus.WRITTEN] * 7
    assert sorted(engine.stored) == sorted(["first", *(f"n{number}" for number in range(8) if number != 5)])


def test_what_the_database_refuses_hits_its_caller_only(engine: MemoryEngine) -> None:
    """An unexpected error of the engine reaches the caller whose write caused it, with the cause kept."""

    def refuse(flushed: list[str]) -> None:
        if "bad" in flushed:
            raise ValueError("a value the driver cannot store")

    engine.troubles.append(refuse)
    with committing(engine) as writer:
        with engine.held(writer):
            good, bad = writer.submit([write("good")]), writer.submit([write("bad")])
        assert good.result(WAIT_SECONDS)[0].status is WriteStatus.WRITTEN
        with pytest.raises(LedgerError) as raised:
            bad.result(WAIT_SECONDS)
    assert isinstance(raised.value.__cause__, ValueError)


def test_an_engine_that_breaks_its_contract_hangs_nobody(engine: MemoryEngine) -> None:
    """An answer too few is an error for the callers of that group, and the next group is stored."""
    flush = engine.flush
    with committing(engine) as writer:
        engine.flush = lambda writes: flush(writes)[1:]  # type: ignore[method-assign]
        with pytest.raises(LedgerError):
            writer.submit([write("a"), write("b")]).result(WAIT_SECONDS)
        engine.flush = flush  # type: ignore[method-assign]
        assert writer.write([write("c")])[0].status is WriteStatus.WRITTEN


def test_a_database_that_comes_back_is_not_noticed(engine: MemoryEngine) -> None:
    """A group that the database did not take is tried again, and then nobody hears of it."""
    failures = [LedgerUnavailable("away"), LedgerUnavailable("away")]

    def fail(_: list[str]) -> None:
        if failures:
            raise failures.pop()

    engine.troubles.append(fail)
    with committing(engine) as writer:
        assert writer.write([write("a")])[0].status is WriteStatus.WRITTEN
    assert engine.flushes == [["a"]] * 3


def test_a_database_that_stays_away_is_told_to_all(engine: MemoryEngine) -> None:
    """After a bounded number of retries every caller of the group gets `LedgerUnavailable`."""

    def fail(_: list[str]) -> None:
        raise LedgerUnavailable("away")

    with committing(engine) as writer:
        with engine.held(writer):
            futures = [writer.submit([write("a")]), writer.submit([write("b")])]
            engine.troubles.append(fail)
        for future in futures:
            with pytest.raises(LedgerUnavailable):
                future.result(WAIT_SECONDS)
    assert engine.stored == []
    assert engine.flushes == [["first"]] * 3 + [["a", "b"]] * 3


def test_a_full_buffer_pushes_back(engine: MemoryEngine) -> None:
    """Who finds no room in time gets `LedgerBusy`; memory stays bounded."""
    with committing(engine, buffer_writes=2, wait_seconds=0.0) as writer:
        with engine.held(writer):
            fits = writer.submit([write("a"), write("b")])
            with pytest.raises(LedgerBusy):
                writer.submit([write("c")])
        assert len(fits.result(WAIT_SECONDS)) == 2


def test_who_must_not_wait_is_pushed_back_at_once(engine: MemoryEngine) -> None:
    """However long others would wait for room; where there is some it is stored as any."""
    with committing(engine, buffer_writes=2, wait_seconds=3_600.0) as writer:
        with engine.held(writer):
            waiting = writer.submit_at_once([write("a"), write("b")])
            with pytest.raises(LedgerBusy):
                writer.submit_at_once([write("c")])
        assert len(waiting.result()) == 2


def test_who_waits_for_room_gets_it(engine: MemoryEngine) -> None:
    """A caller that waits at a full buffer goes on when the buffer was taken; a huge call fits an empty one."""
    with committing(engine, buffer_writes=2, wait_seconds=WAIT_SECONDS) as writer:
        with engine.held(writer):
            writer.submit([write("a"), write("b")])
            waiting = threading.Thread(target=writer.write, args=([write(f"n{number}") for number in range(9)],))
            waiting.start()
        waiting.join(WAIT_SECONDS)
    assert len(engine.stored) == 12


def test_closing_stores_what_is_there(engine: MemoryEngine) -> None:
    """What was handed in before is stored, what comes afterwards is refused; the engine is closed last."""
    with committing(engine) as writer:
        with engine.held(writer):
            future = writer.submit([write("a")])
            closing = threading.Thread(target=writer.close)
            closing.start()
        closing.join(WAIT_SECONDS)
        assert future.result(WAIT_SECONDS)[0].status is WriteStatus.WRITTEN
        with pytest.raises(LedgerUnavailable):
            writer.submit([write("b")])
    assert engine.closed


def test_closing_lets_nobody_wait_for_a_blocked_write(engine: MemoryEngine) -> None:
    """A write that is still blocked at the end is tried once more, then it is `LedgerBusy`."""
    engine.deferred = {"blocked"}
    with committing(engine) as writer:
        future = writer.submit([write("blocked")])
        assert engine.reached.acquire(timeout=WAIT_SECONDS)
    with pytest.raises(LedgerBusy):
        future.result(WAIT_SECONDS)


def test_a_cancelled_call_is_not_stored(engine: MemoryEngine) -> None:
    """A future that its caller cancelled in time takes its writes along."""
    with committing(engine) as writer:
        with engine.held(writer):
            cancelled, kept = writer.submit([write("a")]), writer.submit([write("b")])
            assert cancelled.cancel()
        kept.result(WAIT_SECONDS)
    assert engine.stored == ["first", "b"]


def test_listeners_hear_of_stored_writes_only(engine: MemoryEngine) -> None:
    """Deferred writes are told once they are stored; a listener that fails stops neither others nor the flusher."""
    engine.deferred = {"blocked"}
    heard: list[str] = []
    told = threading.Semaphore(0)

    def fail(*_: object) -> None:
        raise SystemExit("a broken listener")

    def listen(writes: Sequence[Write], outcomes: Sequence[Outcome]) -> None:
        assert len(writes) == len(outcomes)
        heard.extend(names(writes))
        told.release(len(writes))

    with committing(engine) as writer:
        writer.add_listener(fail)
        writer.add_listener(listen)
        future = writer.submit([write("a"), write("blocked")])
        assert told.acquire(timeout=WAIT_SECONDS)
        assert heard == ["a"]
        engine.deferred = set()
        future.result(WAIT_SECONDS)
    assert heard == ["a", "blocked"]
