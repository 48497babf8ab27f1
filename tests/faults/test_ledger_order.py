"""A tailing reader of a PostgreSQL ledger misses no event and sees no stream out of order, whoever commits when.

Each scenario also runs with readers that are broken on purpose: a test that could not tell them apart from the right
one would show nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event, Lock
from uuid import UUID

import pytest

from tests.support.ledger_order import (
    GATE,
    GatedRightReader,
    Reader,
    ReaderWithHorizonInside,
    ReaderWithoutHorizon,
    RightReader,
    Writer,
    connect,
    faults,
    new_stream,
    waits_at_gate,
    whole_ledger,
)

WRITERS = 10
TRANSACTIONS = 30
"""Of each writer."""

MakeReader = Callable[[str], Reader]


# --- two transactions, in an order that a test decides ---------------------------------------------------------------


def _late_commit(dsn: str, make_reader: MakeReader) -> list[str]:
    """The transaction that drew its position first commits last; the reader reads in between, and again."""
    with closing(Writer(dsn)) as early, closing(Writer(dsn)) as late, closing(make_reader(dsn)) as reader:
        early.append(new_stream(), 1)
        late.append(new_stream(), 1)
        late.commit()
        reader.read()
        early.commit()
        reader.read()
        return faults(reader.seen, whole_ledger(dsn))


def _commit_behind_the_snapshot(dsn: str, make_reader: MakeReader) -> list[str]:
    """As above, and the early transaction commits after the reader's first statement took its snapshot, before that
    statement asks for the horizon."""
    with closing(Writer(dsn)) as early, closing(Writer(dsn)) as late, closing(make_reader(dsn)) as reader:
        with connect(dsn, "jobledger_owner", autocommit=True) as gate, ThreadPoolExecutor(1) as background:
            early.append(new_stream(), 1)
            late.append(new_stream(), 1)
            late.commit()
            gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))
            reading = background.submit(reader.read)
            _until(lambda: waits_at_gate(gate))
            early.commit()
            gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))
            reading.result(timeout=30)
        reader.read()
        return faults(reader.seen, whole_ledger(dsn))


def test_a_late_commit_is_not_missed(durable_dsn: str) -> None:
    """The reader waits below the position of the transaction that is still open."""
    assert _late_commit(durable_dsn, RightReader) == []


def test_without_the_horizon_a_late_commit_is_missed(durable_dsn: str) -> None:
    """The same scenario finds the reader out that has no horizon."""
    assert len(_late_commit(durable_dsn, ReaderWithoutHorizon)) == 1


def test_a_commit_behind_the_snapshot_is_not_missed(durable_dsn: str) -> None:
    """However late the horizon is asked for: the statement that reads comes after it."""
    assert _commit_behind_the_snapshot(durable_dsn, GatedRightReader) == []


def test_a_horizon_inside_the_reading_statement_misses_a_commit(durable_dsn: str) -> None:
    """The same scenario finds the reader out whose horizon is newer than its snapshot."""
    assert len(_commit_behind_the_snapshot(durable_dsn, ReaderWithHorizonInside)) == 1


def test_a_transaction_that_wrote_elsewhere_first_holds_nobody_back(durable_dsn: str) -> None:
    """An old transaction that has not appended yet is no reason to wait; what it appends then comes behind."""
    dsn = durable_dsn
    with closing(Writer(dsn)) as old, closing(Writer(dsn)) as other, closing(RightReader(dsn)) as reader:
        old.write_elsewhere()
        other.append(new_stream(), 1)
        other.commit()
        reader.read()
        assert len(reader.seen) == 1
        old.append(new_stream(), 1)
        old.commit()
        reader.read()
        assert faults(reader.seen, whole_ledger(dsn)) == []


def test_a_floor_is_decoded_beyond_31_bits(durable_dsn: str) -> None:
    """The advisory lock holds 31 bits of the floor: the horizon is right also when tickets pass that border."""
    with connect(durable_dsn, "jobledger_owner", autocommit=True) as owner:
        owner.execute("SELECT setval('ledger_ticket', %s)", ((1 << 31) - 1,))
    assert _late_commit(durable_dsn, RightReader) == []


# --- ten writers at once ---------------------------------------------------------------------------------------------


class _Streams:
    """Streams that several writers append to, one at a time as a job's row makes them."""

    def __init__(self, count: int) -> None:
        self._streams = [(new_stream(), Lock()) for _ in range(count)]
        self._versions: dict[UUID, int] = {}

    def append(self, writer: Writer, chance: random.Random) -> None:
        """The next version of one of them, committed before anybody else may append to it."""
        stream, lock = chance.choice(self._streams)
        with lock:
            version = self._versions[stream] = self._versions.get(stream, 0) + 1
            writer.append(stream, version)
            time.sleep(chance.random() * 0.002)
            writer.commit()


def _write(dsn: str, seed: int, shared: _Streams) -> None:
    """Transactions that wrote elsewhere first, append once or twice, and wait before they commit."""
    chance = random.Random(seed)
    with closing(Writer(dsn)) as writer:
        for _ in range(TRANSACTIONS):
            if chance.random() < 0.5:
                writer.write_elsewhere()
                time.sleep(chance.random() * 0.002)
            writer.append(new_stream(), 1)
            time.sleep(chance.random() * 0.005)
            shared.append(writer, chance)


def _read_while_ten_write(dsn: str, make_reader: MakeReader) -> list[str]:
    reader = make_reader(dsn)
    shared, done = _Streams(5), Event()

    def tail() -> None:
        while not done.is_set():
            reader.read()
        reader.read()

    try:
        with ThreadPoolExecutor(WRITERS + 1) as threads:
            tailing = threads.submit(tail)
            writing = [threads.submit(_write, dsn, seed, shared) for seed in range(WRITERS)]
            try:
                for each in writing:
                    each.result(timeout=120)
            finally:
                done.set()
            tailing.result(timeout=30)
        ledger = whole_ledger(dsn)
        assert len(ledger) == WRITERS * TRANSACTIONS * 2
        return faults(reader.seen, ledger)
    finally:
        reader.close()


def test_ten_writers_hide_nothing_from_a_reader(durable_dsn: str) -> None:
    """No event missed, none inverted, while ten writers commit out of order."""
    assert _read_while_ten_write(durable_dsn, RightReader) == []


@pytest.mark.parametrize("broken", [ReaderWithoutHorizon, ReaderWithHorizonInside])
def test_ten_writers_find_a_broken_reader_out(durable_dsn: str, broken: MakeReader) -> None:
    """The same run does see what a reader misses that has no horizon, or has it inside the reading statement."""
    assert _read_while_ten_write(durable_dsn, broken) != []


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.001)
