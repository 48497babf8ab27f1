"""Pages of a long list under each filter: whatever a filter lets through, most jobs, hardly any, or none."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from jobledger.application.dlq_client import DlqOptions
from jobledger.application.past_client import ListOptions

from . import noop
from .measures import Sample, percentiles
from .meter import Meter
from .reading import PAGE, UNMEASURED
from .scenarios import Bench

BEGINNING = datetime(2026, 3, 2, tzinfo=UTC)
PERSONA = "persona-2"

FILTERS: dict[str, ListOptions] = {
    "none": {}, "status": {"status": "dlq"}, "failed": {"failed": True}, "type": {"job_type": "type-3"},
    "kind": {"kind": "ai"}, "queue": {"queue": "queue-2"}, "not-failed": {"failed": False},
    "type-kind-queue": {"job_type": "type-3", "kind": "ai", "queue": "queue-2"},
    "kind-queue": {"kind": "ai", "queue": "queue-2"}, "type-queue": {"job_type": "type-3", "queue": "queue-2"},
    "status-type": {"status": "dlq", "job_type": "type-3"}, "status-queue": {"status": "completed", "queue": "queue-2"},
    "pending": {"status": "pending"}, "pending-type": {"status": "pending", "job_type": "type-3"},
    "failed-type": {"failed": True, "job_type": "type-3"}, "failed-kind": {"failed": True, "kind": "ai"},
    "failed-pending": {"failed": True, "status": "pending"}, "rare-type": {"job_type": "type-rare"},
    "status-rare-type": {"status": "dlq", "job_type": "type-rare"},
    "completed-rare-type": {"status": "completed", "job_type": "type-rare"},
    "not-failed-rare-type": {"failed": False, "job_type": "type-rare"}, "absent-type": {"job_type": "type-absent"},
    "absent-kind": {"kind": "system"}, "absent-queue": {"queue": "queue-absent"},
    "absent-status": {"status": "blocked"},
    "absent-pair": {"status": "cancelled", "queue": "queue-2"},
}  # fmt: skip
"""A type is one of 20, a queue one of 5, a kind one of 3, each with each; one job in 5 is dead (it failed), one in 50
is pending; one in 10,000 is of the rare type, and none of those is dead."""

DLQ_FILTERS: dict[str, DlqOptions] = {
    "none": {}, "reason": {"dlq_reason": "stalled"}, "kind": {"kind": "ai"}, "queue": {"queue": "queue-2"},
    "type": {"job_type": "type-3"}, "type-queue": {"job_type": "type-3", "queue": "queue-2"},
    "persona": {"persona": PERSONA}, "error": {"error_type": "Timeout"}, "fingerprint": {"fingerprint": "f-5"},
    "error-type": {"error_type": "Timeout", "job_type": "type-3"},
    "error-persona": {"error_type": "Timeout", "persona": PERSONA},
    "persona-reason-queue": {"persona": PERSONA, "dlq_reason": "stalled", "queue": "queue-2"},
    "rare-error": {"error_type": "Rare"}, "absent-type": {"job_type": "type-absent"},
    "absent-reason": {"dlq_reason": "integrity_violation"}, "absent-kind": {"kind": "system"},
    "absent-queue": {"queue": "queue-absent"}, "absent-persona": {"persona": "persona-absent"},
    "absent-error": {"error_type": "Absent"}, "absent-fingerprint": {"fingerprint": "absent"},
    "type-absent-kind": {"job_type": "type-3", "kind": "system"},
    "error-absent-type": {"error_type": "Timeout", "job_type": "type-absent"},
    "error-absent-kind": {"error_type": "Timeout", "kind": "system"},
}  # fmt: skip
"""A fifth of all jobs is dead: half of them of the same error, one in 10,000 of a rare one; a fingerprint is one of 40,
a reason one of 3."""

_ROWS = """
INSERT INTO jobledger.{table} (job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt,
  attempts_counted, attempts_allowed, created_at, updated_at, completed_at)
SELECT (lpad(to_hex(1772409600000 + n * 1000), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
         || substr(md5(n::text), 4, 15))::uuid,
  {tenant}, 'persona-' || abs(hashint8(n + 1)) % 10,
  CASE WHEN n % 5 = 0 THEN 'dlq' WHEN n % 50 = 2 THEN 'pending' ELSE 'completed' END, n % 5 = 0,
  CASE WHEN n % 10000 = 1 THEN 'type-rare' ELSE 'type-' || abs(hashint8(n + 2)) % 20 END,
  (ARRAY['work', 'ai', 'reactive'])[1 + abs(hashint8(n + 3)) % 3], 'queue-' || abs(hashint8(n + 4)) % 5, 0, 1, 1, 5,
  {beginning} + n * interval '1 second', now(), now()
FROM generate_series(1, {jobs}::bigint) AS n
"""
_DEAD = """
INSERT INTO jobledger.dlq_jobs (job_id, tenant_id, persona, job_type, kind, queue, reason, error_type, error_message,
  fingerprint, attempt, created_at, dead_at)
SELECT job_id, tenant_id, persona, job_type, kind, queue,
  (ARRAY['stalled', 'attempts_exhausted', 'unrecoverable'])[1 + abs(hashint8(n)) % 3],
  CASE WHEN n % 10000 = 1 THEN 'Rare' WHEN n % 2 = 0 THEN 'Timeout' ELSE 'Error-' || n % 40 END, 'it broke',
  'f-' || n % 40, 1, created_at, created_at
FROM (
  SELECT *, row_number() OVER (ORDER BY created_at) AS n FROM jobledger.tenant_jobs WHERE status = 'dlq'
) AS dead
"""


def _add_listed_jobs(url: str, jobs: int, tenant: str) -> None:
    """Rows of the lists, as a superuser; no events: no runner may look."""
    with psycopg.connect(url) as connection:
        for table in ("tenant_jobs", "persona_jobs"):
            connection.execute(
                sql.SQL(_ROWS).format(table=sql.Identifier(table), tenant=tenant, beginning=BEGINNING, jobs=jobs)
            )
        connection.execute(_DEAD)


def list_pages(bench: Bench, *, jobs: int) -> Iterator[Sample]:
    """Pages of 50 at random places of a tenant's list of many jobs, of one of its ten personas, and of its dead."""
    with bench.ledger(projecting=False) as ledger:
        tenant, client = noop.TENANTS[0], ledger.client
        _add_listed_jobs(ledger.place.url, jobs, tenant)
        bench.backend.settle(ledger.place.url)

        def read_jobs(persona: str | None, where: ListOptions) -> Callable[[datetime], None]:
            return lambda until: client.list_page(tenant, persona, {**where, "created_to": until, "limit": PAGE})

        def read_the_dead(where: DlqOptions) -> Callable[[datetime], None]:
            return lambda until: client.dlq_page(tenant, {**where, "dead_to": until, "limit": PAGE})

        for name, where in FILTERS.items():
            yield _pages(bench, f"list-pages-tenant-{name}", jobs, read_jobs(None, where))
            yield _pages(bench, f"list-pages-persona-{name}", jobs, read_jobs(PERSONA, where))
        for name, meant in DLQ_FILTERS.items():
            yield _pages(bench, f"list-pages-dlq-{name}", jobs, read_the_dead(meant))


def _pages(bench: Bench, name: str, jobs: int, read: Callable[[datetime], None]) -> Sample:
    """What a page took, and its CPU: on a machine that others use, that says what a page alone would take."""
    latencies: list[float] = []
    meter = Meter(bench.backend.cpu_seconds, here=True)
    for number in range(bench.pickups + UNMEASURED):
        if number == UNMEASURED:
            meter = Meter(bench.backend.cpu_seconds, here=True)
        until = BEGINNING + timedelta(seconds=random.uniform(0, jobs))
        began_at = time.perf_counter()
        read(until)
        latencies.append(time.perf_counter() - began_at)
    cpu = meter.sample(name, bench.backend.name, bench.pickups, ended_at=time.monotonic(), unit="pages")
    return cpu._replace(rate=None, **percentiles(latencies[UNMEASURED:])._asdict())
