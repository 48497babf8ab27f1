"""Attempts that wait for a slot: tenants take turns, so that nobody waits behind another tenant's backlog."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from .attempt import Attempt


class Turns:
    """A queue of queues, one a tenant; each tenant's attempts keep their order. Not thread-safe: its owner locks."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Attempt]] = {}
        self._turn: deque[str] = deque()
        """The tenants that have something waiting, the next one first."""
        self._count = 0

    def extend(self, attempts: Iterable[Attempt]) -> None:
        """Put these at the end of their tenants' queues."""
        for attempt in attempts:
            tenant = attempt.job.tenant
            waiting = self._waiting.get(tenant)
            if waiting is None:
                waiting = self._waiting[tenant] = deque()
                self._turn.append(tenant)
            waiting.append(attempt)
            self._count += 1

    def popleft(self) -> Attempt:
        """The first attempt of the tenant whose turn it is. Raises `IndexError` where nothing waits."""
        turn = self._turn
        waiting = self._waiting[turn[0]]
        attempt = waiting.popleft()
        self._count -= 1
        if not waiting:
            del self._waiting[turn.popleft()]
        elif len(turn) > 1:
            turn.rotate(-1)
        return attempt

    def take_all(self) -> list[Attempt]:
        """Everything that waits, in the order of the turns; nothing waits afterwards."""
        return [self.popleft() for _ in range(self._count)]

    @property
    def tenants(self) -> tuple[str, ...]:
        """The tenants that have something waiting."""
        return tuple(self._turn)

    def __len__(self) -> int:
        """How many attempts wait."""
        return self._count
