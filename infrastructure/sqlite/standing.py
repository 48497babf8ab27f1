"""How far targets are from their limits, on SQLite."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from jobledger.application.flow_control import Running
from jobledger.application.ports import Standing
from jobledger.domain.limit import Limits, Rate, Target

from ..sql_blocks import load
from ..standing import standing
from .database import Database
from .types import database_now

SQL = load("jobledger.infrastructure.sqlite", "sql/standing.sql")

_MICROSECONDS = 1_000_000


def read_standing(
    database: Database, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None
) -> Standing:  # fmt: skip
    """See `Queue.standing`."""
    with database.read() as connection:
        now = database_now()

        def started(target: Target, rate: Rate) -> int:
            after = now - round(rate.seconds * _MICROSECONDS)
            count: int = connection.execute(SQL["started_in_window"], (*target, after)).fetchone()[0]
            return count

        holder = None if lock_key is None else connection.execute(SQL["lock_holder"], (tenant, lock_key)).fetchone()
        running = [Running(*row) for row in connection.execute(SQL["running_now"])]
        return standing(
            targets, running=running, started=started, lock_holder=None if holder is None else UUID(bytes=holder[0])
        )
