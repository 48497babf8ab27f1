"""A PostgreSQL whose disk is full. The server's own error is raised where it would be: when a row is stored."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from jobledger.application.writes import AppendEvents, TenantRow, WriteStatus
from jobledger.domain.errors import LedgerUnavailable
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import open_ledger
from tests.contract.support import metadata, new_job

FULL = """
CREATE FUNCTION jobledger.no_space() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
END $$;
GRANT EXECUTE ON FUNCTION jobledger.no_space() TO PUBLIC;
CREATE TRIGGER no_space BEFORE INSERT ON jobledger.open_jobs FOR EACH ROW EXECUTE FUNCTION jobledger.no_space();
"""
COUNTS = "SELECT (SELECT count(*) FROM jobledger.ledger), (SELECT count(*) FROM jobledger.open_jobs)"


def test_a_full_disk_stores_nothing_by_halves_and_says_so(postgres_dsn: str) -> None:
    """The caller hears what is full; no event without its row; once there is room again, writing goes on."""
    with closing(open_ledger(postgres_dsn)) as ledger, psycopg.connect(postgres_dsn, autocommit=True) as admin:
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE)), new_job()])
        before = admin.execute(COUNTS).fetchone()
        admin.execute(FULL)
        with pytest.raises(LedgerUnavailable, match="disk of PostgreSQL is full") as raised:
            ledger.writer.write([new_job()])
        assert raised.value.hint is not None and "room" in raised.value.hint
        assert admin.execute(COUNTS).fetchone() == before
        admin.execute("DROP TRIGGER no_space ON jobledger.open_jobs")
        assert ledger.writer.write([new_job()])[0].status is WriteStatus.WRITTEN
