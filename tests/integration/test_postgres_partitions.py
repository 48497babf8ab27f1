"""The ledger's partitions: a month of births each, made ahead, and nothing lands anywhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from jobledger.application.writes import AppendEvents, NewJob, TenantRow, WriteStatus
from jobledger.domain.errors import LedgerError
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id, uuid7
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from tests.contract.support import metadata, new_job

_PARTITIONS = """
SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'jobledger.ledger'::regclass ORDER BY 1"""


@pytest.fixture
def ledger(postgres_dsn: str) -> Iterator[PostgresLedger]:
    """An open, empty ledger."""
    with closing(open_ledger(postgres_dsn)) as ledger:
        yield ledger


def _partitions(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(_PARTITIONS)]


def _partition_of(dsn: str, event: Event) -> str:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT tableoid::regclass::text FROM jobledger.ledger WHERE originator_id = %s", (event.originator_id,)
        ).fetchone()
    assert row is not None
    return str(row[0]).removeprefix("jobledger.")


def _month(moment: datetime) -> str:
    return f"ledger_{moment:%Y_%m}"


def test_three_months_ahead_exist(postgres_dsn: str) -> None:
    """This month, the one before it (ids may be born minutes ago) and three to come; one for natural keys."""
    months = {_month(datetime.now(UTC)), _month(datetime.now(UTC).replace(day=1) - timedelta(days=1))}
    assert months < set(_partitions(postgres_dsn))
    assert len(_partitions(postgres_dsn)) == 6
    assert "ledger_ff" in _partitions(postgres_dsn)


def test_maintenance_makes_what_is_missing(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """A month that is missing is made again, with what the others have; a second round finds nothing to do."""
    before = _partitions(postgres_dsn)
    with psycopg.connect(postgres_dsn) as owner:
        owner.execute(f"DROP TABLE jobledger.{before[-2]}".encode())
    ledger.ensure_partitions()
    ledger.ensure_partitions()
    assert _partitions(postgres_dsn) == before
    with psycopg.connect(postgres_dsn) as owner:
        indexes = owner.execute(
            "SELECT tablename, count(*) FROM pg_indexes WHERE tablename = ANY (%s) GROUP BY 1", (before,)
        ).fetchall()
    assert {count for _, count in indexes} == {3}


def test_an_event_lies_in_the_month_of_its_streams_birth(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """Jobs in the month in their id, streams with a natural key apart."""
    created = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
    ledger.writer.write([AppendEvents((created,), TenantRow("acme", TenantStatus.ACTIVE))])
    new = new_job()
    ledger.writer.write([new])
    assert _partition_of(postgres_dsn, created) == "ledger_ff"
    assert _partition_of(postgres_dsn, new.event) == _month(datetime.now(UTC))


def test_an_id_of_another_year_is_refused_alone(ledger: PostgresLedger) -> None:
    """There is no default partition: a stray id is its caller's error, and nobody else's."""
    failing, fine = ledger.writer.submit([_stray_job(7)]), ledger.writer.submit([new_job()])
    with pytest.raises(LedgerError, match="partition"):
        failing.result(timeout=30)
    assert fine.result(timeout=30)[0].status is WriteStatus.WRITTEN


def test_stray_ids_of_one_group_are_told_to_each_caller(ledger: PostgresLedger) -> None:
    """Where several of one group are refused, so that it is halved again and again, all get their own answer."""
    submitted = [(ledger.writer.submit([_stray_job(n)]), ledger.writer.submit([new_job()])) for n in range(20)]
    for failing, fine in submitted:
        with pytest.raises(LedgerError, match="partition"):
            failing.result(timeout=30)
        assert fine.result(timeout=30)[0].status is WriteStatus.WRITTEN


def _stray_job(number: int) -> NewJob:
    return new_job(id=uuid7(int(datetime(2001, 1, 1, tzinfo=UTC).timestamp() * 1000), number))
