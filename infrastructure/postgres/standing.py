"""How far targets are from their limits, on PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

from jobledger.application.flow_control import Running
from jobledger.application.ports import Standing
from jobledger.domain.limit import Limits, Rate, Target

from ..standing import standing
from .connections import Connections, Role
from .statements import SQL


def read_standing(
    connections: Connections, targets: Mapping[Target, Limits], *, tenant: str, lock_key: str | None
) -> Standing:  # fmt: skip
    """See `Queue.standing`."""
    with connections.connection(connections.acting(Role.WORKER, Role.AUDITOR)) as connection:

        def started(target: Target, rate: Rate) -> int:
            rows = connection.execute(SQL["started_in_window"], (*target, rate.seconds)).fetchall()
            count: int = rows[0][0]
            return count

        holder = None
        if lock_key is not None:
            holder = connection.execute(SQL["lock_holder"], (tenant, lock_key)).fetchone()
        running = [Running(*row) for row in connection.execute(SQL["running_now"])]
        return standing(targets, running=running, started=started, lock_holder=None if holder is None else holder[0])
