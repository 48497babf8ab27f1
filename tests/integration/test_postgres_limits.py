"""Limits on PostgreSQL: what may not run costs a claim nothing, however much of it waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from jobledger.application.ports import ClaimRequest
from jobledger.application.writes import AppendEvents, LimitRow, TenantRow
from jobledger.domain.event import Event
from jobledger.domain.identifiers import stream_id
from jobledger.domain.limit import FlowState, Limits, PersonaLimited, Scope, Target
from jobledger.domain.tenant import TenantCreated, TenantStatus
from jobledger.infrastructure.postgres.connect import PostgresLedger, open_ledger
from tests.contract.support import metadata, new_job

BACKLOG = 20_000
BLOCKS_MAX = 500
"""A backlog of that size fills many more; a claim that does not look through it needs a few hundred."""

_CLAIM = """EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)
SELECT * FROM jobledger.claim_jobs('default', '{invoice.send}', %(personas)s, NULL, '{}', 10, 10, '', '{}', '{}', 'w1',
                                   '}', '}', true)"""


@pytest.fixture
def ledger(postgres_dsn: str) -> Iterator[PostgresLedger]:
    """A ledger with a tenant, a backlog of one of its personas, and a later job of another one."""
    with closing(open_ledger(postgres_dsn)) as ledger:
        event = Event(stream_id("acme", "tenant", "acme"), 1, "acme", metadata(), TenantCreated(name="acme"))
        ledger.writer.write([AppendEvents((event,), TenantRow("acme", TenantStatus.ACTIVE))])
        about = metadata()
        ledger.writer.write([new_job(persona="bot", about=about) for _ in range(BACKLOG)])
        yield ledger


def _limit(ledger: PostgresLedger, persona: str, limits: Limits) -> None:
    target = Target(Scope.PERSONA, "acme", persona)
    facts = PersonaLimited(subject=persona, reason="one at a time", limits=limits)
    event = Event(target.stream, 1, "acme", metadata(), facts)
    ledger.writer.write([AppendEvents((event,), LimitRow(target, FlowState(limits)))])
    while ledger.queue.apply_limits():
        pass


def _blocks(dsn: str, personas: list[str] | None = None) -> int:
    """The blocks that one claim looks at; it is rolled back. Rows that are gone are cleared away before, as autovacuum
    does."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE jobledger.open_jobs")
    with psycopg.connect(dsn) as connection:
        for _ in range(2):  # the first one of a session also reads the catalogue
            row = connection.execute(_CLAIM, {"personas": personas}).fetchone()
            connection.rollback()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])


def test_the_backlog_of_a_limited_persona_costs_a_claim_nothing(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """With its one job running, a claim passes its twenty thousand others by and takes what lies behind them."""
    _limit(ledger, "bot", Limits(concurrency=1))
    request = ClaimRequest("w1", ("default",), ("invoice.send",), 10, "v1", 30.0, datetime.now(UTC))
    assert len(ledger.queue.claim(request).jobs) == 1
    behind = new_job(persona="other")
    ledger.writer.write([behind])
    assert _blocks(postgres_dsn) < BLOCKS_MAX
    assert [job.job_id for job in ledger.queue.claim(request).jobs] == [behind.event.originator_id]


def test_a_persona_that_is_not_limited_any_more_leaves_its_lane(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """Then its jobs are claimed in batches again, and nothing of the limit is left behind."""
    _limit(ledger, "bot", Limits(concurrency=1))
    target = Target(Scope.PERSONA, "acme", "bot")
    facts = PersonaLimited(subject="bot", reason="enough", limits=Limits())
    event = Event(target.stream, 2, "acme", metadata(), facts)
    ledger.writer.write([AppendEvents((event,), LimitRow(target, FlowState()))])
    while ledger.queue.apply_limits():
        pass
    assert _blocks(postgres_dsn) < BLOCKS_MAX
    with psycopg.connect(postgres_dsn) as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM jobledger.open_jobs WHERE lane IS NOT NULL),"
            " (SELECT count(*) FROM jobledger.limits), (SELECT count(*) FROM jobledger.limit_holds)"
        ).fetchone()
    assert left == (0, 0, 0)


def test_a_worker_of_one_persona_does_not_read_the_others_backlog(ledger: PostgresLedger, postgres_dsn: str) -> None:
    """Its jobs are found where they are, not by looking through everybody's."""
    ledger.writer.write([new_job(persona="rare")])
    assert _blocks(postgres_dsn, ["rare"]) < BLOCKS_MAX
