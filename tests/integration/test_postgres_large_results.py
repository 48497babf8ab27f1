"""What a thread receives in one piece is what a cursor gives, errors included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import psycopg
import pytest

from jobledger.domain.errors import JobledgerError, LedgerBusy, LedgerUnavailable
from jobledger.infrastructure.postgres.connections import Connections
from jobledger.infrastructure.postgres.driver_errors import wrapped
from jobledger.infrastructure.postgres.large_results import fetch_all
from jobledger.projections.ports import StreamRange
from tests.contract.support import LedgerUnderTest
from tests.contract.views_support import open_read_side, place_of

R = TypeVar("R")
Rows = list[tuple[object, ...]]


@pytest.fixture
def connections(postgres_ledger: LedgerUnderTest) -> Iterator[Connections]:
    """To a ledger with thirteen jobs."""
    for number in range(13):
        postgres_ledger.dispatch(tenant="acme" if number % 3 else "globex")
    opened = Connections(place_of(postgres_ledger))
    yield opened
    opened.close()


def in_a_thread(work: Callable[[], R]) -> R:
    """What it returns or raises in another thread than the main one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


@pytest.mark.parametrize("limit", [1, 5, 100])
def test_streams_read_in_a_thread_are_those_that_the_main_thread_reads(
    connections: Connections, postgres_ledger: LedgerUnderTest, limit: int
) -> None:
    """The same events, of the same types, in the same batches."""
    with open_read_side(postgres_ledger) as side:
        everything, head = StreamRange(None, UUID(int=2**128 - 1)), side.source.head()

        def read() -> list[tuple[object, ...]]:
            batch = side.source.read_streams(everything, position=head, limit=limit, without=frozenset({"job.no"}))
            return [tuple(event[:7]) for event in batch.events]

        found = read()
        assert found and in_a_thread(read) == found
        assert [list(map(type, row)) for row in in_a_thread(read)] == [list(map(type, row)) for row in found]


@pytest.mark.parametrize("run", [in_a_thread, lambda work: work()], ids=["thread", "main"])
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT pg_sleep(%b::float8)", LedgerBusy),
        ("SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(%b::float8)", LedgerUnavailable),
        ("SELECT 1 / (%b::float8 * 0)", JobledgerError),
    ],
    ids=["timeout", "ended by the server", "refused"],
)
def test_errors_are_the_same_wherever_it_is_read(
    connections: Connections, run: Callable[[Callable[[], Rows]], Rows], statement: str, expected: type[JobledgerError]
) -> None:
    """A statement that takes too long, a connection that the server ends, a statement that it refuses."""
    with connections.connect(None) as connection:
        connection.execute("SET statement_timeout = '200ms'")
        with pytest.raises(expected), wrapped():
            run(lambda: fetch_all(connection, statement, (30.0,)))


def test_a_connection_that_is_lost_is_known_to_be_closed(connections: Connections) -> None:
    """Whoever owns it opens another; nobody asks it again."""
    with connections.connect(None) as connection:
        statement = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(%b::float8)"
        with pytest.raises(psycopg.OperationalError):
            in_a_thread(lambda: fetch_all(connection, statement, (30.0,)))
        assert connection.closed
