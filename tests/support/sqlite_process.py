"""A process of its own on a SQLite ledger, for tests: `python -m tests.support.sqlite_process ROLE PATH COUNT`.

Prints one JSON object with what it did; whatever goes wrong ends it with a traceback.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobledger.application.ports import ClaimRequest, WorkerHeartbeat
from jobledger.domain.job import Lease, Measured, complete
from jobledger.infrastructure.sqlite.connect import SqliteLedger, open_ledger

from ..contract.support import change_of, metadata, new_job

_PATIENCE_SECONDS = 60.0


def dispatch_singly(ledger: SqliteLedger, count: int) -> dict[str, int]:
    """One dispatch after the other, half of them under keys that other processes use as well."""
    statuses: dict[str, int] = {}
    for number in range(count):
        key = f"key-{number}" if number % 2 else None
        (outcome,) = ledger.writer.write([new_job(key=key)])
        statuses[outcome.status.value] = statuses.get(outcome.status.value, 0) + 1
    return statuses


def dispatch_in_bulk(ledger: SqliteLedger, count: int) -> dict[str, int]:
    """Ten at a time."""
    for _ in range(count // 10):
        ledger.writer.write([new_job() for _ in range(10)])
    return {"written": count}


def dispatch_and_tell(ledger: SqliteLedger, count: int) -> dict[str, int]:
    """One dispatch after the other; a line with the id of each, once it is acknowledged."""
    for _ in range(count):
        new = new_job()
        ledger.writer.write([new])
        sys.stdout.write(f"{new.event.originator_id}\n")
        sys.stdout.flush()
    return {"written": count}


def work(ledger: SqliteLedger, count: int) -> dict[str, int]:
    """Claim and complete until the ledger holds `count` completed jobs, with a heartbeat before each claim."""
    worker = f"worker-{time.monotonic_ns()}"
    completed = 0
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while _completed(ledger) < count and time.monotonic() < give_up_at:
        ledger.queue.heartbeat(WorkerHeartbeat(worker, "v1", ("default",), 4, 0, 30.0))
        request = ClaimRequest(worker, ("default",), ("invoice.send",), 7, "v1", 30.0, metadata().time)
        claim = ledger.queue.claim(request)
        for job in claim.jobs:
            lease = Lease(worker, job.state.attempt)
            done = complete(job.state, lease, Measured())
            (outcome,) = ledger.writer.write([change_of(job, done, lease=lease, body=b"null")])
            completed += outcome.status.value == "written"
        if not claim.jobs:
            ledger.wake_up.wait(0.05)
    return {"completed": completed}


def read(ledger: SqliteLedger, count: int) -> dict[str, int]:
    """Tail the ledger from the start until `count` jobs are completed: how many events, and how many out of order."""
    position = events = out_of_order = completed = 0
    versions: dict[object, int] = {}
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while completed < count and time.monotonic() < give_up_at:
        batch = ledger.reader.read_after(position, limit=100)
        for event in batch.events:
            events += 1
            expected = versions.get(event.originator_id, 0) + 1
            out_of_order += event.originator_version != expected or event.position <= position
            versions[event.originator_id] = event.originator_version
            completed += event.topic == "job.completed"
            position = event.position
        ledger.catalogue.tenants()
        ledger.queue.expired(limit=10)
        if not batch.events:
            ledger.wake_up.wait(0.05)
    return {"events": events, "out_of_order": out_of_order, "completed": completed}


def _completed(ledger: SqliteLedger) -> int:
    with ledger.database.read() as connection:
        count: int = connection.execute("SELECT count(*) FROM ledger WHERE topic = 'job.completed'").fetchone()[0]
    return count


ROLES: dict[str, Callable[[SqliteLedger, int], dict[str, int]]] = {
    "dispatch_singly": dispatch_singly, "dispatch_in_bulk": dispatch_in_bulk, "dispatch_and_tell": dispatch_and_tell,
    "work": work, "read": read,
}  # fmt: skip


def main(role: str, path: str, count: str) -> None:
    """Play the role, then say what was done."""
    ledger = open_ledger(Path(path))
    try:
        sys.stdout.write(json.dumps(ROLES[role](ledger, int(count))))
    finally:
        ledger.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
