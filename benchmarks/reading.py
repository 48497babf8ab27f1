"""What readers wait for: the list that shows one's own write, and a page of a long list under each filter."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import psycopg
from psycopg import sql

from jobledger import Dispatch
from jobledger.application.client import ListOptions

from . import noop
from .measures import Sample, percentiles
from .scenarios import Bench

UNMEASURED = 5
PAGE = 50
BEGINNING = datetime(2026, 3, 2, tzinfo=UTC)

FILTERS: dict[str, ListOptions] = {
    "none": {}, "status": {"status": "dlq"}, "failed": {"failed": True}, "type": {"job_type": "type-3"},
    "kind": {"kind": "ai"}, "queue": {"queue": "queue-2"}, "not-failed": {"failed": False},
    "type-kind-queue": {"job_type": "type-3", "kind": "ai", "queue": "queue-2"},
    "status-type": {"status": "dlq", "job_type": "type-3"}, "status-queue": {"status": "completed", "queue": "queue-2"},
    "failed-type": {"failed": True, "job_type": "type-3"}, "rare-type": {"job_type": "type-rare"},
}  # fmt: skip
"""A type is one of 20, a queue one of 5, a kind one of 3; one job in 200 is dead, one in 100 failed, one in 10,000 is
of the rare type: fewer of those than a page holds are found at the cost of looking at all entries of an index."""


def read_your_writes(bench: Bench) -> Iterator[Sample]:
    """Dispatch a job, then ask for the list as of that position; the lists are kept by another process."""
    with bench.ledger() as ledger:
        yield _written_and_listed(bench, "read-your-writes", ledger.client.dispatch_and_list)


def read_your_writes_here(bench: Bench) -> Iterator[Sample]:
    """The same where the process that asks keeps the lists, too."""
    with bench.ledger(projecting=False) as ledger, ledger.client.projecting():
        yield _written_and_listed(bench, "read-your-writes-in-process", ledger.client.dispatch_and_list)


_ROWS = """
INSERT INTO jobledger.{table} (job_id, tenant_id, persona, status, failed, job_type, kind, queue, priority, attempt,
  attempts_counted, attempts_allowed, created_at, updated_at, completed_at)
SELECT (lpad(to_hex(1772409600000 + n * 1000), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
         || substr(md5(n::text), 4, 15))::uuid,
  {tenant}, 'persona-' || abs(hashint8(n + 1)) % 10, CASE WHEN n % 200 = 0 THEN 'dlq' ELSE 'completed' END, n % 100 = 0,
  CASE WHEN n % 10000 = 1 THEN 'type-rare' ELSE 'type-' || abs(hashint8(n + 2)) % 20 END,
  (ARRAY['work', 'ai', 'reactive'])[1 + abs(hashint8(n + 3)) % 3], 'queue-' || abs(hashint8(n + 4)) % 5, 0, 1, 1, 5,
  {beginning} + n * interval '1 second', now(), now()
FROM generate_series(1, {jobs}::bigint) AS n
"""


def _add_listed_jobs(url: str, jobs: int, tenant: str) -> None:
    """Rows of both lists, as a superuser; no events: no runner may look."""
    with psycopg.connect(url) as connection:
        for table in ("tenant_jobs", "persona_jobs"):
            connection.execute(
                sql.SQL(_ROWS).format(table=sql.Identifier(table), tenant=tenant, beginning=BEGINNING, jobs=jobs)
            )


def list_pages(bench: Bench, *, jobs: int) -> Iterator[Sample]:
    """Pages of 50 at random places of a tenant's list of many jobs, and of one of its ten personas."""
    with bench.ledger(projecting=False) as ledger:
        tenant = noop.TENANTS[0]
        _add_listed_jobs(ledger.place.url, jobs, tenant)
        bench.backend.settle(ledger.place.url)
        for name, where in FILTERS.items():
            for persona in (None, "persona-2"):
                latencies = []
                for _ in range(bench.pickups + UNMEASURED):
                    until = BEGINNING + timedelta(seconds=random.uniform(0, jobs))
                    began_at = time.perf_counter()
                    ledger.client.list_page(tenant, persona, {**where, "created_to": until, "limit": PAGE})
                    latencies.append(time.perf_counter() - began_at)
                of = "tenant" if persona is None else "persona"
                yield Sample(
                    f"list-pages-{of}-{name}", bench.backend.name, **percentiles(latencies[UNMEASURED:])._asdict()
                )


def _written_and_listed(bench: Bench, scenario: str, dispatch_and_list: Callable[[Dispatch], int]) -> Sample:
    latencies = []
    for number in range(bench.pickups + UNMEASURED):
        time.sleep(random.uniform(0.02, 0.06))  # so that no poll beats in time with us
        item = noop.item(number, noop.TENANTS[0])
        began_at = time.perf_counter()
        listed = dispatch_and_list(item)
        latencies.append(time.perf_counter() - began_at)
        if listed != 1:
            raise AssertionError("the list lacks the job that was dispatched before")
    return Sample(scenario, bench.backend.name, **percentiles(latencies[UNMEASURED:])._asdict())
