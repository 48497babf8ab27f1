"""What the ports of an API promise holds behind PgBouncer in transaction mode: their contract tests, run through it.

Two server connections serve everything. Lists are projected by a process that connects directly, and read through it.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import unwrap
from types import ModuleType

import pytest

from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.postgres import TestCluster

from . import (
    test_api_keys,
    test_dlq,
    test_filtered_pages,
    test_history,
    test_leases,
    test_leasing,
    test_reading,
    test_reading_tenants,
    test_standing,
    test_transactions,
    test_writing,
)
from .conftest import open_postgres_ledger
from .support import LedgerUnderTest
from .views_support import ReadSide, whole_read_side

CONTRACTS = (
    test_api_keys, test_dlq, test_filtered_pages, test_history, test_leases, test_leasing, test_reading,
    test_reading_tenants, test_standing, test_transactions, test_writing,
)  # fmt: skip
LEFT_OUT = {
    "test_a_job_that_may_have_killed_workers_runs_alone",  # needs maintenance, which connects directly
    "test_a_lost_lease_ends_nothing",  # the same
    "test_a_silent_workers_jobs_are_rescued",  # the same
    "test_a_dispatch_of_another_process_wakes_who_waits",  # nobody listens through a pooler: who waits looks again
    "test_nothing_is_read_past_a_transaction_that_is_open",  # opens a ledger of its own, directly
    "test_pages_of_any_size_come_to_the_same",  # takes long, and is about streams that are read anyway
}

keys = test_api_keys.keys
server, worker = test_leasing.server, test_leasing.worker


def _tests_of(contract: ModuleType) -> dict[str, object]:
    return {name: test for name, test in vars(contract).items() if name.startswith("test_") and callable(test)}


TESTS = {name: test for contract in CONTRACTS for name, test in _tests_of(contract).items() if name not in LEFT_OUT}
assert len(TESTS) == sum(len(_tests_of(contract).keys() - LEFT_OUT) for contract in CONTRACTS), "a name stands twice"
globals().update(TESTS)


@pytest.fixture(scope="module")
def pooler(postgres_cluster: TestCluster) -> Iterator[PgBouncer]:
    """PgBouncer in front of the session's cluster."""
    with pgbouncer(postgres_cluster.server.dsn()) as running:
        yield running


@pytest.fixture
def postgres_ledger(pooler: PgBouncer, postgres_dsn: str) -> Iterator[LedgerUnderTest]:
    """A ledger in a database of its own, through the pooler."""
    with open_postgres_ledger(postgres_dsn, pooled_dsn=pooler.dsn(postgres_dsn)) as ledger:
        yield ledger


@pytest.fixture
def ledger(postgres_ledger: LedgerUnderTest) -> LedgerUnderTest:
    """The only one here."""
    return postgres_ledger


@pytest.fixture
def stored_ledger(postgres_ledger: LedgerUnderTest) -> LedgerUnderTest:
    """The only one here."""
    return postgres_ledger


@pytest.fixture(params=["postgres"])
def past(request: pytest.FixtureRequest) -> Iterator[test_history.Past]:
    """As the contract has it."""
    yield from unwrap(test_history.past)(request)


@pytest.fixture(params=["postgres"])
def dead_letters(request: pytest.FixtureRequest) -> Iterator[test_dlq.DeadLetters]:
    """As the contract has it."""
    yield from unwrap(test_dlq.dead_letters)(request)


@pytest.fixture
def read_side(postgres_ledger: LedgerUnderTest) -> Iterator[ReadSide]:
    """As the contract has it."""
    with whole_read_side(postgres_ledger) as side:
        yield unwrap(test_filtered_pages.read_side)(side)
