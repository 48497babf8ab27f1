"""Replay for auditors: a tenant's events in order, recorded as an export; and who intervened when and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from uuid import UUID

from jobledger.domain.audit import AuditExportBegun, AuditExported, AuditQuery, BodiesRead, audit_stream
from jobledger.domain.errors import InvalidInput, LedgerBusy, NotFound, VersionConflict
from jobledger.domain.event import Event, Facts, RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.job import JobFacts
from jobledger.domain.manual_act import (
    BY_HAND_MARK,
    NOT_MANUAL_TOPICS,
    ManualAct,
    depends_on_the_event_before,
    manual_act,
)
from jobledger.domain.topics import TOPICS

from .audit_bounds import Bounds, safe_bounds
from .audit_messages import (
    BeginExport,
    EndExport,
    Export,
    ExportRecord,
    GetExport,
    ListManualActs,
    ManualActs,
    RecordedAct,
)
from .dispatcher import Dispatcher
from .flow import Flow
from .known import KnownTenants
from .ports import EventBatch, EventFilter, EventReader, Identifiers, LedgerWriter
from .positions import Positions
from .result import Accepted
from .writes import AppendEvents, WriteStatus

PAGE = 1_000
"""Events read at once."""
PAGE_WITH_BODIES = 50
"""So few, because a body may be large."""

_ReadPage = Callable[[int], EventBatch]


class Auditing:
    """The handlers of what auditors ask."""

    def __init__(
        self,
        *,
        reader: EventReader,
        writer: LedgerWriter,
        identifiers: Identifiers,
        tenants: KnownTenants,
        positions: Positions,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._identifiers = identifiers
        self._tenants = tenants
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(BeginExport, self.begin)
        dispatcher.register(EndExport, self.end)
        dispatcher.register(GetExport, self.export)
        dispatcher.register(ListManualActs, self.manual_acts)

    # --- exports -----------------------------------------------------------------------------------------------------

    def begin(self, command: BeginExport, flow: Flow) -> Accepted[Export]:
        """Record that a tenant's events are about to be handed out, then hand them out."""
        self._require_known(command.tenant)
        _require_order(command.recorded_from, command.recorded_to)
        topics_of(command.types)  # refuses what names none
        query = AuditQuery(
            recorded_from=command.recorded_from, recorded_to=command.recorded_to, types=command.types, actor=command.by
        )
        head = self._reader.head()
        bounds = self._bounds(command.tenant, query, head)
        export_id = audit_stream(command.tenant, str(self._identifiers.job_id()))
        begun = AuditExportBegun(query=query, format=command.format, bodies=command.bodies, reason=command.reason)
        self._record(Event(export_id, 1, command.tenant, flow.metadata(), begun))
        where = _of_types(command.types, command.recorded_from, command.recorded_to)
        events = self._events(command.tenant, bounds, where, command.by, bodies=command.bodies)
        return Accepted(
            Export(
                export_id, command.tenant, query, command.format, command.bodies, flow.time, events,
                self._positions.text(head) or "", not bounds.is_closed,
            )
        )  # fmt: skip

    def end(self, command: EndExport, flow: Flow) -> Accepted[str]:
        """Record what was handed out."""
        self._export(command.tenant, command.export_id)
        facts = AuditExported(
            events=command.events, first_position=command.first_position, last_position=command.last_position,
            sha256=command.sha256,
        )  # fmt: skip
        event = Event(command.export_id, 2, command.tenant, flow.metadata(), facts)
        return Accepted(event.event_id, self._positions.text(self._record(event)))

    def export(self, query: GetExport, flow: Flow) -> Accepted[ExportRecord]:
        """What is recorded of an export."""
        begun, *rest = self._export(query.tenant, query.export_id)
        ended = rest[0].facts if rest else None
        assert isinstance(begun.facts, AuditExportBegun) and (ended is None or isinstance(ended, AuditExported))
        return Accepted(ExportRecord(begun.recorded_at, begun.metadata.actor, begun.facts, ended))

    def _export(self, tenant: str, export_id: UUID) -> list[RecordedEvent]:
        stored = self._reader.stream(tenant, export_id)
        if not stored or not isinstance(stored[0].facts, AuditExportBegun):
            raise NotFound(f"the ledger has no export {export_id} of {tenant!r}", field="export_id")
        return stored

    def _bounds(self, tenant: str, query: AuditQuery, head: int) -> Bounds:
        def probe(position: int) -> RecordedEvent | None:
            return next(iter(self._reader.read_tenant(tenant, position, limit=1, until=head).events), None)

        return safe_bounds(probe, head, query.recorded_from, query.recorded_to)

    def _events(
        self, tenant: str, bounds: Bounds, where: EventFilter, by: str | None, *, bodies: bool
    ) -> Iterator[RecordedEvent]:
        limit = PAGE_WITH_BODIES if bodies else PAGE

        def read(position: int) -> EventBatch:
            return self._reader.read_tenant(
                tenant, position, limit=limit, until=bounds.until, where=where, bodies=bodies
            )

        for event in _pages(read, bounds):
            if by is None or event.metadata.actor == by:
                yield event

    def _record(self, event: Event) -> int | None:
        (outcome,) = self._writer.write([AppendEvents((event,))])
        if outcome.status is WriteStatus.CONFLICT:
            raise VersionConflict("this export has been ended already", field="export_id", rule="is ended once")
        if outcome.status is not WriteStatus.WRITTEN:
            raise LedgerBusy("the export could not be recorded", hint="try again")
        return outcome.position

    def _require_known(self, tenant: str | None) -> None:
        if tenant is not None and tenant != SYSTEM_TENANT:
            self._tenants.require_known(tenant)

    # --- manual acts -------------------------------------------------------------------------------------------------

    def manual_acts(self, query: ListManualActs, flow: Flow) -> Accepted[ManualActs]:
        """A page of what people did."""
        self._require_known(query.tenant)
        _require_order(query.recorded_from, query.recorded_to)
        bounds = self._bounds_of_acts(query)
        acts: list[RecordedAct] = []
        for event in _pages(self._reader_of_acts(query, bounds), bounds):
            act = self._act_of(event) if _is_wanted(event, query) else None
            if act is None:
                continue
            if len(acts) == query.limit:
                return Accepted(ManualActs(tuple(acts), acts[-1].position))
            acts.append(self._recorded_act(event, act))
        return Accepted(ManualActs(tuple(acts), None))

    def _bounds_of_acts(self, query: ListManualActs) -> Bounds:
        head = self._reader.head()

        def probe(position: int) -> RecordedEvent | None:
            return next(iter(self._reader.read_tenant(query.tenant, position, limit=1, until=head).events), None)

        bounds = safe_bounds(probe, head, query.recorded_from, query.recorded_to)
        if query.cursor is None:
            return bounds
        return bounds._replace(after=max(bounds.after, self._positions.number(query.cursor)))

    def _reader_of_acts(self, query: ListManualActs, bounds: Bounds) -> _ReadPage:
        where = EventFilter(
            None, query.recorded_from, query.recorded_to, without=NOT_MANUAL_TOPICS, marked=BY_HAND_MARK
        )
        return lambda position: self._reader.read_tenant(
            query.tenant, position, limit=PAGE, until=bounds.until, where=where
        )

    def _act_of(self, event: RecordedEvent) -> ManualAct | None:
        return manual_act(event.facts, self._before(event) if depends_on_the_event_before(event.facts) else None)

    def _before(self, event: RecordedEvent) -> Facts | None:
        after = event.originator_version - 2
        if after < 0:
            return None
        found = self._reader.stream(event.tenant, event.originator_id, after_version=after, limit=1)
        return found[0].facts if found else None

    def _recorded_act(self, event: RecordedEvent, act: ManualAct) -> RecordedAct:
        metadata = event.metadata
        return RecordedAct(
            event.event_id, self._positions.text(event.position) or "", event.recorded_at, event.tenant,
            metadata.actor, metadata.authenticated, event.topic, act, _job_of(event), metadata.causation_id,
        )  # fmt: skip


def topics_of(types: tuple[str, ...]) -> frozenset[str] | None:
    """The topics that are meant; None: all. Raises `InvalidInput` for a type that matches none."""
    if not types:
        return None
    found = {pattern: frozenset(topic for topic in TOPICS if fnmatchcase(topic, pattern)) for pattern in types}
    for pattern, topics in found.items():
        if not topics:
            families = sorted({f"{topic.partition('.')[0]}.*" for topic in TOPICS})
            raise InvalidInput(
                f"there are no events of type {pattern!r}", field="types", rule="is a topic, or a family of topics",
                hint=_likely(pattern) or f"docs/reference/events.md lists them; families: {', '.join(families)}",
            )  # fmt: skip
    return frozenset().union(*found.values())


def _likely(pattern: str) -> str | None:
    """The topics that may be meant."""
    close = get_close_matches(pattern, sorted(TOPICS), n=3)
    return f"did you mean {' or '.join(close)}?" if close else None


def _of_types(types: tuple[str, ...], since: datetime | None, until: datetime | None) -> EventFilter:
    """A family is asked for as one: what of it is newer than this program must not be left out in silence."""
    if not types:
        return EventFilter(None, since, until)
    families = frozenset(pattern.removesuffix(".*") for pattern in types if pattern.endswith(".*"))
    return EventFilter(frozenset(types), since, until, families)


def _require_order(recorded_from: datetime | None, recorded_to: datetime | None) -> None:
    if recorded_from is not None and recorded_to is not None and recorded_from >= recorded_to:
        raise InvalidInput(
            "the period ends before it begins, or as it does", field="recorded_to", rule="lies after its beginning",
            hint="the beginning is the earlier one: for example --from 7d --to 1d",
        )  # fmt: skip


def _pages(read: _ReadPage, bounds: Bounds) -> Iterator[RecordedEvent]:
    """All events within bounds, one page in memory at a time."""
    position = bounds.after
    while position < bounds.until:
        batch = read(position)
        for event in batch.events:
            if event.position > bounds.until:
                return
            yield event
        if batch.position <= position:
            return  # the horizon
        position = batch.position


def _is_wanted(event: RecordedEvent, query: ListManualActs) -> bool:
    return (
        (query.by is None or event.metadata.actor == query.by)
        and (query.recorded_from is None or event.recorded_at >= query.recorded_from)
        and (query.recorded_to is None or event.recorded_at < query.recorded_to)
    )


def _job_of(event: RecordedEvent) -> UUID | None:
    if isinstance(event.facts, BodiesRead):
        return event.facts.job_id
    return event.originator_id if isinstance(event.facts, JobFacts) else None
