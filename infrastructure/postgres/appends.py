"""Events of streams that are not jobs, as the arrays of ledger_append, and the catalogue rows that follow."""

from __future__ import annotations

from collections.abc import Sequence

from jobledger.application.writes import (
    ApiKeyRow,
    AppendEvents,
    CatalogueRow,
    JobTypeRow,
    LimitRow,
    Outcome,
    TenantRow,
    WriteStatus,
)

from ..group_commit import Answer
from ..mapper import encode_body
from .arrays import Blobs, Integers, Texts, Uuids
from .encoding import Encoder
from .statements import SQL, Parameters, Row


class Appends:
    """Events of streams that are not jobs."""

    statement = SQL["append"]

    def __init__(self, encoder: Encoder) -> None:
        self.indexes: list[int] = []
        self.event_count = 0
        self._encoder = encoder
        self._appends: list[AppendEvents] = []

    def add(self, index: int, append: AppendEvents) -> None:
        """Take events in."""
        self.indexes.append(index)
        self._appends.append(append)
        self.event_count += len(append.events)

    def parameters(self) -> Parameters:
        """The arrays of ledger_append."""
        events = [event for append in self._appends for event in append.events]
        state_of = self._encoder.state
        return (
            Texts([event.tenant for event in events]),
            Uuids([event.originator_id for event in events]),
            Integers([event.originator_version for event in events]),
            Texts([event.facts.topic for event in events]),
            Blobs([state_of(event) for event in events]),
            Blobs([encode_body(event.body) for event in events]),
        )

    def answers(self, row: Row) -> list[Answer | None]:
        """Written: conflicts raise."""
        position = row[0] - 1
        answers: list[Answer | None] = []
        for append in self._appends:
            position += len(append.events)
            last = append.events[-1]
            answers.append(Outcome(WriteStatus.WRITTEN, position, last.originator_version, last.originator_id))
        return answers

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """See `Call`: a write may bring several events."""
        owners = [index for index, append in zip(self.indexes, self._appends, strict=True) for _ in append.events]
        return {owners[event] for event in events}

    def rows(self) -> list[CatalogueRow]:
        """The catalogue rows that follow."""
        return [append.catalogue for append in self._appends if append.catalogue is not None]


class SaveTenant:
    """The catalogue's row of a tenant."""

    statement = SQL["save_tenant"]

    def __init__(self, row: TenantRow) -> None:
        self.indexes: list[int] = []
        self._row = row

    def parameters(self) -> Parameters:
        """The arguments of save_tenant."""
        return (self._row.name, self._row.status.value, self._row.display_name)

    def answers(self, row: Row) -> list[Answer | None]:
        """Nothing: the append answers."""
        return []

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()


class SaveLimit:
    """The catalogue's row of a target's limits; the function removes one that limits nothing."""

    statement = SQL["save_limit"]

    def __init__(self, row: LimitRow) -> None:
        self.indexes: list[int] = []
        self._row = row

    def parameters(self) -> Parameters:
        """The arguments of save_limit."""
        target, (limits, paused) = self._row
        rate = limits.rate
        return (
            target.scope.value, target.tenant, target.subject, limits.concurrency, None if rate is None else rate.count,
            None if rate is None else rate.seconds, limits.weight, paused,
        )  # fmt: skip

    def answers(self, row: Row) -> list[Answer | None]:
        """Nothing: the append answers."""
        return []

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()


class SaveJobType:
    """The catalogue's row of a job type."""

    statement = SQL["save_job_type"]

    def __init__(self, row: JobTypeRow) -> None:
        self.indexes: list[int] = []
        self._row = row

    def parameters(self) -> Parameters:
        """The arguments of save_job_type."""
        row = self._row
        definition = row.definition.model_dump_json()
        return (row.definition.name, definition, row.fingerprint, row.code_version, row.app)

    def answers(self, row: Row) -> list[Answer | None]:
        """Nothing: the append answers."""
        return []

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()


class SaveApiKey:
    """The catalogue's row of a key."""

    statement = SQL["save_api_key"]

    def __init__(self, row: ApiKeyRow) -> None:
        self.indexes: list[int] = []
        self._row = row

    def parameters(self) -> Parameters:
        """The argument of save_api_key."""
        return (self._row.key_id,)

    def answers(self, row: Row) -> list[Answer | None]:
        """Nothing: the append answers."""
        return []

    def writes_of(self, events: Sequence[int]) -> set[int]:
        """None: this statement names nobody."""
        return set()


def save(row: CatalogueRow) -> SaveTenant | SaveJobType | SaveLimit | SaveApiKey:
    """The call that stores a catalogue row."""
    match row:
        case TenantRow():
            return SaveTenant(row)
        case LimitRow():
            return SaveLimit(row)
        case JobTypeRow():
            return SaveJobType(row)
        case ApiKeyRow():
            return SaveApiKey(row)
