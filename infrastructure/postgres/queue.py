"""The work queue on PostgreSQL: claims, leases, liveness."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from uuid import UUID

import psycopg

from jobledger.application.ports import (
    COUNT_SECONDS_MAX,
    Claim,
    ClaimRequest,
    ExpiredLease,
    HeldLease,
    OpenJob,
    QueueCount,
    Renewal,
    WorkerHeartbeat,
    WorkerRow,
)
from jobledger.domain.job import JobStatus

from ..queue_row import open_job, start_fragments
from ..worker_row import encode_report, worker_row
from .calls import TICKET_EVENTS
from .chores import Chores
from .connections import Connections, PgConnection, Role
from .statements import SQL, Row

_PROMOTED_AT_ONCE = 1_000
_IN_PROGRESS = JobStatus.IN_PROGRESS.value
_TURN = -1
"""The version in the row of a claim that names the tenant after which the next one goes on."""


class PostgresQueue:
    """The `Queue` on PostgreSQL. Safe to use from any thread."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._chores = Chores(connections)
        self._cursors: dict[tuple[str, str], str] = {}
        """The tenant whose turn was last, by worker and queue; a torn update only costs somebody a turn."""
        self._first_queue: dict[str, int] = {}

    def claim(self, request: ClaimRequest) -> Claim:
        """Take up to `limit` due jobs: priority counts within a tenant, tenants take turns. Durable on return.
        A job that stalled before is claimed alone."""
        jobs: list[OpenJob] = []
        inactive: list[str] = []
        with self._connections.connection(Role.WORKER) as connection:
            for queue in self._in_turn(request):
                try:
                    found, waiting_in_vain = self._claim_from(connection, queue, request, jobs)
                except psycopg.Error:
                    if not jobs:
                        raise
                    break  # those of the queues before are ours already: they must not get lost
                jobs += found
                inactive += waiting_in_vain
                if len(jobs) >= request.limit or any(job.state.stalls for job in found):
                    break
        return Claim(tuple(jobs), tuple(dict.fromkeys(inactive)))

    def _in_turn(self, request: ClaimRequest) -> Iterable[str]:
        """The queues, beginning with another one each time: none starves behind a busy one."""
        count = len(request.queues)
        if count < 2:
            return request.queues
        first = self._first_queue[request.worker] = (self._first_queue.get(request.worker, -1) + 1) % count
        return request.queues[first:] + request.queues[:first]

    def _claim_from(
        self, connection: PgConnection, queue: str, request: ClaimRequest, claimed: Sequence[OpenJob]
    ) -> tuple[list[OpenJob], list[str]]:
        turn = (request.worker, queue)
        after = self._cursors.get(turn, "")
        fragments = start_fragments(request)
        parameters = (
            queue, list(request.job_types), _optional_list(request.personas), _optional_list(request.tenants),
            min(request.limit - len(claimed), TICKET_EVENTS), after, request.worker, fragments.head, fragments.tail,
            not claimed,
        )  # fmt: skip
        with connection.pipeline():  # without BEGIN: one round trip, one transaction
            connection.execute(SQL["promote"], (queue, _PROMOTED_AT_ONCE), prepare=True)
            rows = connection.execute(SQL["claim"], parameters, prepare=True, binary=True).fetchall()
        jobs: list[OpenJob] = []
        inactive: list[str] = []
        for row in rows:
            if row[0] is not None:
                jobs.append(_claimed(row, queue, request.worker))
            elif row[2] == _TURN:
                self._cursors[turn] = row[1]
            else:
                inactive.append(row[1])
        return jobs, inactive

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
        return [worker_row(*row) for row in self._rows(SQL["workers"], ())]

    def forget_workers(self, *, silent_seconds: float) -> int:
        """Forget workers that were not heard of for so long and hold nothing; how many."""
        return len(self._rows(SQL["forget_workers"], (silent_seconds,)))

    def counts(self) -> list[QueueCount]:
        """Open jobs by queue and status. `LedgerBusy` where counting takes more than two seconds."""
        with self._connections.transaction(Role.WORKER) as connection:
            connection.execute(SQL["give_up_after"], (f"{COUNT_SECONDS_MAX}s",))
            rows = connection.execute(SQL["counts"], binary=True).fetchall()
        return [QueueCount(queue, JobStatus(status), jobs) for queue, status, jobs in rows]

    def close(self) -> None:
        """Let go of what it holds beside the pools."""
        self._chores.close()

    def turn(self, chore: str) -> AbstractContextManager[bool]:
        """Whether this process does `chore` now; see `Queue`."""
        return self._chores.turn(chore)

    def goodbye(self, worker: str) -> None:
        """The worker ended and holds nothing any more."""
        with self._connections.connection(Role.WORKER) as connection:
            connection.execute(SQL["goodbye"], (worker,))
        for turn in [turn for turn in self._cursors if turn[0] == worker]:
            self._cursors.pop(turn, None)
        self._first_queue.pop(worker, None)

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


def _optional_list(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _open_job(row: Row) -> OpenJob:
    return open_job(*row)._replace(payload=row[-1][1:])  # without the tag of the body


def _claimed(row: Row, queue: str, worker: str) -> OpenJob:
    (job_id, tenant, version, priority, due_at, attempt, attempts_counted, attempts_allowed, stalls, job_type,
     persona, lock_key, spec, thread, payload, started_at) = row  # fmt: skip
    return open_job(
        job_id, tenant, version, _IN_PROGRESS, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
        attempts_allowed, stalls, worker, started_at, lock_key, None, spec, thread, payload[1:],
    )  # fmt: skip
