"""A ledger that has seen much: finished jobs in the form in which jobledger stores them.

Real jobs that ran here serve as templates: their events and rows of the lists are multiplied in SQL, with ids and times
of their own.
"""

from __future__ import annotations

from uuid import UUID

import psycopg
from psycopg import sql

_FINISHED = """
CREATE TEMPORARY TABLE finished AS
WITH births AS (
  SELECT n, (extract(epoch FROM now()) * 1000)::bigint - 3600000 + n * 3000000 / {jobs} AS born
  FROM generate_series(1, {jobs}::bigint) AS n
), templates AS (
  SELECT job_id, tenant_id, row_number() OVER (ORDER BY job_id) - 1 AS number
  FROM jobledger.tenant_jobs WHERE status = 'completed'
)
SELECT n, t.job_id AS template, t.tenant_id, to_timestamp(born / 1000.0) AS recorded_at,
       (lpad(to_hex(born), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid
         AS job_id
FROM births JOIN templates AS t ON t.number = births.n % (SELECT count(*) FROM templates)
"""
# Positions are `ticket << 12 | ordinal`; a ticket has room for 4,096. Nothing is sorted, so that any number takes the
# same memory.
_EVENTS = """
WITH first AS (SELECT last_value + 1 AS ticket FROM jobledger.ledger_ticket),
e AS (
  SELECT f.tenant_id, f.job_id, l.originator_version AS version, f.recorded_at, l.topic, l.state, l.body,
         (f.n - 1) * {most} + l.originator_version - 1 AS i
  FROM finished AS f JOIN jobledger.ledger AS l ON l.originator_id = f.template
)
INSERT INTO jobledger.ledger
  (tenant_id, originator_id, originator_version, notification_id, recorded_at, topic, state, body, leaf)
SELECT tenant_id, job_id, version, ((first.ticket + i / 4000) << 12) + i % 4000, recorded_at, topic, state, body,
       jobledger.ledger_leaf(tenant_id, job_id, version, jobledger.microseconds(recorded_at), topic, state)
FROM e, first
"""
_MOST_EVENTS = """
SELECT max(originator_version) FROM jobledger.ledger WHERE originator_id IN (SELECT template FROM finished)
"""
_TICKETS = "SELECT setval('jobledger.ledger_ticket', (max(notification_id) >> 12) + 1) FROM jobledger.ledger"
_CHECKPOINTS = """
UPDATE jobledger.checkpoints SET position = (SELECT max(notification_id) FROM jobledger.ledger)
"""
_SHORT_IDS = """
INSERT INTO jobledger.job_short_ids (tenant_id, short_id, job_id)
SELECT tenant_id, right(job_id::text, 8), job_id FROM finished
"""
_COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'jobledger' AND table_name = %s ORDER BY ordinal_position
"""
_OWN = {
    "job_id": "f.job_id", "created_at": "f.recorded_at", "updated_at": "f.recorded_at", "started_at": "f.recorded_at",
    "completed_at": "f.recorded_at",
}  # fmt: skip


def add_finished_jobs(url: str, jobs: int) -> None:
    """Add finished jobs beside those that ran here; nothing else may write meanwhile. Needs a superuser's URL."""
    with psycopg.connect(url) as connection:
        connection.execute("SET LOCAL work_mem = '256MB'")
        connection.execute(sql.SQL(_FINISHED).format(jobs=jobs))
        connection.execute("ANALYZE finished")
        row = connection.execute(_MOST_EVENTS).fetchone()
        connection.execute(sql.SQL(_EVENTS).format(most=row[0] if row else 1))
        connection.execute(_TICKETS)
        for table in ("tenant_jobs", "persona_jobs"):
            connection.execute(_rows_of(connection, table))
        connection.execute(_SHORT_IDS)
        connection.execute(_CHECKPOINTS)


# Of a job whose third event is a report of progress and whose last is its end: the report is repeated.
_LONG = """
WITH first AS (SELECT last_value + 1 AS ticket FROM jobledger.ledger_ticket),
template AS (
  SELECT originator_id, max(originator_version) AS last FROM jobledger.ledger
  WHERE tenant_id = %(tenant)s AND originator_id IN (
    SELECT originator_id FROM jobledger.ledger WHERE topic = 'job.progressed' AND originator_version = 3)
  GROUP BY originator_id LIMIT 1
), e AS (
  SELECT l.tenant_id, n.version, l.topic, l.state, l.body, clock_timestamp() AS recorded_at,
         (substr(l.originator_id::text, 1, 24) || 'ffffffffffff')::uuid AS job_id
  FROM template AS t CROSS JOIN generate_series(1, %(events)s::integer) AS n (version)
  JOIN jobledger.ledger AS l ON l.originator_id = t.originator_id AND l.originator_version
    = CASE WHEN n.version = %(events)s THEN t.last ELSE least(n.version, 3) END
)
INSERT INTO jobledger.ledger
  (tenant_id, originator_id, originator_version, notification_id, recorded_at, topic, state, body, leaf)
SELECT tenant_id, job_id, version, ((first.ticket + version / 4000) << 12) + version %% 4000, recorded_at, topic, state,
       body, jobledger.ledger_leaf(tenant_id, job_id, version, jobledger.microseconds(recorded_at), topic, state)
FROM e, first
RETURNING originator_id
"""


def add_long_job(url: str, tenant: str, events: int) -> UUID:
    """Add a job with so many events, nearly all of them reports of progress, beside one that reported once here."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_LONG, {"tenant": tenant, "events": events}).fetchone()
        connection.execute(_TICKETS)
        if row is None:
            raise AssertionError(f"{tenant} has no job that reported progress")
        return UUID(str(row[0]))


def _rows_of(connection: psycopg.Connection[tuple[object, ...]], table: str) -> sql.Composed:
    columns = [str(row[0]) for row in connection.execute(_COLUMNS, (table,))]
    values = [sql.SQL(_OWN[name]) if name in _OWN else sql.Identifier("stored", name) for name in columns]
    return sql.SQL(
        "INSERT INTO jobledger.{table} ({columns}) SELECT {values}"
        " FROM finished AS f JOIN jobledger.{table} AS stored ON stored.job_id = f.template"
    ).format(
        table=sql.Identifier(table), columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(values),
    )  # fmt: skip
