"""The work queue on PostgreSQL: claims, leases, liveness."""

from __future__ import annotations

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

from ..queue_row import open_job
from ..worker_row import encode_report, worker_row
from .chores import Chores
from .claims import Claims
from .connections import READS_ALL, Connections, Role
from .standing import read_standing
from .statements import SQL, Row

_APPLIED_AT_ONCE = 5_000


class PostgresQueue:
    """The `Queue` on PostgreSQL. Safe to use from any thread."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._chores = Chores(connections)
        self._claims = Claims(connections)

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs: priority counts within a tenant, tenants take turns. Durable on return.
        A job that stalled before is claimed alone."""
        return self._claims.claim(request)

    def heartbeat(self, heartbeat: WorkerHeartbeat) -> Renewal:
        """Renew all leases of a worker, in one statement; answers with them as the database sees them."""
        parameters = (
            heartbeat.worker, heartbeat.code_version, list(heartbeat.queues), heartbeat.concurrency,
            heartbeat.running, heartbeat.lease_seconds, encode_report(heartbeat.report), heartbeat.worker,
        )  # fmt: skip
        rows = self._rows(SQL["heartbeat"], parameters)
        return Renewal(tuple(HeldLease(*row[1:]) for row in rows if row[1] is not None), rows[0][0])

    def workers(self) -> list[WorkerRow]:
        """The workers that have not said goodbye, the longest running first."""
        with self._connections.connection(self._connections.acting(*READS_ALL, Role.API)) as connection:
            return [worker_row(*row) for row in connection.execute(SQL["workers"], binary=True).fetchall()]

    def forget_workers(self, *, silent_seconds: float) -> int:
        """Forget workers that were not heard of for so long and hold nothing; how many."""
        return len(self._rows(SQL["forget_workers"], (silent_seconds,)))

    def counts(self) -> list[QueueCount]:
        """Open jobs by queue and status. `LedgerBusy` where counting takes more than two seconds."""
        with self._connections.transaction(self._connections.acting(*READS_ALL)) as connection:
            connection.execute(SQL["give_up_after"], (f"{COUNT_SECONDS_MAX}s",))
            rows = connection.execute(SQL["counts"], binary=True).fetchall()
        return [QueueCount(queue, JobStatus(status), jobs) for queue, status, jobs in rows]

    def close(self) -> None:
        """Let go of what it holds beside the pools."""
        self._chores.close()

    def turn(self, chore: str) -> AbstractContextManager[bool]:
        """Whether this process does `chore` now; see `Queue`."""
        return self._chores.turn(chore)

    def apply_limits(self) -> int:
        """Bring jobs that wait in line with the limits of personas; how many were changed. See `Queue`."""
        changed: int = self._rows(SQL["apply_limits"], (_APPLIED_AT_ONCE,))[0][0]
        return changed

    def standing(self, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None) -> Standing:
        """How far targets are from their limits, and who holds a lock key; see `Queue`."""
        return read_standing(self._connections, targets, tenant=tenant, lock_key=lock_key)

    def goodbye(self, worker: str) -> None:
        """The worker ended and holds nothing any more."""
        with self._connections.connection(Role.WORKER) as connection:
            connection.execute(SQL["goodbye"], (worker,))
        self._claims.forget(worker)

    def expired(self, *, limit: int) -> list[ExpiredLease]:
        """Running jobs whose worker's lease ran out by the database's clock."""
        return [ExpiredLease(_open_job(row[:-1]), row[-1]) for row in self._rows(SQL["expired"], (limit,))]

    def waiting_of_inactive_tenants(self, *, limit: int) -> list[OpenJob]:
        """Waiting jobs of tenants that are suspended or unknown."""
        return [_open_job(row) for row in self._rows(SQL["waiting_of_inactive_tenants"], (limit,))]

    def open_jobs(self, tenant: str, job_ids: Sequence[UUID]) -> dict[UUID, OpenJob]:
        """The rows of these jobs, as they are now."""
        if not job_ids:
            return {}
        with self._connections.tenant_transaction(tenant) as connection:
            rows = connection.execute(SQL["open_jobs"], (tenant, list(job_ids)), binary=True).fetchall()
        return {row[0]: _open_job(row) for row in rows}

    def next_due_seconds(self, queues: Sequence[str]) -> float | None:
        """Seconds until the next delayed job of these queues is due (0 when something is ready), None: nothing."""
        rows = self._rows(SQL["next_due"], (list(queues),))
        seconds: float | None = rows[0][0]
        return seconds

    def _rows(self, statement: str, parameters: Sequence[object]) -> list[Row]:
        with self._connections.connection(Role.WORKER) as connection:
            return connection.execute(statement, parameters, binary=True).fetchall()


def _open_job(row: Row) -> OpenJob:
    return open_job(*row)._replace(payload=row[-1][1:])  # without the tag of the body
