"""The work queue on SQLite: what `infrastructure/postgres` does with row locks, under the only writer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from jobledger.application.ports import (
    Claim,
    ClaimRequest,
    ExpiredLease,
    HeldLease,
    OpenJob,
    WorkerHeartbeat,
)

from ..sql_blocks import load
from .claiming import Turns, claim_in_transaction
from .database import Database
from .rows import OPEN_JOB_COLUMNS, open_job
from .types import database_now, optional_moment

SQL = load("jobledger.infrastructure.sqlite", "sql/queue.sql")


class SqliteQueue:
    """The `Queue`. Whose turn it is, is remembered in this process only: a restart begins again."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = Turns()

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs; see `Queue`. Takes the writer only where there is something to claim."""
        with self._database.read() as connection:
            wanted = (json.dumps(request.queues), database_now())
            if not connection.execute(SQL["anything_to_claim"], wanted).fetchone()[0]:
                return Claim(())
        with self._database.write() as connection:
            return claim_in_transaction(connection, request, self._turns)

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> list[HeldLease]:
        """Renew all leases of a worker and return them as the database sees them."""
        seen = (
            heartbeat.worker, heartbeat.code_version, json.dumps(heartbeat.queues), heartbeat.concurrency,
            heartbeat.running, heartbeat.lease_seconds, database_now(),
        )  # fmt: skip
        with self._database.write() as connection:
            connection.execute(SQL["heartbeat"], seen)
            rows = connection.execute(SQL["held_leases"], (heartbeat.worker,)).fetchall()
        return [HeldLease(UUID(bytes=job_id), attempt, bool(asked), tenant) for job_id, attempt, asked, tenant in rows]

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
