"""What people do to read models is recorded: once, with actor and reason, in the projection's own stream."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from jobledger.application.message import Message
from jobledger.application.projection_messages import (
    BeginRebuild,
    CancelRebuild,
    DropPrevious,
    EndRebuild,
    FailedEvent,
    ListSkips,
    ProjectionRecorded,
    RecordParkedRetried,
    SkipParked,
    SkippedEvent,
    SkippedEvents,
    WithdrawSkip,
)
from jobledger.domain.errors import IllegalTransition, InvalidInput, NotFound, ReasonRequired
from jobledger.domain.event import RecordedEvent
from jobledger.domain.identifiers import SYSTEM_TENANT
from jobledger.domain.projection import projection_stream
from tests.support.use_cases import ACTOR, UseCases

VIEW = "tenant_jobs"
JOB = UUID("01960000-0000-7000-8000-000000000001")
RESULT: dict[str, Any] = {
    "swapped": True, "events": 10, "rows_before": 3, "rows_after": 4, "differing": 1, "digest_before": "a" * 64,
    "digest_after": "b" * 64, "position": 99, "seconds": 1.5,
}  # fmt: skip
BAD = FailedEvent(originator_id=JOB, originator_version=2, error="ZeroDivisionError: it broke")
WORSE = FailedEvent(originator_id=JOB, originator_version=3, error="KeyError: 'persona'")


def recorded(cases: UseCases) -> list[RecordedEvent]:
    """What was done to the view."""
    return cases.ledger.reader.stream(SYSTEM_TENANT, projection_stream(VIEW))


def begin(cases: UseCases) -> int:
    """Begin a rebuild; its version."""
    return cases.ask(BeginRebuild, projection=VIEW, fold_version=1, reason="INC-1").version


def test_one_flow_begins_a_rebuild_once() -> None:
    """A process that died before it could note the version asks again: the same version, recorded once."""
    cases = UseCases()
    asked = [
        cases.ask(BeginRebuild, projection=VIEW, fold_version=1, reason="INC-1", correlation_id=flow)
        for flow in ("one", "one", "another", "one")
    ]
    assert [(answer.version, answer.recorded) for answer in asked] == [(1, True), (1, False), (2, True), (1, False)]
    assert len(recorded(cases)) == 2


def test_a_rebuild_is_recorded_from_its_beginning_to_its_end() -> None:
    """Who began it and why, whose rows, and at the end counts and digests, in one stream of the installation's."""
    cases = UseCases()
    begun = cases.ask(BeginRebuild, projection=VIEW, of_tenant="acme", of_job=JOB, fold_version=2, reason="INC-1")
    ended = cases.ask(EndRebuild, projection=VIEW, begun_version=begun.version, **RESULT)
    assert (begun, ended) == (ProjectionRecorded(VIEW, 1), ProjectionRecorded(VIEW, 2))
    first, last = recorded(cases)
    assert (first.topic, first.metadata.actor) == ("projection.rebuild_begun", ACTOR.id)
    assert first.facts.model_dump() == {
        "projection": VIEW, "reason": "INC-1", "of_tenant": "acme", "of_job": JOB, "fold_version": 2, "dry_run": False,
    }  # fmt: skip
    assert last.facts.model_dump() == {"projection": VIEW, "begun_version": 1, "parked": 0, **RESULT}


def test_an_end_is_recorded_once() -> None:
    """Asked again, by a process that died before it could note the end, the command answers with what stands there."""
    cases = UseCases()
    version = begin(cases)
    first = cases.send(EndRebuild, projection=VIEW, begun_version=version, **RESULT)
    again = cases.send(EndRebuild, projection=VIEW, begun_version=version, **RESULT)
    assert again.unwrap() == first.unwrap()._replace(recorded=False)
    assert getattr(again, "position", "") == getattr(first, "position", None)
    assert len(recorded(cases)) == 2


def test_a_rebuild_ends_in_one_way() -> None:
    """What was cancelled is not said to be finished, nor the other way round; cancelling twice records it once."""
    cases = UseCases()
    version = begin(cases)
    cancel = {"projection": VIEW, "begun_version": version, "reason": "too slow"}
    assert cases.ask(CancelRebuild, **cancel).recorded
    assert not cases.ask(CancelRebuild, **cancel).recorded
    refused = cases.refused(IllegalTransition, EndRebuild, projection=VIEW, begun_version=version, **RESULT)
    assert (refused.status, refused.target) == ("cancelled", "finished")
    assert [event.topic for event in recorded(cases)] == ["projection.rebuild_begun", "projection.rebuild_cancelled"]


def test_what_never_began_cannot_end() -> None:
    """A version at which nothing of that kind stands is refused."""
    cases = UseCases()
    cases.ask(DropPrevious, projection=VIEW, rows=3, reason="disk is full")
    refused = cases.refused(NotFound, EndRebuild, projection=VIEW, begun_version=1, **RESULT)
    assert refused.field == "begun_version"


def test_skipped_events_are_remembered() -> None:
    """With the error and the reason; a view of another name knows nothing of them."""
    cases = UseCases()
    assert cases.ask(SkippedEvents, projection=VIEW) == frozenset()
    cases.ask(SkipParked, projection=VIEW, events=(BAD, WORSE), reason="INC-2")
    assert cases.ask(SkippedEvents, projection=VIEW) == {SkippedEvent(JOB, 2), SkippedEvent(JOB, 3)}
    assert cases.ask(SkippedEvents, projection="dlq_jobs") == frozenset()
    facts = recorded(cases)[0].facts.model_dump()
    assert facts == {"projection": VIEW, "reason": "INC-2", **BAD.model_dump()}


def test_an_event_is_skipped_once() -> None:
    """Skipping goes on where it was interrupted: what is recorded already is not recorded again."""
    cases = UseCases()
    cases.ask(SkipParked, projection=VIEW, events=(BAD,), reason="INC-2")
    assert cases.ask(SkipParked, projection=VIEW, events=(BAD, WORSE, WORSE), reason="INC-2").version == 2
    assert not cases.ask(SkipParked, projection=VIEW, events=(BAD, WORSE), reason="INC-2").recorded
    assert len(recorded(cases)) == 2


def test_a_skip_is_taken_back() -> None:
    """With a reason, recorded; the event may be skipped again. What was not skipped cannot be taken back."""
    cases = UseCases()
    cases.ask(SkipParked, projection=VIEW, events=(BAD, WORSE), reason="INC-2")
    back = {"projection": VIEW, "events": ({"originator_id": JOB, "originator_version": 2},), "reason": "mended"}
    cases.ask(WithdrawSkip, **back)
    assert cases.ask(SkippedEvents, projection=VIEW) == {SkippedEvent(JOB, 3)}
    assert cases.refused(NotFound, WithdrawSkip, **back).field == "events"
    assert recorded(cases)[-1].facts.model_dump() == {
        "projection": VIEW, "reason": "mended", "originator_id": JOB, "originator_version": 2
    }  # fmt: skip
    cases.ask(SkipParked, projection=VIEW, events=(BAD,), reason="INC-3")
    skips = cases.ask(ListSkips, projection=VIEW)
    assert [(one.originator_version, one.reason, one.actor) for one in skips] == [
        (3, "INC-2", ACTOR.id), (2, "INC-3", ACTOR.id),
    ]  # fmt: skip


def test_a_retry_says_what_came_of_it() -> None:
    """It needs no reason: nothing is left out by it."""
    cases = UseCases()
    cases.ask(RecordParkedRetried, projection=VIEW, taken=7, still_parked=1)
    assert recorded(cases)[0].facts.model_dump() == {
        "projection": VIEW, "reason": "", "taken": 7, "still_parked": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (BeginRebuild, {"fold_version": 1}),
        (CancelRebuild, {"begun_version": 1}),
        (DropPrevious, {"rows": 0}),
        (SkipParked, {"events": (BAD,)}),
        (WithdrawSkip, {"events": ({"originator_id": JOB, "originator_version": 2},)}),
    ],
)
def test_manual_acts_need_a_reason(command: type[Message[object]], fields: dict[str, object]) -> None:
    """Without one nothing is recorded."""
    cases = UseCases()
    cases.refused(ReasonRequired, command, projection=VIEW, reason=" ", **fields)
    assert recorded(cases) == []


def test_a_name_that_no_view_can_have_is_refused() -> None:
    """Names are those of tables; the field is named."""
    assert UseCases().refused(InvalidInput, SkippedEvents, projection="Tenant Jobs").field == "projection"


def test_a_previous_version_is_dropped_once() -> None:
    """Asked again, by somebody who died between the record and the deed, it answers with what stands there; the next
    rebuild of the whole leaves another version, whose end is an act of its own. A part or a dry run leaves none."""
    cases = UseCases()

    def rebuild(*, swapped: bool = True, **scope: object) -> None:
        version = cases.ask(BeginRebuild, projection=VIEW, fold_version=1, reason="INC-1", **scope).version
        cases.ask(EndRebuild, projection=VIEW, begun_version=version, **{**RESULT, "swapped": swapped})

    def drop() -> bool:
        return cases.ask(DropPrevious, projection=VIEW, rows=3, reason="disk is full").recorded

    rebuild()
    assert [drop(), drop()] == [True, False]
    rebuild(of_tenant="acme")
    rebuild(of_tenant="acme", of_job=JOB)
    rebuild(swapped=False)
    assert not drop()
    rebuild()
    assert [drop(), drop()] == [True, False]
    assert [event.topic for event in recorded(cases)].count("projection.previous_dropped") == 2
