"""Writes as calls of our SQL functions: what goes in as arrays, what comes out as answers.

A group of writes becomes as few calls as possible, all in one transaction. Writes about one job come in their order:
the second of them is in a later *round*, whose statements see what the rounds before did.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from jobledger.application.writes import AppendEvents, ChangeJob, NewJob, Write
from jobledger.domain.errors import LedgerError
from jobledger.domain.job import JobCompleted

from ..group_commit import Answer
from .appends import Appends, save
from .changes import Changes, Completions
from .dispatches import Dispatches
from .encoding import Encoder
from .statements import Parameters, Row

TICKET_EVENTS = 4_096
"""At most so many events share a ticket."""


class Call(Protocol):
    """One statement for some of a group's writes."""

    @property
    def indexes(self) -> list[int]:
        """Which writes of the group, in the order of the statement's arrays."""
        ...

    @property
    def statement(self) -> str:
        """What is executed."""
        ...

    def parameters(self) -> Parameters:
        """What the statement takes."""
        ...

    def answers(self, row: Row) -> list[Answer | None]:
        """What it answers for each of its writes; None: only a `Changes` call can say."""
        ...

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """The indexes of the writes that brought these events (zero-based in the statement)."""
        ...


def plan(writes: Sequence[Write], indexes: Sequence[int], *, completions: bool = True) -> list[Call]:
    """The calls that carry out those writes, in order. Without `completions` every change goes to `Changes`, which
    says of each why it was not written."""
    encoder = Encoder()
    rounds: list[_Round] = []
    last_round: dict[UUID, int] = {}
    for index in indexes:
        write = writes[index]
        _require_a_ticket_holds(write)
        subject = _subject(write)
        number = last_round.get(subject, -1) + 1 if not isinstance(write, AppendEvents) else 0
        last_round[subject] = number
        if number == len(rounds):
            rounds.append(_Round(encoder))
        rounds[number].add(index, write, completions=completions)
    return [call for each in rounds for call in each.calls()]


def _require_a_ticket_holds(write: Write) -> None:
    """Beyond its ticket a write would take positions of the next one."""
    if not isinstance(write, NewJob) and len(write.events) > TICKET_EVENTS:
        raise LedgerError(
            f"{len(write.events)} events in one write", field="events", rule=f"at most {TICKET_EVENTS} at once"
        )


def _subject(write: Write) -> UUID:
    if isinstance(write, NewJob):
        return write.event.originator_id
    return write.job_id if isinstance(write, ChangeJob) else write.events[0].originator_id


class _Round:
    """The calls of writes that are about different jobs."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._dispatches: list[Dispatches] = []
        self._changes: list[Changes] = []
        self._completions: dict[str, list[Completions]] = {}
        self._appends: list[Appends] = []

    def add(self, index: int, write: Write, *, completions: bool) -> None:
        if isinstance(write, NewJob):
            if not self._dispatches or len(self._dispatches[-1].indexes) == TICKET_EVENTS:
                self._dispatches.append(Dispatches(self._encoder))
            self._dispatches[-1].add(index, write)
        elif isinstance(write, AppendEvents):
            self._add_append(index, write)
        elif completions and write.lease is not None and _is_completion(write):
            self._completion(write.lease.worker).add(index, write, write.lease.attempt)
        else:
            if not self._changes or self._changes[-1].event_count + len(write.events) > TICKET_EVENTS:
                self._changes.append(Changes(self._encoder))
            self._changes[-1].add(index, write)

    def calls(self) -> list[Call]:
        saves = [save(row) for append in self._appends for row in append.rows()]
        completions = [call for calls in self._completions.values() for call in calls]
        return [*self._dispatches, *self._changes, *completions, *self._appends, *saves]

    def _add_append(self, index: int, write: AppendEvents) -> None:
        if not self._appends or self._appends[-1].event_count + len(write.events) > TICKET_EVENTS:
            self._appends.append(Appends(self._encoder))
        self._appends[-1].add(index, write)

    def _completion(self, worker: str) -> Completions:
        calls = self._completions.setdefault(worker, [])
        if not calls or len(calls[-1].indexes) == TICKET_EVENTS:
            calls.append(Completions(self._encoder, worker))
        return calls[-1]


def _is_completion(write: ChangeJob) -> bool:
    return (
        len(write.events) == 1
        and type(write.events[0].facts) is JobCompleted
        and write.cancel_expected is None
        and write.expected_version is None
        and write.change is not None
        and write.change.removes_row
    )
