"""The work queue on SQLite: what `infrastructure/postgres` does with row locks, under the only writer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

from jobledger.application.ports import (
    COUNT_SECONDS_MAX,
    Claim,
    ClaimRequest,
    ExpiredLease,
    HeldLease,
    OpenJob,
    QueueCount,
    Renewal,
    Standing,
    WorkerHeartbeat,
    WorkerRow,
)
from jobledger.domain.job import JobStatus
from jobledger.domain.limit import Limits, Target

from ..sql_blocks import load
from ..worker_row import encode_report, worker_row
from .chores import Chores
from .claiming import Turns, claim_in_transaction
from .database import Database
from .limits import apply_limits
from .rows import OPEN_JOB_COLUMNS, open_job
from .standing import read_standing
from .types import database_now, moment, optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/queue.sql")


class SqliteQueue:
    """The `Queue`. Whose turn it is, is remembered in this process only: a restart begins again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._chores = Chores(database.path)
        self._turns = Turns()

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs; see `Queue`. Takes the writer only where there is something to claim."""
        with self._database.read() as connection:
            wanted = (json.dumps(request.queues), database_now())
            if not connection.execute(SQL["anything_to_claim"], wanted).fetchone()[0]:
                return Claim(())
        with self._database.write() as connection:
            return claim_in_transaction(connection, request, self._turns)

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew all leases of a worker; answers with them as the database sees them."""
        with self._database.write() as connection:
            now = database_now()
            connection.execute(
                SQL["heartbeat"],
                (
                    heartbeat.worker, heartbeat.code_version, json.dumps(heartbeat.queues), heartbeat.concurrency,
                    heartbeat.running, heartbeat.lease_seconds, encode_report(heartbeat.report), now,
                ),
            )  # fmt: skip
            rows = connection.execute(SQL["held_leases"], (heartbeat.worker,)).fetchall()
        leases = (
            HeldLease(UUID(bytes=job_id), attempt, bool(asked), tenant) for job_id, attempt, asked, tenant in rows
        )
        return Renewal(tuple(leases), moment(now))

    def workers(self) -> list[WorkerRow]:
        """The workers that have not said goodbye, the longest running first."""
        with self._database.read() as connection:
            rows = connection.execute(SQL["workers"]).fetchall()
        now = database_now()
        return [
            worker_row(
                worker, code_version, json.loads(queues), concurrency, running, lease_seconds, report,
                moment(started_at), moment(seen_at), (now - seen_at) / 1_000_000,
            )
            for (
                worker, code_version, queues, concurrency, running, lease_seconds, report, started_at, seen_at
            ) in rows
        ]  # fmt: skip

    def forget_workers(self, *, silent_seconds: float) -> int:
        """Forget workers that were not heard of for so long and hold nothing; how many."""
        silent_since = database_now() - int(silent_seconds * 1_000_000)
        with self._database.write() as connection:
            return len(connection.execute(SQL["forget_workers"], (silent_since,)).fetchall())

    def counts(self) -> list[QueueCount]:
        """Open jobs by queue and status. `LedgerBusy` where counting takes more than two seconds."""
        with self._database.read(at_most_seconds=COUNT_SECONDS_MAX) as connection:
            rows = connection.execute(SQL["counts"]).fetchall()
        return [QueueCount(queue, JobStatus(status), jobs) for queue, status, jobs in rows]

    def turn(self, chore: str) -> AbstractContextManager[bool]:
        """Whether this process does `chore` now; see `Queue`."""
        return self._chores.turn(chore)

    def standing(self, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None) -> Standing:
        """How far targets are from their limits, and who holds a lock key; see `Queue`."""
        return read_standing(self._database, targets, tenant=tenant, lock_key=lock_key)

    def apply_limits(self) -> int:
        """Bring the lanes of waiting jobs in line with the limits of personas; how many were changed."""
        return apply_limits(self._database)

    def goodbye(self, worker: str) -> None:
        """The worker ended and holds nothing any more."""
        with self._database.write() as connection:
            connection.execute(SQL["goodbye"], (worker,))

    def expired(self, *, limit: int) -> list[ExpiredLease]:
        """Running jobs whose worker's lease ran out, or whose worker is gone."""
        with self._database.read() as connection:
            rows = connection.execute(SQL["expired"], (database_now(), limit)).fetchall()
        return [ExpiredLease(open_job(row), optional_moment(row[OPEN_JOB_COLUMNS])) for row in rows]

    def waiting_of_inactive_tenants(self, *, limit: int) -> list[OpenJob]:
        """Waiting jobs of tenants that are suspended or unknown."""
        found: list[OpenJob] = []
        tenant = ""
        with self._database.read() as connection:
            while len(found) < limit:
                tenant = connection.execute(SQL["next_tenant_of_any_job"], (tenant,)).fetchone()[0]
                if tenant is None:
                    break
                active = connection.execute(SQL["is_active"], (tenant,)).fetchone()
                if active is None or not active[0]:
                    rows = connection.execute(SQL["waiting_of_inactive_tenants"], (tenant, limit - len(found)))
                    found.extend(open_job(row) for row in rows)
        return found

    def open_jobs(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, OpenJob]:
        """The rows of these jobs, as they are now."""
        with self._database.read() as connection:
            rows = [connection.execute(SQL["open_job"], (job_id.bytes, tenant)).fetchone() for job_id in job_ids]
        return {job.job_id: job for job in (open_job(row) for row in rows if row is not None)}

    def next_due_seconds(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next delayed job of these queues is due (0 when something is ready), None: nothing."""
        wanted, now = json.dumps(list(queues)), database_now()
        with self._database.read() as connection:
            if connection.execute(SQL["anything_to_claim"], (wanted, 0)).fetchone()[0]:
                return 0.0
            due_at = connection.execute(SQL["next_due"], (wanted,)).fetchone()[0]
        return None if due_at is None else max(0.0, (due_at - now) / 1_000_000)
