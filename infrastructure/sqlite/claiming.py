"""A claim on SQLite: who is next, and `job.started` for each, in one transaction.

Tenants take turns: at most 100 of them, after the one served last, share the batch; priority counts within a tenant.
The cost depends on the batch and on these tenants, not on the backlog, nor on jobs that are delayed or finished.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import NamedTuple

from jobledger.application.ports import Claim, ClaimRequest, OpenJob

from .. import queue_row
from ..sql_blocks import load
from .appender import Appender
from .rows import OPEN_JOB_COLUMNS, open_job

SQL = load("jobledger.infrastructure.sqlite", "sql/queue.sql")

TENANTS_VISITED_MAX = 100
LOCK_KEYS_VISITED = 100
LOCK_KEYS_VISITED_MAX = 2_000
"""Where none of the first has a job to take."""
PROMOTED_MAX = 1_000


@dataclass
class Turns:
    """Whose turn it is: the tenant that was served last in each queue, and how often queues were gone through."""

    served_last: dict[str, str] = field(default_factory=dict)
    rounds: int = 0


class _Candidate(NamedTuple):
    """A job that may be claimed; the tuple without the tenant is its place within its tenant."""

    urgency: int
    due_at: int
    job_id: bytes
    tenant: str


class _Wanted(NamedTuple):
    """Of a request, what the statements filter by (JSON arrays; None: no filter)."""

    job_types: str
    personas: str | None
    tenants: str | None


def claim_in_transaction(connection: sqlite3.Connection, request: ClaimRequest, turns: Turns) -> Claim:
    """Claim inside the write transaction of `connection`; nothing is written where nothing is found."""
    events = Appender(connection)
    connection.execute(SQL["promote_due_jobs"], (events.recorded_at, PROMOTED_MAX))
    chosen, inactive = _choose(connection, request, turns)
    jobs: tuple[OpenJob, ...] = ()
    if chosen:
        fragments = queue_row.start_fragments(request)
        jobs = tuple(_start(connection, events, request.worker, fragments, job_id) for job_id in chosen)
        events.finish()
    return Claim(jobs, tuple(inactive))


def _start(
    connection: sqlite3.Connection, events: Appender, worker: str, fragments: queue_row.StartFragments, job_id: bytes
) -> OpenJob:
    row = connection.execute(SQL["start_job"], (job_id, worker, events.recorded_at)).fetchall()[0]
    job = open_job(row)
    identity, thread = row[OPEN_JOB_COLUMNS], row[18]
    state = fragments.state(thread, identity, job.state.attempt)
    events.append(job.tenant, job.job_id, job.version, "job.started", state)
    return job


def _choose(connection: sqlite3.Connection, request: ClaimRequest, turns: Turns) -> tuple[list[bytes], list[str]]:
    """The jobs to start, and the tenants met on the way that are unknown or suspended."""
    wanted = _Wanted(
        json.dumps(request.job_types),
        None if request.personas is None else json.dumps(request.personas),
        None if request.tenants is None else json.dumps(request.tenants),
    )
    turns.rounds += 1
    first = turns.rounds % max(1, len(request.queues))
    chosen: list[bytes] = []
    inactive: list[str] = []
    for queue in request.queues[first:] + request.queues[:first]:
        if not chosen:
            stalled = connection.execute(SQL["stalled_candidates"], (queue, *wanted)).fetchone()
            if stalled is not None:
                return [stalled[0]], inactive
        if len(chosen) < request.limit:
            visited = _visit(connection, queue, request.tenants, turns)
            active = [tenant for tenant in visited if _is_active(connection, tenant)]
            inactive.extend(tenant for tenant in visited if tenant not in active and tenant not in inactive)
            taken = _share(connection, queue, active, wanted, request.limit - len(chosen))
            if taken:
                turns.served_last[queue] = taken[-1].tenant if len(taken) + len(chosen) == request.limit else active[0]
            elif visited:  # nothing for this worker: others may lie behind those that were visited
                turns.served_last[queue] = visited[-1]
            chosen.extend(candidate.job_id for candidate in taken)
    return chosen, inactive


def _visit(connection: sqlite3.Connection, queue: str, only: tuple[str, ...] | None, turns: Turns) -> list[str]:
    """Tenants with ready jobs in the queue, from the one after the last served, and round again."""
    after = turns.served_last.get(queue, "")
    if only is not None:
        ordered = sorted(set(only))
        return [tenant for tenant in ordered if tenant > after] + [tenant for tenant in ordered if tenant <= after]
    visited: list[str] = []
    tenant, wrapped = after, False
    while len(visited) < TENANTS_VISITED_MAX:
        tenant = connection.execute(SQL["next_tenant"], (queue, tenant)).fetchone()[0]
        if tenant is None and not wrapped and after:
            tenant, wrapped = "", True
        elif tenant is None or (wrapped and tenant > after):
            break
        else:
            visited.append(tenant)
    return visited


def _is_active(connection: sqlite3.Connection, tenant: str) -> bool:
    row = connection.execute(SQL["is_active"], (tenant,)).fetchone()
    return row is not None and bool(row[0])


def _share(
    connection: sqlite3.Connection, queue: str, tenants: list[str], wanted: _Wanted, limit: int
) -> list[_Candidate]:
    """An equal share of the batch for each tenant, one job each in turn; what some leave goes to the others."""
    if not tenants:
        return []
    share = -(-limit // len(tenants))
    found = {tenant: _candidates(connection, queue, tenant, wanted, share) for tenant in tenants}
    if len(tenants) > 1 and sum(map(len, found.values())) < limit:
        for tenant in tenants:
            if len(found[tenant]) == share:
                found[tenant] = _candidates(connection, queue, tenant, wanted, limit)
    longest = max(map(len, found.values()))
    turns = (found[tenant][place] for place in range(longest) for tenant in tenants if place < len(found[tenant]))
    return [candidate for candidate, _ in zip(turns, range(limit), strict=False)]


def _candidates(
    connection: sqlite3.Connection, queue: str, tenant: str, wanted: _Wanted, limit: int
) -> list[_Candidate]:
    """The tenant's best ready jobs: those without a lock key, and the best one of each free key."""
    rows = connection.execute(SQL["candidates"], (queue, tenant, wanted.job_types, wanted.personas, limit)).fetchall()
    key = ""
    for number in range(LOCK_KEYS_VISITED_MAX):
        key = connection.execute(SQL["next_lock_key"], (queue, tenant, key)).fetchone()[0]
        if key is None or (number >= LOCK_KEYS_VISITED and rows):
            break
        rows += connection.execute(
            SQL["candidate_with_key"], (queue, tenant, key, wanted.job_types, wanted.personas)
        ).fetchall()
    return sorted(_Candidate(-priority, due_at, job_id, tenant) for job_id, priority, due_at in rows)[:limit]
