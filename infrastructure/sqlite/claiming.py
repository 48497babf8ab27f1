"""A claim on SQLite: who is next, and `job.started` for each, in one transaction.

Tenants take turns: at most 100 of them, after the one served last, share the batch; priority counts within a tenant.
The cost depends on the batch and on these tenants, not on the backlog, nor on jobs that are delayed or finished, nor
on jobs that a limit holds back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from jobledger.application.flow_control import Allowance, Candidate, lane_of
from jobledger.application.ports import Claim, ClaimRequest, OpenJob
from jobledger.application.turns import TenantTurns, choose

from .. import queue_row
from ..sql_blocks import load
from .appender import Appender
from .limits import KnownLimits, allowance, save_uses
from .rows import OPEN_JOB_COLUMNS, open_job

SQL = load("jobledger.infrastructure.sqlite", "sql/queue.sql")

TENANTS_VISITED_MAX = 100
TENANTS_PROBED_MAX = 1_000
"""Those without room, and those left out, included: passing them costs one look each."""
LANES_VISITED_MAX = 100
LANES_PROBED_MAX = 1_000
"""Those without room included."""
STALLED_VISITED_MAX = 100
PROMOTED_MAX = 1_000
_CHUNK_GROWTH = 4
_BEFORE_ALL = (-(1 << 63), b"")

_Row = tuple[int, int, bytes, str | None, str | None, str | None]


@dataclass
class Turns:
    """Whose turn it is, in each queue: tenants, their lanes, and jobs that stalled; and how often queues were gone
    through."""

    tenants: dict[str, TenantTurns] = field(default_factory=dict)
    lanes: dict[tuple[str, str], str] = field(default_factory=dict)
    """By queue and tenant: the lane after which the next visit begins; only where there are more than one visits."""
    stalled: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """By queue: where the next look begins, where the last one found only such that limits hold back."""
    rounds: int = 0
    limits: KnownLimits = field(default_factory=KnownLimits)


class _Wanted(NamedTuple):
    """Of a request, what the statements filter by (JSON arrays; None: no filter)."""

    job_types: str
    personas: str | None
    tenants: str | None
    except_tenants: str


class _Asked(NamedTuple):
    """What the statements about one tenant's jobs filter by, in the order of their parameters."""

    queue: str
    tenant: str
    job_types: str
    personas: str | None
    personas_kept_out: str | None


class _Lane(NamedTuple):
    """A lane, and what binds its first job."""

    name: str
    lock_key: str | None
    limit_key: str | None
    persona: str | None

    @property
    def is_of_persona(self) -> bool:
        """Whether it holds jobs of one limited persona only."""
        return self.name != lane_of(self.lock_key, self.limit_key, None)


def claim_in_transaction(connection: sqlite3.Connection, request: ClaimRequest, turns: Turns) -> Claim:
    """Claim inside the write transaction of `connection`; nothing is written where nothing is found."""
    events = Appender(connection)
    connection.execute(SQL["promote_due_jobs"], (events.recorded_at, PROMOTED_MAX))
    rules = turns.limits.rules(connection)
    allowed = allowance(connection, rules, request, events.recorded_at)
    chosen, inactive = _Choice(connection, request, turns, allowed).make()
    jobs: tuple[OpenJob, ...] = ()
    if chosen:
        fragments = queue_row.start_fragments(request)
        jobs = tuple(_start(connection, events, request.worker, fragments, job.job_id) for job in chosen)
        events.finish()
        save_uses(connection, allowed)
    return Claim(jobs, tuple(inactive), allowed.limited, allowed.again_seconds)


def _start(
    connection: sqlite3.Connection, events: Appender, worker: str, fragments: queue_row.StartFragments, job_id: bytes
) -> OpenJob:
    row = connection.execute(SQL["start_job"], (job_id, worker, events.recorded_at)).fetchall()[0]
    job = open_job(row)
    identity, thread = row[OPEN_JOB_COLUMNS], row[OPEN_JOB_COLUMNS - 2]
    state = fragments.state(thread, identity, job.state.attempt)
    events.append(job.tenant, job.job_id, job.version, "job.started", state)
    return job


class _Choice:
    """The choice of one claim: it only reads."""

    def __init__(self, connection: sqlite3.Connection, request: ClaimRequest, turns: Turns, allowed: Allowance) -> None:
        self._execute = connection.execute
        self._request = request
        self._turns = turns
        self._allowed = allowed
        self._inactive: list[str] = []
        self._except = frozenset(request.except_tenants)
        self._wanted = _Wanted(
            json.dumps(request.job_types),
            None if request.personas is None else json.dumps(request.personas),
            None if request.tenants is None else json.dumps(request.tenants),
            json.dumps(request.except_tenants),
        )

    def make(self) -> tuple[list[Candidate], list[str]]:
        """The jobs to start, and the tenants met on the way that are unknown or suspended."""
        queues, limit = self._request.queues, self._request.limit
        self._turns.rounds += 1
        first = self._turns.rounds % max(1, len(queues))
        chosen: list[Candidate] = []
        for queue in queues[first:] + queues[:first]:
            if len(chosen) >= limit:
                break
            if self._allowed.room(queue) <= 0:
                continue
            stalled = None if chosen or self._request.except_tenants else self._stalled(queue)
            if stalled is not None:
                return [stalled], self._inactive
            chosen += self._waiting(queue, limit - len(chosen))
        return chosen, self._inactive

    def _stalled(self, queue: str) -> Candidate | None:
        wanted = (*self._wanted, STALLED_VISITED_MAX)
        after = self._turns.stalled.pop(queue, _BEFORE_ALL)
        rows = self._execute(SQL["stalled_candidates"], (queue, *after, *wanted)).fetchall()
        for priority, due_at, job_id, tenant, persona, lock_key, limit_key in rows:
            job = Candidate(-priority, due_at, job_id, tenant, queue, persona, lock_key, limit_key)
            if self._allowed.take(job):
                return job
        if len(rows) == STALLED_VISITED_MAX:
            self._turns.stalled[queue] = (rows[-1][1], rows[-1][2])
        return None

    # --- tenants -----------------------------------------------------------------------------------------------------

    def _waiting(self, queue: str, limit: int) -> list[Candidate]:
        turns = self._turns.tenants.setdefault(queue, TenantTurns())
        visited, last = self._visit(queue, turns.served_last)
        share = -(-limit // max(1, len(visited)))
        lines = {tenant: self._line(queue, tenant, share) for tenant in visited}
        taken = choose(lines, turns, self._allowed, queue=queue, limit=limit)
        if taken:
            turns.served_last = taken[-1].tenant if len(taken) == limit else visited[0]
        elif last is not None:  # nothing for this worker: others may lie behind those that were visited
            turns.served_last = last
        return taken

    def _visit(self, queue: str, after: str) -> tuple[list[str], str | None]:
        """Tenants with ready jobs and room for some, from the one after the last served and round again; and the last
        one that was looked at."""
        visited: list[str] = []
        last = None
        for number, tenant in enumerate(self._tenants(queue, after)):
            if len(visited) >= TENANTS_VISITED_MAX or number >= TENANTS_PROBED_MAX:
                break
            last = tenant
            if tenant not in self._except and self._is_active(tenant) and self._allowed.room(queue, tenant) > 0:
                visited.append(tenant)
        return visited, last

    def _tenants(self, queue: str, after: str) -> Iterator[str]:
        if self._request.tenants is not None:
            ordered = sorted(set(self._request.tenants))
            yield from (tenant for tenant in ordered if tenant > after)
            yield from (tenant for tenant in ordered if tenant <= after)
            return
        tenant, wrapped = after, False
        while True:
            tenant = self._execute(SQL["next_tenant"], (queue, tenant)).fetchone()[0]
            if tenant is None and not wrapped and after:
                tenant, wrapped = "", True
            elif tenant is None or (wrapped and tenant > after):
                return
            else:
                yield tenant

    def _is_active(self, tenant: str) -> bool:
        row = self._execute(SQL["is_active"], (tenant,)).fetchone()
        if row is not None and row[0]:
            return True
        if tenant not in self._inactive:
            self._inactive.append(tenant)
        return False

    # --- jobs of a tenant --------------------------------------------------------------------------------------------

    def _line(self, queue: str, tenant: str, share: int) -> Iterator[Candidate]:
        """The tenant's ready jobs in order of urgency, read as far as they are taken."""
        personas = self._allowed.personas(tenant)
        asked = _Asked(
            queue, tenant, self._wanted.job_types, self._wanted.personas, json.dumps(personas) if personas else None
        )
        if self._request.personas is None:
            lines = [self._jobs(SQL["candidates"], asked, share)]
        else:
            free = [persona for persona in dict.fromkeys(self._request.personas) if persona not in personas]
            lines = [self._jobs(SQL["candidates_of_persona"], asked, share, persona) for persona in free]
        lines += [self._jobs_in_lane(asked, lane) for lane in self._lanes(asked)]
        return lines[0] if len(lines) == 1 else merge(*lines)

    def _lanes(self, asked: _Asked) -> list[_Lane]:
        """The tenant's lanes that have room: a bounded number of them, beginning after those of the last visit."""
        visit = (asked.queue, asked.tenant)
        after = self._turns.lanes.pop(visit, "")
        lanes: list[_Lane] = []
        last, wrapped = after, False
        for _ in range(LANES_PROBED_MAX):
            row = self._execute(SQL["next_lane"], (*visit, last)).fetchone()
            if row is None and after and not wrapped:
                last, wrapped = "", True
                continue
            if row is None or (wrapped and row[0] > after):
                return lanes  # all of them were seen
            lane = _Lane(*row)
            last = lane.name
            if self._is_for_this_worker(lane) and self._room(asked, lane) > 0:
                lanes.append(lane)
                if len(lanes) == LANES_VISITED_MAX:
                    break
        self._turns.lanes[visit] = last
        return lanes

    def _is_for_this_worker(self, lane: _Lane) -> bool:
        personas = self._request.personas
        return personas is None or not lane.is_of_persona or lane.persona in personas

    def _room(self, asked: _Asked, lane: _Lane) -> int:
        """How many jobs of a lane may be started."""
        if lane.lock_key is not None:
            (is_held,) = self._execute(SQL["lock_is_held"], (asked.tenant, lane.lock_key)).fetchone()
            if is_held:
                return 0
        persona = lane.persona if lane.is_of_persona else None
        room = self._allowed.room(asked.queue, asked.tenant, persona, lane.limit_key)
        return room if lane.lock_key is None else min(1, room)

    def _jobs_in_lane(self, asked: _Asked, lane: _Lane) -> Iterator[Candidate]:
        """The jobs of a lane, for as long as it has room: what lies behind is a backlog."""
        if lane.is_of_persona:
            asked = asked._replace(personas_kept_out=None)
        room = self._room(asked, lane)
        for number, job in enumerate(self._jobs(SQL["candidates_in_lane"], asked, 1, lane.name)):
            if number >= room or self._room(asked, lane) <= 0:
                return
            yield job

    def _jobs(self, statement: str, asked: _Asked, count: int, *of: str) -> Iterator[Candidate]:
        """Jobs (`of` one lane or persona) in order of urgency: `count` of them and then, as far as they are asked for,
        ever more at a time."""
        begin = 0
        while True:
            rows: list[_Row] = self._execute(statement, (*asked, count, begin, *of)).fetchall()
            for priority, due_at, job_id, persona, lock_key, limit_key in rows:
                yield Candidate(-priority, due_at, job_id, asked.tenant, asked.queue, persona, lock_key, limit_key)
            if len(rows) < count:
                return
            begin += count
            count *= _CHUNK_GROWTH
