"""Limits on SQLite: their rows, what uses them up, and the lanes of jobs that waited before a limit came."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from jobledger.application.flow_control import NO_RULES, Allowance, Rules, Running, Use, covers, lane_of
from jobledger.application.ports import ClaimRequest
from jobledger.application.writes import LimitRow
from jobledger.domain.limit import RATE_SECONDS_MAX, FlowState, Limits, Rate, Scope, Target

from ..sql_blocks import load
from .database import Database
from .types import database_now

SQL = load("jobledger.infrastructure.sqlite", "sql/limits.sql")

_LANES_AT_ONCE = 1_000
"""Jobs that are looked at, and written where their lane is another one, in one transaction."""
_MICROSECONDS = 1_000_000


class KnownLimits:
    """The limits in force, read again when they have changed. Used by whoever holds the writer."""

    def __init__(self) -> None:
        self._version: str | None = None
        self._rules = NO_RULES

    def rules(self, connection: sqlite3.Connection) -> Rules:
        """The limits as this transaction sees them; one look at one row where they are known."""
        version, _ = connection.execute(SQL["limits_version"]).fetchone()
        if version != self._version:
            self._rules = Rules(limit_rows(connection))
            self._version = version
        return self._rules


def allowance(connection: sqlite3.Connection, rules: Rules, request: ClaimRequest, now: int) -> Allowance:
    """What limits still allow, as this write transaction sees it."""

    def running() -> Iterable[Running]:
        return [Running(*row) for row in connection.execute(SQL["running"])]

    def uses(target: Target, after: int) -> Iterable[Use]:
        return [Use(*row) for row in connection.execute(SQL["limit_uses"], (*target, after))]

    return Allowance(rules, now=now, at_once=request.at_once, running=running, uses=uses)


def save_uses(connection: sqlite3.Connection, allowed: Allowance) -> None:
    """Record what a claim used up: one row a rate."""
    used = [(*target, use.ends_at, use.tokens) for target, use in allowed.used()]
    if used:
        connection.executemany(SQL["add_limit_use"], used)


def save_limit(connection: sqlite3.Connection, row: LimitRow) -> None:
    """Save the row of a target, or delete it where nothing is limited or paused."""
    if row.state == FlowState():
        connection.execute(SQL["delete_limit"], row.target)
    else:
        limits, rate = row.state.limits, row.state.limits.rate
        count, seconds = (None, None) if rate is None else (rate.count, rate.seconds)
        connection.execute(
            SQL["save_limit"],
            (*row.target, limits.concurrency, count, seconds, limits.weight, int(row.state.paused)),
        )
    _close_buckets(connection, row.target)
    connection.execute(SQL["limits_changed"])


def _close_buckets(connection: sqlite3.Connection, limited: Target) -> None:
    """What rates granted was started by now: buckets of another window must not count for longer than that."""
    now = database_now()
    used = connection.execute(SQL["limit_uses_unfinished"], (limited.scope, limited.tenant, now)).fetchall()
    for subject, bucket, tokens in used:
        target = limited._replace(subject=subject)
        if covers(limited, target):
            connection.execute(SQL["forget_limit_use"], (*target, bucket))
            connection.execute(SQL["add_limit_use"], (*target, now, tokens))


def limit_rows(connection: sqlite3.Connection) -> list[LimitRow]:
    """All targets that are limited or paused."""
    return [
        LimitRow(
            Target(Scope(scope), tenant, subject),
            FlowState(Limits(concurrency=concurrency, rate=_rate(count, seconds), weight=weight), bool(paused)),
        )
        for scope, tenant, subject, concurrency, count, seconds, weight, paused in connection.execute(SQL["limits"])
    ]


def limited_personas(connection: sqlite3.Connection) -> frozenset[tuple[str, str]]:
    """Tenant and persona of those whose jobs wait in lanes."""
    return frozenset(connection.execute(SQL["limited_personas"]).fetchall())


def apply_limits(database: Database) -> int:
    """See `Queue.apply_limits`. One pass over the queue after each change of limits, done by whoever is first."""
    with database.read() as connection:
        changed, applied = connection.execute(SQL["limits_version"]).fetchone()
    if changed is None:
        return 0
    _forget_uses(database)
    if changed == applied:
        return 0
    moved, after = 0, b""
    while True:
        found, moving, after = _look_at_lanes(database, after)
        is_last = found < _LANES_AT_ONCE
        if moving or is_last:
            with database.write() as connection:
                if connection.execute(SQL["limits_version"]).fetchone()[0] != changed:
                    return moved  # another pass is needed, and what was found here may be wrong by now
                connection.executemany(SQL["set_lane"], moving)
                if is_last:
                    connection.execute(SQL["lanes_applied"], (changed,))
            moved += len(moving)
        if is_last:
            return moved


def _look_at_lanes(database: Database, after: bytes) -> tuple[int, list[tuple[bytes, str | None]], bytes]:
    """The next jobs that a lane may be wrong for: how many, those in a wrong one with the right one, and the last."""
    with database.read() as connection:
        limited = limited_personas(connection)
        rows = connection.execute(SQL["jobs_in_lanes"], (after, _LANES_AT_ONCE)).fetchall()
    moving = [
        (job_id, right)
        for job_id, tenant, persona, lock_key, limit_key, lane in rows
        if (right := lane_of(lock_key, limit_key, persona if (tenant, persona) in limited else None)) != lane
    ]
    return len(rows), moving, rows[-1][0] if rows else after


def _forget_uses(database: Database) -> None:
    """Forget what left the window of its rate."""
    now = database_now()
    with database.read() as connection:
        rules = Rules(limit_rows(connection))
        used = connection.execute(SQL["used_targets"]).fetchall()
    gone: list[tuple[str, str, str, int]] = []
    for scope, tenant, subject, first in used:
        state = rules.state_of(Target(Scope(scope), tenant, subject))
        rate = None if state is None else state.limits.rate
        # a rate that was removed may come back: what it granted counts as long as any rate could look back
        until = now - round((RATE_SECONDS_MAX if rate is None else rate.seconds) * _MICROSECONDS)
        if first <= until:
            gone.append((scope, tenant, subject, until))
    if gone:
        with database.write() as connection:
            connection.executemany(SQL["forget_limit_uses"], gone)


def _rate(count: int | None, seconds: float | None) -> Rate | None:
    return None if count is None or seconds is None else Rate(count=count, seconds=seconds)
