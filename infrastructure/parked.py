"""Events that views could not take: trying them again, or going on without them, with a record in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from jobledger.application.message import Actor
from jobledger.application.projection_messages import (
    EventName,
    FailedEvent,
    ListSkips,
    RecordParkedRetried,
    Skip,
    SkipParked,
    WithdrawSkip,
)
from jobledger.domain.errors import InvalidInput, NotFound
from jobledger.domain.event import event_id
from jobledger.projections.parking import ERROR_LENGTH_MAX
from jobledger.projections.ports import Parked
from jobledger.projections.projection import Projection
from jobledger.projections.retrying import Retried, Retrying

from .bootstrap import LedgerHandle
from .skipped_events import skipped_events

LISTED_MAX = 10_000
"""Failed events of a view that are looked through for one that somebody names."""
_SHORT_LENGTH, _LENGTH = 8, 32

E = TypeVar("E", Parked, Skip)

NOTHING = Retried()

Report = Callable[[Retried], None]


class Settled(NamedTuple):
    """What came of retrying or skipping: what was taken into the view, skipped, or failed again, and what is parked of
    the view now: failed, and waiting behind it."""

    retried: Retried
    failed: int
    waiting: int


def _silent(_: Retried) -> None:
    pass


def find(handle: LedgerHandle, projection: Projection, names: Sequence[str]) -> list[Parked]:
    """The failed events that are named: `<stream>.<version>`, of the stream at least the last eight characters.

    `InvalidInput` for another form or a name that fits several, `NotFound` for what did not fail.
    """
    if not names:
        return []
    failed = handle.view_store.parked(projection.name, failed=True, limit=LISTED_MAX)
    return [_one(projection, failed, name) for name in names]


def retry(
    handle: LedgerHandle, actor: Actor, projection: Projection, events: Sequence[Parked] = (), *, reason: str = "",
    report: Report = _silent,
) -> Settled:  # fmt: skip
    """Have a view take parked events again, of the keys of these events (none: of all), and record what came of it
    (nothing, where nothing was parked). What people decided it goes without is left out."""
    settled = _settle(handle, actor, projection, events, report)
    if settled.retried != NOTHING:
        handle.dispatcher.send(
            RecordParkedRetried, actor=actor, projection=projection.name, taken=settled.retried.taken,
            still_parked=settled.failed + settled.waiting, reason=reason,
        ).unwrap()  # fmt: skip
    return settled


def skip(
    handle: LedgerHandle, actor: Actor, projection: Projection, events: Sequence[Parked], *, reason: str,
    report: Report = _silent,
) -> Settled:  # fmt: skip
    """Record that a view goes on without these events, then take what waits behind them. `ReasonRequired` without one.
    Interrupted in between, the next retry or skip finds the record and goes on."""
    wanted = tuple(
        FailedEvent(
            originator_id=one.originator_id, originator_version=one.originator_version,
            error=(one.error or "")[:ERROR_LENGTH_MAX],
        )
        for one in events
    )  # fmt: skip
    handle.dispatcher.send(
        SkipParked, actor=actor, projection=projection.name, events=wanted, reason=reason
    ).unwrap()  # fmt: skip
    return _settle(handle, actor, projection, events, report)


def skips(handle: LedgerHandle, actor: Actor, names: Sequence[str]) -> dict[str, tuple[Skip, ...]]:
    """What views go without because people decided so, by view; those that lack nothing are absent."""
    asked = {name: handle.dispatcher.send(ListSkips, actor=actor, projection=name).unwrap() for name in names}
    return {name: found for name, found in asked.items() if found}


def unskip(
    handle: LedgerHandle, actor: Actor, projection: Projection, names: Sequence[str], *, reason: str
) -> list[Skip]:
    """Record that a view is to take events after all that it goes without: with its next rebuild. Names as in `find`;
    `NotFound` for what is not skipped."""
    known = skips(handle, actor, [projection.name]).get(projection.name, ())
    chosen = [_one_skip(projection, known, name) for name in names]
    handle.dispatcher.send(
        WithdrawSkip, actor=actor, projection=projection.name, reason=reason,
        events=tuple(
            EventName(originator_id=one.originator_id, originator_version=one.originator_version) for one in chosen
        ),
    ).unwrap()  # fmt: skip
    return chosen


def _settle(
    handle: LedgerHandle, actor: Actor, projection: Projection, events: Sequence[Parked], report: Report
) -> Settled:
    handle.settings.require_sessions("retrying what was parked")
    skipped = skipped_events(handle, actor, projection.name)
    retrying = Retrying(handle.view_store, handle.event_source, projection, skipped=skipped, report=report)
    if events:
        retried = Retried()
        for key in dict.fromkeys(one.key for one in events):
            retried = retried.plus(retrying.retry(key))
    else:
        retried = retrying.retry_all()
    failed, waiting = handle.view_store.parked_counts().get(projection.name, (0, 0))
    return Settled(retried, failed, waiting)


def _one(projection: Projection, failed: Sequence[Parked], name: str) -> Parked:
    fitting = _fitting(failed, name, see=projection.name)
    if not fitting:
        raise NotFound(
            f"{projection.name} has not failed to take an event {name[:60]}", field="EVENT",
            rule="is parked with an error",
            hint=f"jobledger projections parked {projection.name} shows them; what waits behind one is taken with it",
        )  # fmt: skip
    return fitting[0]


def _one_skip(projection: Projection, known: Sequence[Skip], name: str) -> Skip:
    fitting = _fitting(known, name, see=projection.name)
    if not fitting:
        raise NotFound(
            f"{projection.name} does not go without an event {name[:60]}", field="EVENT", rule="was skipped",
            hint=f"jobledger projections parked {projection.name} shows what was",
        )  # fmt: skip
    return fitting[0]


def _fitting(events: Sequence[E], name: str, *, see: str) -> list[E]:
    """The one event that is named, or none."""
    stream, dot, version = name.strip().lower().rpartition(".")
    digits = stream.replace("-", "")
    if not dot or not version.isdecimal() or not _SHORT_LENGTH <= len(digits) <= _LENGTH:
        raise InvalidInput(
            f"{name[:60]!r} is not an event's id", field="EVENT", rule="<stream>.<version>",
            hint=f"jobledger projections parked {see} shows ids",
        )  # fmt: skip
    fitting = [
        one
        for one in events
        if one.originator_id.hex.endswith(digits) and one.originator_version == int(version)
    ]  # fmt: skip
    if len(fitting) > 1:
        some = ", ".join(event_id(one.originator_id, one.originator_version) for one in fitting[:4])
        raise InvalidInput(
            f"{name} is any of {some}", field="EVENT", rule="fits one event", hint="give the whole id"
        )  # fmt: skip
    return fitting
