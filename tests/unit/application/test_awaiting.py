"""Waiting for lists: for what was recorded only, and by so many only."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from jobledger.application.awaiting import Awaiting, Room
from jobledger.application.ports import ViewName
from jobledger.application.positions import Positions
from jobledger.application.queries import ListTenantJobs
from jobledger.domain.errors import InvalidInput, LedgerBusy, NotYetVisible
from tests.support.use_cases import UseCases


class StandingStill:
    """Lists that show nothing, and how long they were waited for."""

    def __init__(self) -> None:
        self.waited_seconds: list[float] = []

    def wait_for(self, _position: int, timeout_seconds: float, _views: frozenset[ViewName]) -> bool:
        """They never do."""
        self.waited_seconds.append(timeout_seconds)
        return False


def awaiting(cases: UseCases, views: StandingStill, room: Room | None = None) -> Awaiting:
    """Waiting for those lists."""
    return Awaiting(views, Positions(cases.ledger.reader), room or Room())  # type: ignore[arg-type]


def test_what_was_never_recorded_is_not_waited_for() -> None:
    """A position far beyond the ledger's head is an error at once."""
    cases, views = UseCases(), StandingStill()
    cases.dispatch()
    with pytest.raises(InvalidInput) as refused:
        awaiting(cases, views).reach("memory.999999", 5, "lists", ViewName.TENANT_JOBS)
    assert (refused.value.field, views.waited_seconds) == ("after", [0])
    assert cases.refused(InvalidInput, ListTenantJobs, tenant="acme", after="memory.999999").field == "after"


def test_what_does_not_come_in_time_is_said() -> None:
    """Asking again is safe."""
    cases, views = UseCases(), StandingStill()
    position = cases.dispatch().position
    assert position is not None
    with pytest.raises(NotYetVisible) as late:
        awaiting(cases, views).reach(position, 5, "lists", ViewName.TENANT_JOBS)
    assert (late.value.field, views.waited_seconds) == ("after", [0, 5])


def test_so_many_wait_at_a_time() -> None:
    """One more is told so at once; once another has what he waited for there is room. Who finds it there waits not."""
    cases, views, room = UseCases(), StandingStill(), Room()
    receipt = cases.dispatch()
    assert receipt.position is not None
    room.bound(2)
    with ExitStack() as waiting:
        for _ in range(2):
            waiting.enter_context(room.taken())
        with pytest.raises(LedgerBusy):
            awaiting(cases, views, room).reach(receipt.position, 5, "lists", ViewName.TENANT_JOBS)
        there = Awaiting(cases.ledger.ports.views, Positions(cases.ledger.reader), room)
        assert there.reach(receipt.position, 5, "lists", ViewName.TENANT_JOBS) > 0
    with pytest.raises(NotYetVisible):
        awaiting(cases, views, room).reach(receipt.position, 5, "lists", ViewName.TENANT_JOBS)


def test_without_a_bound_all_may_wait() -> None:
    """A program's threads are its own."""
    room = Room()
    with ExitStack() as waiting:
        for _ in range(1_000):
            waiting.enter_context(room.taken())
