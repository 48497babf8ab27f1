"""Records what people do to read models: rebuilds, dropped versions, events that a view goes without.

What a rebuild recorded at its end is looked up first, so that a process that died after it and before it could note so
does not record it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jobledger.domain.errors import IllegalTransition, LedgerBusy, NotFound, VersionConflict
from jobledger.domain.event import Event, RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.job import require_reason
from jobledger.domain.projection import (
    ProjectionEventSkipped,
    ProjectionFacts,
    ProjectionParkedRetried,
    ProjectionPreviousDropped,
    ProjectionRebuildBegun,
    ProjectionRebuildCancelled,
    ProjectionRebuilt,
    ProjectionSkipWithdrawn,
    projection_stream,
)

from .dispatcher import Dispatcher
from .flow import Flow
from .ports import EventReader, LedgerWriter
from .positions import Positions
from .projection_messages import (
    BeginRebuild,
    CancelRebuild,
    DropPrevious,
    EndRebuild,
    ListSkips,
    ProjectionRecorded,
    RecordParkedRetried,
    Skip,
    SkipParked,
    SkippedEvent,
    SkippedEvents,
    WithdrawSkip,
)
from .result import Accepted
from .writes import AppendEvents, WriteStatus

TRIES = 8
"""How often an act is decided anew when another one is recorded between reading and saving."""

Decide = Callable[[Sequence[RecordedEvent]], Sequence[ProjectionFacts]]
"""What to record, after what the stream holds; nothing where it stands there already."""


class ProjectionControl:
    """The handlers of the commands and queries about read models."""

    def __init__(self, *, reader: EventReader, writer: LedgerWriter, positions: Positions) -> None:
        self._reader = reader
        self._writer = writer
        self._positions = positions

    def register(self, dispatcher: Dispatcher) -> None:
        """Answer the messages of this module."""
        dispatcher.register(BeginRebuild, self.begin_rebuild)
        dispatcher.register(EndRebuild, self.end_rebuild)
        dispatcher.register(CancelRebuild, self.cancel_rebuild)
        dispatcher.register(DropPrevious, self.drop_previous)
        dispatcher.register(SkipParked, self.skip)
        dispatcher.register(RecordParkedRetried, self.record_retried)
        dispatcher.register(SkippedEvents, self.skipped)
        dispatcher.register(WithdrawSkip, self.withdraw_skip)
        dispatcher.register(ListSkips, self.list_skips)

    # --- rebuilds ----------------------------------------------------------------------------------------------------

    def begin_rebuild(self, command: BeginRebuild, flow: Flow) -> Accepted[ProjectionRecorded]:
        """A rebuild begins. Its version in the stream names it afterwards. One flow begins it once: a process that died
        before it could note the version records it under the same correlation id again."""
        require_reason(command.reason, "rebuilding a view")
        begun = ProjectionRebuildBegun(
            projection=command.projection, reason=command.reason, of_tenant=command.of_tenant, of_job=command.of_job,
            fold_version=command.fold_version, dry_run=command.dry_run,
        )  # fmt: skip
        found: list[RecordedEvent] = []

        def decide(stored: Sequence[RecordedEvent]) -> Sequence[ProjectionFacts]:
            found[:] = [
                event
                for event in stored
                if event.topic == begun.topic and event.metadata.correlation_id == flow.correlation_id
            ]
            return () if found else (begun,)

        return self._once(command.projection, flow, decide, found)

    def end_rebuild(self, command: EndRebuild, flow: Flow) -> Accepted[ProjectionRecorded]:
        """A rebuild ended."""
        said = {name: getattr(command, name) for name in ProjectionRebuilt.model_fields}
        return self._end(command, flow, ProjectionRebuilt(**said))

    def cancel_rebuild(self, command: CancelRebuild, flow: Flow) -> Accepted[ProjectionRecorded]:
        """A rebuild was given up."""
        require_reason(command.reason, "cancelling a rebuild")
        return self._end(command, flow, ProjectionRebuildCancelled(
            projection=command.projection, begun_version=command.begun_version, reason=command.reason
        ))  # fmt: skip

    def _end(
        self, command: EndRebuild | CancelRebuild, flow: Flow, end: ProjectionRebuilt | ProjectionRebuildCancelled
    ) -> Accepted[ProjectionRecorded]:
        found: list[RecordedEvent] = []

        def decide(stored: Sequence[RecordedEvent]) -> Sequence[ProjectionFacts]:
            found[:] = _ends(stored, command.projection, command.begun_version)
            if found and found[0].topic != end.topic:
                raise IllegalTransition(
                    _ENDINGS[found[0].topic], _ENDINGS[end.topic], what="rebuild",
                    hint="jobledger projections status says what is under way",
                )  # fmt: skip
            return () if found else (end,)

        return self._once(command.projection, flow, decide, found)

    def _once(
        self, projection: str, flow: Flow, decide: Decide, found: Sequence[RecordedEvent]
    ) -> Accepted[ProjectionRecorded]:
        """Record what is decided, or answer with what stands there already: `found`, which `decide` fills."""
        recorded = self._record(projection, flow, decide)
        if not found:
            return recorded
        return Accepted(
            ProjectionRecorded(projection, found[0].originator_version, recorded=False),
            self._positions.text(found[0].position),
        )

    def drop_previous(self, command: DropPrevious, flow: Flow) -> Accepted[ProjectionRecorded]:
        """The version that a rebuild had replaced is removed: recorded once between one such rebuild and the next."""
        require_reason(command.reason, "dropping the previous version of a view")
        dropped = ProjectionPreviousDropped(projection=command.projection, reason=command.reason, rows=command.rows)
        found: list[RecordedEvent] = []

        def decide(stored: Sequence[RecordedEvent]) -> Sequence[ProjectionFacts]:
            replaced = _last_replaced(stored)
            found[:] = [e for e in stored if e.topic == dropped.topic and e.originator_version > replaced]
            return () if found else (dropped,)

        return self._once(command.projection, flow, decide, found)

    # --- events that a fold cannot take ------------------------------------------------------------------------------

    def skip(self, command: SkipParked, flow: Flow) -> Accepted[ProjectionRecorded]:
        """A view goes on without events."""
        require_reason(command.reason, "skipping a parked event")

        def decide(stored: Sequence[RecordedEvent]) -> Sequence[ProjectionFacts]:
            known = _skipped(stored)
            return [
                ProjectionEventSkipped(projection=command.projection, reason=command.reason, **event.model_dump())
                for event in dict.fromkeys(command.events)
                if (event.originator_id, event.originator_version) not in known
            ]

        return self._record(command.projection, flow, decide)

    def withdraw_skip(self, command: WithdrawSkip, flow: Flow) -> Accepted[ProjectionRecorded]:
        """A view is to take events after all."""
        require_reason(command.reason, "taking back that an event is skipped")

        def decide(stored: Sequence[RecordedEvent]) -> Sequence[ProjectionFacts]:
            known = _skips(stored)
            wanted = list(dict.fromkeys(command.events))
            for event in wanted:
                if (event.originator_id, event.originator_version) not in known:
                    raise NotFound(
                        f"{command.projection} does not go without {event.originator_id}.{event.originator_version}",
                        field="events", rule="was skipped",
                    )  # fmt: skip
            return [
                ProjectionSkipWithdrawn(
                    projection=command.projection, reason=command.reason, originator_id=event.originator_id,
                    originator_version=event.originator_version,
                )
                for event in wanted
            ]  # fmt: skip

        return self._record(command.projection, flow, decide)

    def list_skips(self, query: ListSkips, flow: Flow) -> Accepted[tuple[Skip, ...]]:
        """What a view goes without, by whose decision."""
        del flow
        return Accepted(tuple(_skips(self._stored(query.projection)).values()))

    def record_retried(self, command: RecordParkedRetried, flow: Flow) -> Accepted[ProjectionRecorded]:
        """Parked events were tried again."""
        retried = ProjectionParkedRetried(
            projection=command.projection, reason=command.reason, taken=command.taken,
            still_parked=command.still_parked,
        )  # fmt: skip
        return self._record(command.projection, flow, lambda _stored: (retried,))

    def skipped(self, query: SkippedEvents, flow: Flow) -> Accepted[frozenset[SkippedEvent]]:
        """The events that a view goes without."""
        del flow
        return Accepted(_skipped(self._stored(query.projection)))

    # --- the stream --------------------------------------------------------------------------------------------------

    def _stored(self, projection: str) -> list[RecordedEvent]:
        return self._reader.stream(SYSTEM_TENANT, projection_stream(projection))

    def _record(self, projection: str, flow: Flow, decide: Decide) -> Accepted[ProjectionRecorded]:
        """Append what is decided, anew where somebody else recorded something meanwhile."""
        stream, metadata, busy = projection_stream(projection), flow.metadata(), False
        for _ in range(TRIES):
            stored = self._stored(projection)
            decided = decide(stored)
            last = len(stored) + len(decided)
            if not decided:
                return Accepted(ProjectionRecorded(projection, last, recorded=False))
            events = tuple(
                Event(stream, version, SYSTEM_TENANT, metadata, facts)
                for version, facts in enumerate(decided, start=len(stored) + 1)
            )
            outcome = self._writer.write([AppendEvents(events)])[0]
            if outcome.status is WriteStatus.WRITTEN:
                return Accepted(ProjectionRecorded(projection, last), self._positions.text(outcome.position))
            busy = outcome.status is WriteStatus.BUSY
        if busy:
            raise LedgerBusy(f"the records of {projection} are held by another transaction", hint="try again")
        raise VersionConflict(
            f"others keep acting on {projection}", field="projection", rule="holds still", hint="try again"
        )


_ENDINGS = {ProjectionRebuilt.topic: "finished", ProjectionRebuildCancelled.topic: "cancelled"}


def _ends(stored: Sequence[RecordedEvent], projection: str, begun_version: int) -> list[RecordedEvent]:
    """How the rebuild that began at that version ended, if it has. `NotFound` where none began there."""
    if not any(
        event.originator_version == begun_version and isinstance(event.facts, ProjectionRebuildBegun)
        for event in stored
    ):
        raise NotFound(
            f"no rebuild of {projection} began at version {begun_version} of its stream", field="begun_version",
            rule="is the version of a projection.rebuild_begun",
        )  # fmt: skip
    return [
        event
        for event in stored
        if isinstance(event.facts, ProjectionRebuilt | ProjectionRebuildCancelled)
        and event.facts.begun_version == begun_version
    ]


def _last_replaced(stored: Sequence[RecordedEvent]) -> int:
    """The version of the record of the last rebuild that left a previous version behind: of a whole view."""
    partial = {
        event.originator_version
        for event in stored
        if isinstance(event.facts, ProjectionRebuildBegun) and (event.facts.of_tenant or event.facts.of_job)
    }
    return max(
        (
            event.originator_version
            for event in stored
            if isinstance(event.facts, ProjectionRebuilt)
            and event.facts.swapped
            and event.facts.begun_version not in partial
        ),
        default=0,
    )


def _skips(stored: Sequence[RecordedEvent]) -> dict[SkippedEvent, Skip]:
    """The decisions that are in force."""
    skips: dict[SkippedEvent, Skip] = {}
    for event in stored:
        facts = event.facts
        if isinstance(facts, ProjectionEventSkipped):
            name = SkippedEvent(facts.originator_id, facts.originator_version)
            skips[name] = Skip(*name, facts.error, event.metadata.actor, facts.reason, event.recorded_at)
        elif isinstance(facts, ProjectionSkipWithdrawn):
            skips.pop(SkippedEvent(facts.originator_id, facts.originator_version), None)
    return skips


def _skipped(stored: Sequence[RecordedEvent]) -> frozenset[SkippedEvent]:
    return frozenset(_skips(stored))
