"""Claims on PostgreSQL: batches of ready jobs from some queues, with what is remembered between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from jobledger.application.ports import Claim, ClaimRequest, OpenJob
from jobledger.domain.errors import JobledgerError
from jobledger.domain.job import JobStatus

from ..queue_row import StartFragments, open_job, start_fragments
from .calls import TICKET_EVENTS
from .connections import Connections, PgConnection, Role
from .statements import SQL, Row

_PROMOTED_AT_ONCE = 1_000
_LANE_CURSORS_MAX = 10_000
_IN_PROGRESS = JobStatus.IN_PROGRESS.value
_INACTIVE, _TURN, _LANE, _LIMITED, _STALLED = 0, -1, -2, -3, -4
"""What a row without a job tells, by its version; see claim_jobs."""


class _Found(NamedTuple):
    """What one call of claim_jobs brought."""

    jobs: list[OpenJob]
    inactive: list[str]
    limited: bool
    again_seconds: float | None


class Claims:
    """Takes jobs for workers, and remembers whose turn is next. Safe to use from any thread."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._cursors: dict[tuple[str, str], str] = {}
        """The tenant whose turn was last, by worker and queue; a torn update only costs somebody a turn."""
        self._lanes: dict[tuple[str, str], dict[str, str]] = {}
        """The lane after which the next look goes on, by worker and queue, of tenants with very many lanes."""
        self._stalled: dict[tuple[str, str], tuple[datetime, UUID]] = {}
        """The stalled job after which the next look goes on, by worker and queue, where many of them are held back."""
        self._first_queue: dict[str, int] = {}

    def claim(self, request: ClaimRequest) -> Claim:
        """See `Queue.claim`."""
        jobs: list[OpenJob] = []
        inactive: list[str] = []
        limited = False
        again: list[float] = []
        fragments = start_fragments(request)
        for queue in self._in_turn(request):
            try:
                with self._connections.connection(Role.WORKER) as connection:
                    found = self._claim_from(connection, queue, request, fragments, len(jobs))
            except JobledgerError:
                if not jobs:
                    raise
                break  # those of the queues before are ours already: they must not get lost
            jobs += found.jobs
            inactive += found.inactive
            limited |= found.limited
            if found.again_seconds is not None:
                again.append(found.again_seconds)
            if len(jobs) >= request.limit or any(job.state.stalls for job in found.jobs):
                break
        return Claim(tuple(jobs), tuple(dict.fromkeys(inactive)), limited, min(again, default=None))

    def forget(self, worker: str) -> None:
        """The worker ended."""
        for remembered in (self._cursors, self._lanes, self._stalled):
            for turn in [turn for turn in remembered if turn[0] == worker]:
                remembered.pop(turn, None)
        self._first_queue.pop(worker, None)

    def _in_turn(self, request: ClaimRequest) -> Iterable[str]:
        """The queues, beginning with another one each time: none starves behind a busy one."""
        count = len(request.queues)
        if count < 2:
            return request.queues
        first = self._first_queue[request.worker] = (self._first_queue.get(request.worker, -1) + 1) % count
        return request.queues[first:] + request.queues[:first]

    def _claim_from(
        self, connection: PgConnection, queue: str, request: ClaimRequest, fragments: StartFragments, claimed: int
    ) -> _Found:
        turn = (request.worker, queue)
        lanes = self._lanes.get(turn, {})
        with_stalled = not claimed and not request.except_tenants
        stalled = self._stalled.pop(turn, (None, None)) if with_stalled else (None, None)
        parameters = (
            queue, list(request.job_types), _optional_list(request.personas), _optional_list(request.tenants),
            list(request.except_tenants), min(request.limit - claimed, TICKET_EVENTS),
            None if request.at_once is None else max(0, request.at_once - claimed), self._cursors.get(turn, ""),
            list(lanes), list(lanes.values()), request.worker, fragments.head, fragments.tail, with_stalled, *stalled,
        )  # fmt: skip
        with connection.pipeline():  # without BEGIN: one round trip, one transaction
            connection.execute(SQL["promote"], (queue, _PROMOTED_AT_ONCE), prepare=True)
            found = connection.execute(SQL["claim"], parameters, prepare=True, binary=True)
        # Not before the pipeline's end: asked for rows, it would wait for them with the transaction open.
        return self._read(found.fetchall(), turn)

    def _read(self, rows: Sequence[Row], turn: tuple[str, str]) -> _Found:
        jobs: list[OpenJob] = []
        inactive: list[str] = []
        limited, again_seconds = False, None
        worker, queue = turn
        for row in rows:
            if row[0] is not None:
                jobs.append(_claimed(row, queue, worker))
                continue
            match row[2]:
                case tells if tells == _TURN:
                    self._cursors[turn] = row[1]
                case tells if tells == _LANE:
                    self._remember_lane(turn, row[1], row[10])
                case tells if tells == _STALLED:
                    self._stalled[turn] = (row[4], UUID(row[10]))
                case tells if tells == _LIMITED:
                    limited = True
                    if row[5]:
                        again_seconds = max(0.0, (row[4] - row[16]).total_seconds())
                case _:
                    inactive.append(row[1])
        return _Found(jobs, inactive, limited, again_seconds)

    def _remember_lane(self, turn: tuple[str, str], tenant: str, lane: str) -> None:
        lanes = self._lanes.setdefault(turn, {})
        lanes.pop(tenant, None)
        if lane and len(lanes) < _LANE_CURSORS_MAX:
            lanes[tenant] = lane


def _optional_list(values: tuple[str, ...] | None) -> list[str] | None:
    return None if values is None else list(values)


def _claimed(row: Row, queue: str, worker: str) -> OpenJob:
    (job_id, tenant, version, priority, due_at, attempt, attempts_counted, attempts_allowed, stalls, job_type,
     persona, lock_key, limit_key, spec, thread, payload, started_at) = row  # fmt: skip
    return open_job(
        job_id, tenant, version, _IN_PROGRESS, queue, job_type, persona, priority, due_at, attempt, attempts_counted,
        attempts_allowed, stalls, worker, started_at, lock_key, limit_key, None, spec, thread, payload[1:],
    )  # fmt: skip
