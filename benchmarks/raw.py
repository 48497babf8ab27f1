"""The yardstick: a raw psycopg loop that does the least a durable event-sourced job can.

Three event rows, one queue row and one list row a job, on one connection, in batches, with binary `unnest` and with
everything durable at each commit. It has no tenants that are enforced, no validation, no retries, no leases, no
fencing, no idempotency, no projections: what jobledger adds is the price of those.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import psycopg

PAYLOAD = b'{"n":1,"email":"someone@example.com","note":"' + b"x" * 130 + b'"}'
DISPATCHED = b'{"type":"noop","queue":"default","persona":"bot","priority":0,"max_attempts":5,"actor":"service"}'
STARTED = b'{"attempt":1,"worker":"raw"}'
COMPLETED = b'{"attempt":1,"worker":"raw","seconds_running":0.0}'

SCHEMA = """
DROP SCHEMA IF EXISTS raw CASCADE;
CREATE SCHEMA raw;
CREATE TABLE raw.events (position bigserial PRIMARY KEY, job uuid NOT NULL, version int NOT NULL, topic text NOT NULL,
  state bytea NOT NULL, body bytea, UNIQUE (job, version));
CREATE TABLE raw.queue (job uuid PRIMARY KEY, payload bytea NOT NULL, started boolean NOT NULL DEFAULT false)
  WITH (fillfactor = 70);
CREATE INDEX ON raw.queue (job) WHERE NOT started;
CREATE TABLE raw.list (job uuid PRIMARY KEY, status text NOT NULL, updated timestamptz NOT NULL) WITH (fillfactor = 70);
"""

ENQUEUE = """
WITH j AS MATERIALIZED (SELECT * FROM unnest(%b::uuid[], %b::bytea[], %b::bytea[]) AS j(job, state, body)),
  e AS (INSERT INTO raw.events (job, version, topic, state, body) SELECT job, 1, 'dispatched', state, body FROM j),
  q AS (INSERT INTO raw.queue (job, payload) SELECT job, body FROM j)
INSERT INTO raw.list SELECT job, 'pending', now() FROM j
"""
CLAIM = """
WITH c AS MATERIALIZED (SELECT job FROM raw.queue WHERE NOT started ORDER BY job LIMIT %b FOR UPDATE SKIP LOCKED),
  u AS (UPDATE raw.queue q SET started = true FROM c WHERE q.job = c.job RETURNING q.job, q.payload),
  e AS (INSERT INTO raw.events (job, version, topic, state) SELECT job, 2, 'started', %b FROM u)
SELECT job, payload FROM u
"""
COMPLETE = """
WITH j AS MATERIALIZED (SELECT unnest(%b::uuid[]) AS job),
  d AS (DELETE FROM raw.queue q USING j WHERE q.job = j.job),
  l AS (UPDATE raw.list l SET status = 'completed', updated = now() FROM j WHERE l.job = j.job)
INSERT INTO raw.events (job, version, topic, state) SELECT job, 3, 'completed', %b FROM j
"""


class RawResult(NamedTuple):
    """Rates of the loop in jobs a second at one batch size."""

    batch: int
    enqueued_per_second: float
    consumed_per_second: float


def run(dsn: str, *, jobs: int, batch: int) -> RawResult:
    """Enqueue `jobs`, then consume them, `batch` at a time, each batch durable."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(SCHEMA)
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=1) as connection:
        cursor = connection.cursor(binary=True)
        began = time.perf_counter()
        for ids in _batches(jobs, batch):
            cursor.execute(ENQUEUE, (ids, [DISPATCHED] * len(ids), [PAYLOAD] * len(ids)))
        enqueued = time.perf_counter()
        connection.execute("VACUUM ANALYZE raw.queue")
        connection.execute("VACUUM ANALYZE raw.events")
        connection.execute("VACUUM ANALYZE raw.list")
        consuming = time.perf_counter()
        consumed = 0
        while rows := cursor.execute(CLAIM, (batch, STARTED)).fetchall():
            cursor.execute(COMPLETE, ([row[0] for row in rows], COMPLETED))
            consumed += len(rows)
        ended = time.perf_counter()
    assert consumed == jobs, f"consumed {consumed} of {jobs}"
    return RawResult(batch, jobs / (enqueued - began), jobs / (ended - consuming))


def _batches(jobs: int, batch: int) -> Iterator[list[uuid.UUID]]:
    for start in range(0, jobs, batch):
        count = min(batch, jobs - start)
        randomness = os.urandom(10 * count)
        milliseconds = time.time_ns() // 1_000_000
        yield [_uuid7(milliseconds, randomness[10 * i : 10 * i + 10]) for i in range(count)]


def _uuid7(milliseconds: int, randomness: bytes) -> uuid.UUID:
    number = int.from_bytes(randomness, "big")
    return uuid.UUID(int=(milliseconds << 80) | (7 << 76) | ((number >> 68) << 64) | (2 << 62) | (number & (2**62 - 1)))
