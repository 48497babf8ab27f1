"""Who does a chore: one process of all, and the next one as soon as that one is dead."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from jobledger.application.ports import TURN_SECONDS_MAX
from jobledger.infrastructure.postgres import chores as postgres_chores
from tests.support.turn_process import CHORE

from .support import LedgerUnderTest
from .views_support import place_of

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 30.0


@contextmanager
def _holder(ledger: LedgerUnderTest) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the turn, or was told that it has not."""
    command = [sys.executable, "-m", "tests.support.turn_process", ledger.engine, place_of(ledger)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _says(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline().strip() == "True"


def _until_it_is_ours(ledger: LedgerUnderTest) -> None:
    """The server notices a death by its socket, which takes it a moment."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with ledger.queue.turn(CHORE) as is_ours:
            if is_ours:
                return
        assert time.monotonic() < deadline, "nobody got the turn of a process that died"
        time.sleep(0.01)


def test_one_at_a_time_has_a_turn(ledger: LedgerUnderTest) -> None:
    """Who asks while another does the chore is told no at once; afterwards it is anybody's again."""
    with ledger.queue.turn(CHORE) as first, ledger.queue.turn(CHORE) as second:
        assert (first, second) == (True, False)
        with ledger.queue.turn(CHORE) as third:
            assert not third
    with ledger.queue.turn(CHORE) as again:
        assert again


def test_each_chore_has_its_own_turn(ledger: LedgerUnderTest) -> None:
    """Somebody who does one chore keeps nobody from another."""
    with ledger.queue.turn(CHORE) as one, ledger.queue.turn("another") as other:
        assert one and other


def test_a_turn_ends_with_an_error(ledger: LedgerUnderTest) -> None:
    """A chore that raises gives its turn back, and the error goes on."""
    with pytest.raises(RuntimeError, match="the chore failed"), ledger.queue.turn(CHORE):
        raise RuntimeError("the chore failed")
    with ledger.queue.turn(CHORE) as is_ours:
        assert is_ours


def test_of_many_threads_one_has_the_turn(ledger: LedgerUnderTest) -> None:
    """Eight threads ask while the winner holds on: one is told yes."""
    asked, told = threading.Barrier(8), threading.Barrier(8)
    answers: list[bool] = []

    def ask() -> None:
        asked.wait(WAIT_SECONDS)
        with ledger.queue.turn(CHORE) as is_ours:
            answers.append(is_ours)
            told.wait(WAIT_SECONDS)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert sorted(answers) == [False] * 7 + [True]


def test_the_turn_of_a_killed_process_goes_to_the_next(stored_ledger: LedgerUnderTest) -> None:
    """While another process lives it keeps its turn; killed with SIGKILL, it leaves no leader to wait for."""
    with _holder(stored_ledger) as holder:
        assert _says(holder)
        with stored_ledger.queue.turn(CHORE) as is_ours:
            assert not is_ours
        with _holder(stored_ledger) as other:
            assert not _says(other)
        holder.kill()
        holder.wait()
        _until_it_is_ours(stored_ledger)


def test_a_frozen_holder_is_passed_over_on_sqlite(
    sqlite_ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that holds its turn beyond its time does not keep the others from theirs."""
    clock = [1_000_000.0]
    monkeypatch.setattr("jobledger.infrastructure.sqlite.chores.time.time", lambda: clock[0])
    with sqlite_ledger.queue.turn(CHORE):
        clock[0] += TURN_SECONDS_MAX
        with sqlite_ledger.queue.turn(CHORE) as is_ours:
            assert is_ours


def test_a_frozen_holder_is_passed_over_on_postgres(
    postgres_ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends the transaction of a process that does nothing for too long; its own late end is no error."""
    monkeypatch.setattr(postgres_chores, "_IDLE_TIMEOUT", "50ms")
    with ExitStack() as frozen:
        assert frozen.enter_context(postgres_ledger.queue.turn(CHORE))
        _until_it_is_ours(postgres_ledger)
    with postgres_ledger.queue.turn(CHORE) as is_ours:
        assert is_ours


def test_a_turn_on_postgres_holds_nobody_back(postgres_ledger: LedgerUnderTest) -> None:
    """Its transaction has neither a snapshot nor a transaction id, and readers of the ledger pass it."""
    with postgres_ledger.queue.turn(CHORE), postgres_ledger.connect() as connection:
        rows = connection.execute(
            "SELECT state, backend_xmin, backend_xid FROM pg_stat_activity WHERE application_name = 'jobledger turn'"
        ).fetchall()
        assert rows == [("idle in transaction", None, None)]
        job = postgres_ledger.dispatch()
        assert [event.originator_id for event in postgres_ledger.reader.stream("acme", job)] == [job]
        before = postgres_ledger.reader.head()
        postgres_ledger.dispatch()
        assert _head_beyond(postgres_ledger, before)


def _head_beyond(ledger: LedgerUnderTest, position: int) -> bool:
    """The head is asked for every few milliseconds only."""
    deadline = time.monotonic() + WAIT_SECONDS
    while ledger.reader.head() <= position and time.monotonic() < deadline:
        time.sleep(0.005)
    return ledger.reader.head() > position


def test_an_idle_connection_that_the_server_closed_is_replaced(postgres_ledger: LedgerUnderTest) -> None:
    """A restart of the server costs no round of chores."""
    with postgres_ledger.queue.turn(CHORE):
        pass
    with postgres_ledger.connect() as connection:
        assert isinstance(connection, psycopg.Connection)
        connection.autocommit = True
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'jobledger turn'"
        ).fetchall()
        assert ended == [(True,)]
    with postgres_ledger.queue.turn(CHORE) as is_ours:
        assert is_ours
