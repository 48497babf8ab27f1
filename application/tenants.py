"""Tenants: create, suspend, resume, list."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

from jobledger.domain import tenant as decisions
from jobledger.domain.errors import IllegalTransition, TenantExists, UnknownTenant, VersionConflict
from jobledger.domain.event import Event, Facts
from jobledger.domain.identifiers import stream_id
from jobledger.domain.tenant import TenantState, evolve

from .commands import CreateTenant, ResumeTenant, SuspendTenant, TenantChanged
from .dispatcher import Dispatcher
from .flow import Flow
from .known import KnownTenants
from .ports import Catalogue, EventReader, LedgerWriter
from .positions import Positions
from .queries import ListTenants
from .result import Accepted
from .writes import AppendEvents, TenantRow, WriteStatus

Decide = Callable[[TenantState | None], tuple[Facts, ...]]


class Tenants:
    """The handlers of the commands and queries about tenants."""

    def __init__(
        self,
        *,
        reader: EventReader,
        writer: LedgerWriter,
        catalogue: Catalogue,
        tenants: KnownTenants,
        positions: Positions,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._catalogue = catalogue
        self._tenants = tenants
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(CreateTenant, self.create)
        dispatcher.register(SuspendTenant, self.suspend)
        dispatcher.register(ResumeTenant, self.resume)
        dispatcher.register(ListTenants, self.list_all)

    def create(self, command: CreateTenant, flow: Flow) -> Accepted[TenantChanged]:
        """Create a tenant."""
        return self._decide(command.name, flow, lambda state: decisions.create(
            state, name=command.name, display_name=command.display_name, reason=command.reason
        ))  # fmt: skip

    def suspend(self, command: SuspendTenant, flow: Flow) -> Accepted[TenantChanged]:
        """Take and run no jobs for a tenant."""
        return self._decide(
            command.name, flow, lambda state: decisions.suspend(_known(state, command.name), reason=command.reason)
        )

    def resume(self, command: ResumeTenant, flow: Flow) -> Accepted[TenantChanged]:
        """Take and run jobs for a tenant again."""
        return self._decide(
            command.name, flow, lambda state: decisions.resume(_known(state, command.name), reason=command.reason)
        )

    def list_all(self, query: ListTenants, flow: Flow) -> Accepted[tuple[TenantRow, ...]]:
        """All tenants by name."""
        return Accepted(tuple(self._catalogue.tenants()))

    def _decide(self, name: str, flow: Flow, decide: Decide) -> Accepted[TenantChanged]:
        stream = stream_id(name, "tenant", name)
        stored = self._reader.stream(name, stream)
        before = reduce(_evolved, (event.facts for event in stored), None)
        facts = decide(before)
        after = reduce(_evolved, facts, before)
        assert after is not None
        numbered = enumerate(facts, start=len(stored) + 1)
        metadata = flow.metadata()
        events = tuple(Event(stream, number, name, metadata, decided) for number, decided in numbered)
        row = TenantRow(name, after.status, after.display_name)
        outcome = self._writer.write([AppendEvents(events, row)])[0]
        if outcome.status is not WriteStatus.WRITTEN:
            raise _conflict(name, before)
        self._tenants.forget(name)
        return Accepted(TenantChanged(name, after.status.value), self._positions.text(outcome.position))


def _evolved(state: TenantState | None, facts: Facts) -> TenantState | None:
    return evolve(state, facts)


def _known(state: TenantState | None, name: str) -> TenantState:
    if state is None:
        raise UnknownTenant(name)
    return state


def _conflict(name: str, before: TenantState | None) -> IllegalTransition | VersionConflict:
    if before is None:  # the first event's uniqueness is the name's
        return TenantExists(name, "active")
    return VersionConflict(f"tenant {name!r} changed meanwhile", field="name", rule="holds still", hint="try again")
