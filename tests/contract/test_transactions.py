"""What every ledger promises to callers who dispatch inside their own transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from jobledger.application.writes import WriteStatus
from jobledger.domain.errors import InvalidInput

from .support import LedgerUnderTest, new_job


def test_a_job_commits_with_its_callers_transaction(stored_ledger: LedgerUnderTest) -> None:
    """Before the commit nobody sees the job, afterwards it is dispatched like any other."""
    stored_ledger.create_tenant("acme")
    new = new_job(key="k")
    with stored_ledger.connect() as connection:
        (outcome,) = stored_ledger.transaction_writer.dispatch(connection, [new])
        assert outcome.status is WriteStatus.WRITTEN
        assert stored_ledger.reader.stream("acme", new.event.originator_id) == []
        connection.commit()
    assert stored_ledger.claimed_ids() == [new.event.originator_id]


def test_a_job_vanishes_with_its_callers_transaction(stored_ledger: LedgerUnderTest) -> None:
    """A rollback leaves neither event, nor row, nor key."""
    stored_ledger.create_tenant("acme")
    new = new_job(key="k")
    with stored_ledger.connect() as connection:
        stored_ledger.transaction_writer.dispatch(connection, [new])
        connection.rollback()
    assert stored_ledger.reader.stream("acme", new.event.originator_id) == []
    assert stored_ledger.claimed_ids() == []
    assert stored_ledger.write(new_job(key="k")).status is WriteStatus.WRITTEN


def test_a_refused_dispatch_leaves_the_transaction_usable(stored_ledger: LedgerUnderTest) -> None:
    """A duplicate and a conflict are outcomes; the caller goes on and commits the rest."""
    first = stored_ledger.dispatch(key="k")
    new = new_job()
    with stored_ledger.connect() as connection:
        outcomes = stored_ledger.transaction_writer.dispatch(connection, [new_job(key="k"), new_job(id=first), new])
        assert [outcome.status.value for outcome in outcomes] == ["duplicate", "conflict", "written"]
        connection.commit()
    assert set(stored_ledger.claimed_ids()) == {first, new.event.originator_id}


def test_other_objects_are_no_connections(ledger: LedgerUnderTest) -> None:
    """What is not a connection of this engine is refused before anything is written."""
    with pytest.raises(InvalidInput, match="connection"):
        ledger.transaction_writer.dispatch(object(), [new_job()])


def test_a_callers_open_transaction_delays_a_keyed_dispatch_only_to_its_end(stored_ledger: LedgerUnderTest) -> None:
    """A dispatch under a key that an open transaction holds waits for it, then finds the first job."""
    stored_ledger.create_tenant("acme")
    first = new_job(key="k")
    with stored_ledger.connect() as connection, ThreadPoolExecutor(1) as callers:
        stored_ledger.transaction_writer.dispatch(connection, [first])
        waiting = callers.submit(stored_ledger.write, new_job(key="k"))
        connection.commit()
        outcome = waiting.result(timeout=30)
    assert (outcome.status, outcome.job_id) == (WriteStatus.DUPLICATE, first.event.originator_id)
