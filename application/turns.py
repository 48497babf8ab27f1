"""Whose turn it is in a claim: tenants share a batch by their weights, and priority counts within each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from heapq import heapify, heappop, heapreplace

from .flow_control import Allowance, Candidate

_CROWD_MIN = 100
"""Tenants that are remembered before any is forgotten."""


class TenantTurns:
    """Whose turn it is in one queue: tenants get as many jobs for each of the others' as they weigh more.

    A tenant's place moves by the inverse of its weight with every job; the lowest is next. Who has had nothing for a
    while starts where the others are.
    """

    def __init__(self) -> None:
        self.served_last = ""
        """Where the tenants that are visited next begin: after this one."""
        self._places: dict[str, int | Fraction] = {}
        self._floor: int | Fraction = 0
        self._crowd = _CROWD_MIN

    def place(self, tenant: str) -> int | Fraction:
        """Where a tenant stands."""
        return max(self._floor, self._places.get(tenant, 0))

    def serve(self, tenant: str, weight: int) -> int | Fraction:
        """The tenant gets a job; where it stands then."""
        self._floor = self.place(tenant)
        place = self._places[tenant] = self._floor + (1 if weight == 1 else Fraction(1, weight))
        return place

    def forget_idle(self) -> None:
        """Forget tenants that stand where a newcomer would, now and then."""
        if len(self._places) > self._crowd:
            self._places = {tenant: place for tenant, place in self._places.items() if place > self._floor}
            self._crowd = 2 * len(self._places) + _CROWD_MIN


def choose(
    lines: Mapping[str, Iterator[Candidate]], turns: TenantTurns, allowance: Allowance, *, queue: str, limit: int
) -> list[Candidate]:
    """Up to `limit` jobs of a queue, from the lines of its tenants, which are in order of urgency: tenants take turns,
    beginning with the first where they stand alike. A line is read no further than it is taken from."""
    places = [(turns.place(tenant), number, tenant) for number, tenant in enumerate(lines)]
    heapify(places)
    allowed = {tenant: filter(allowance.take, line) for tenant, line in lines.items()}
    chosen: list[Candidate] = []
    while places and len(chosen) < limit and allowance.room(queue) > 0:
        _, number, tenant = places[0]
        job = next(allowed[tenant], None) if allowance.room(queue, tenant) > 0 else None
        if job is None:
            heappop(places)
        else:
            chosen.append(job)
            heapreplace(places, (turns.serve(tenant, allowance.weight(tenant)), number, tenant))
    turns.forget_idle()
    return chosen
