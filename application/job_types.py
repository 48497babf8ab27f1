"""The installation's registry of job types: published by workers when they start, read by clients without code."""

from __future__ import annotations

from functools import reduce
from uuid import UUID

from jobledger.domain import job_type as decisions
from jobledger.domain.errors import VersionConflict
from jobledger.domain.event import Event, Facts
from jobledger.domain.identifiers import SYSTEM_TENANT, stream_id
from jobledger.domain.job_type import JobTypeDefinition, JobTypeState, evolve

from .commands import JobTypesRegistered, RegisterJobTypes
from .dispatcher import Dispatcher
from .flow import Flow
from .ports import Catalogue, EventReader, LedgerWriter
from .positions import Positions
from .queries import ListJobTypes
from .result import Accepted
from .writes import AppendEvents, JobTypeRow, WriteStatus

_TRIES = 5


class JobTypes:
    """The handlers of the commands and queries about job types."""

    def __init__(
        self, *, reader: EventReader, writer: LedgerWriter, catalogue: Catalogue, positions: Positions
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._catalogue = catalogue
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(RegisterJobTypes, self.publish)
        dispatcher.register(ListJobTypes, self.list_all)

    def publish(self, command: RegisterJobTypes, flow: Flow) -> Accepted[JobTypesRegistered]:
        """Publish definitions: those in force already change nothing. Several workers may start at once."""
        pending = list(command.definitions)
        changed: list[str] = []
        last: int | None = None
        for _ in range(_TRIES):
            writes = {definition.name: self._write_for(definition, command, flow) for definition in pending}
            news = {name: write for name, write in writes.items() if write is not None}
            outcomes = self._writer.write(list(news.values())) if news else []
            done = {n: o for n, o in zip(news, outcomes, strict=True) if o.status is WriteStatus.WRITTEN}
            changed += done
            last = max([last or 0, *(outcome.position or 0 for outcome in done.values())]) or None
            pending = [definition for definition in pending if definition.name in news and definition.name not in done]
            if not pending:
                return Accepted(JobTypesRegistered(tuple(sorted(changed))), self._positions.text(last))
        raise VersionConflict(
            f"other workers keep registering {pending[0].name}", field="name", rule="one version at a time"
        )

    def list_all(self, query: ListJobTypes, flow: Flow) -> Accepted[tuple[JobTypeRow, ...]]:
        """All job types by name."""
        return Accepted(tuple(self._catalogue.job_types()))

    def _write_for(self, definition: JobTypeDefinition, command: RegisterJobTypes, flow: Flow) -> AppendEvents | None:
        stream = stream_id(SYSTEM_TENANT, "job_type", definition.name)
        stored = self._reader.stream(SYSTEM_TENANT, stream)
        state = reduce(_evolved, (event.facts for event in stored), None)
        facts = decisions.register(state, definition, code_version=command.code_version, app=command.app)
        if not facts:
            return None
        row = JobTypeRow(definition, definition.fingerprint, command.code_version, command.app)
        return AppendEvents(_events(stream, len(stored), facts, flow), row)


def _events(stream: UUID, version: int, facts: tuple[Facts, ...], flow: Flow) -> tuple[Event, ...]:
    metadata = flow.metadata()
    return tuple(Event(stream, number, SYSTEM_TENANT, metadata, f) for number, f in enumerate(facts, start=version + 1))


def _evolved(state: JobTypeState | None, facts: Facts) -> JobTypeState | None:
    return evolve(state, facts)
