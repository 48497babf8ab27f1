"""Rebuilding a view of an open ledger: the state machine with its ports, and the processes that help to fill slices."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import NamedTuple, TypeVar
from uuid import UUID, uuid4

from jobledger.application.message import Actor, Message
from jobledger.application.projection_messages import (
    BeginRebuild,
    CancelRebuild,
    DropPrevious,
    EndRebuild,
)
from jobledger.domain.errors import NotFound
from jobledger.domain.job import require_reason
from jobledger.projections.beginning import Joined, Wanted, begin_or_join, cancel, finish
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.pacing import Throttle
from jobledger.projections.projection import Projection
from jobledger.projections.rebuild import End, Options, Outcome, Rebuilding, RebuildPorts, Standing
from jobledger.projections.shadow import Purpose, Rebuild, RebuildState, Scope

from .bootstrap import LedgerHandle
from .skipped_events import skipped_events

R = TypeVar("R")

_PROGRAM = (sys.executable, "-P", "-m", "jobledger.infrastructure.cli")
_GOODBYE_SECONDS = 10.0
"""How long helpers may take to notice that there is nothing left to do."""


class Request(NamedTuple):
    """What is asked for. `share` of one core is what all processes together keep busy; 1: no throttle, so each of them
    takes what it gets."""

    projection: Projection
    purpose: Purpose
    scope: Scope = Scope()
    reason: str = ""
    workers: int = 1
    share: float = 1.0

    def throttle_of_each(self, processes: int) -> Throttle:
        """The throttle of one of so many processes."""
        return Throttle(self.share).divided(processes)


class LedgerRecords:
    """The records of rebuilds: application commands, all of one rebuild in the flow that bears its id."""

    def __init__(self, handle: LedgerHandle, actor: Actor) -> None:
        self._handle = handle
        self._actor = actor

    def begun(self, rebuild: Rebuild) -> int:
        """Record the beginning; its version."""
        return self._ask(
            BeginRebuild, rebuild, of_tenant=rebuild.scope.tenant, of_job=rebuild.scope.job,
            fold_version=rebuild.fold_version, dry_run=rebuild.purpose is Purpose.DRY_RUN, reason=rebuild.reason,
        ).version  # fmt: skip

    def ended(self, rebuild: Rebuild, end: End) -> None:
        """Record what came of it."""
        compared = end.comparison
        self._ask(
            EndRebuild, rebuild, begun_version=rebuild.begun_version, swapped=end.swapped, events=end.events,
            rows_before=compared.rows_live, rows_after=compared.rows_fresh, differing=compared.differing,
            digest_before=compared.digest_live, digest_after=compared.digest_fresh, position=compared.position,
            parked=end.parked, seconds=end.seconds,
        )  # fmt: skip

    def cancelled(self, rebuild: Rebuild, reason: str) -> None:
        """Record that it was given up."""
        self._ask(CancelRebuild, rebuild, begun_version=rebuild.begun_version, reason=reason)

    def _ask(self, message: type[Message[R]], rebuild: Rebuild, **fields: object) -> R:
        sent = self._handle.dispatcher.send(
            message, actor=self._actor, correlation_id=str(rebuild.rebuild_id), projection=rebuild.projection, **fields
        )
        return sent.unwrap()


def rebuild_ports(handle: LedgerHandle, actor: Actor) -> RebuildPorts:
    """What a rebuild needs, from the open ledger."""
    handle.settings.require_sessions("a rebuild")
    return RebuildPorts(
        handle.shadows, handle.view_store, handle.event_source, LedgerRecords(handle, actor), handle.ports.clock.now,
        time.sleep,
    )  # fmt: skip


def rebuild_view(
    handle: LedgerHandle,
    actor: Actor,
    request: Request,
    *,
    joined: Callable[[Joined], None] = lambda _: None,
    report: Callable[[Standing], None] = lambda _: None,
) -> Outcome:
    """Rebuild a view, or go on with its rebuild, until it is over. `joined` is told which of both it is.

    Interrupted, it stays as far as it has come. Raises `ReasonRequired`, `InvalidInput` for a scope that the view does
    not know, and `RebuildUnderWay` where one of another kind is not over.
    """
    if request.purpose is not Purpose.VERIFY:
        require_reason(request.reason, "rebuilding a view")
    ports, projection = rebuild_ports(handle, actor), request.projection
    found = begin_or_join(
        ports, Wanted(uuid4(), projection, request.purpose, request.scope, actor.id, request.reason)
    )  # fmt: skip
    joined(found)
    helpers = request.workers - 1 if found.rebuild.slices else 0
    throttle = request.throttle_of_each(helpers + 1)
    options = _options(handle, actor, projection, throttle, report=report)
    with (
        _helping(found.rebuild, helpers, throttle.share),
        closing(Rebuilding(ports, projection, found.rebuild, options)) as rebuilding,
    ):
        return rebuilding.run()


def help_filling(handle: LedgerHandle, actor: Actor, rebuild_id: UUID, share: float) -> None:
    """Fill slices of a rebuild until none is left that nobody owns."""
    ports = rebuild_ports(handle, actor)
    rebuild = ports.shadows.get(rebuild_id)
    projection = PROJECTIONS[rebuild.projection]
    options = _options(handle, actor, projection, Throttle(share))
    with closing(Rebuilding(ports, projection, rebuild, options)) as rebuilding:
        rebuilding.help_filling()


def cancel_rebuild(handle: LedgerHandle, actor: Actor, name: str, reason: str) -> Rebuild:
    """Give up the rebuild of a view; see `projections.beginning.cancel`."""
    require_reason(reason, "cancelling a rebuild")
    return cancel(rebuild_ports(handle, actor), name, reason)


def drop_previous(handle: LedgerHandle, actor: Actor, name: str, reason: str) -> int:
    """Remove the version of a view that was replaced last; how many rows it had. `NotFound` where there is none.

    It is recorded first, once for each version: who dies in between leaves a record of what then is to be done again.
    """
    require_reason(reason, "dropping the previous version of a view")
    _finish_swapped(handle, actor, name)
    rows = handle.shadows.previous_rows(name)
    if rows is None:
        raise NotFound(
            f"there is no previous version of {name[:60]}", field="NAME", hint="jobledger projections status"
        )

    def record(count: int) -> None:
        handle.dispatcher.send(DropPrevious, actor=actor, projection=name, rows=count, reason=reason).unwrap()

    record(rows)
    dropped = handle.shadows.drop_previous(name)
    if dropped is None:
        return rows  # somebody else was faster
    record(dropped)  # stands there, unless a rebuild has put another version into its place meanwhile
    return dropped


def _finish_swapped(handle: LedgerHandle, actor: Actor, name: str) -> None:
    """A rebuild that has replaced the version which is to be dropped, and died before it could say so, is recorded
    before that."""
    under_way, projection = handle.shadows.unfinished(name), PROJECTIONS.get(name)
    if under_way is not None and under_way.state is RebuildState.SWAPPED and projection is not None:
        finish(rebuild_ports(handle, actor), projection, under_way)


def _options(
    handle: LedgerHandle,
    actor: Actor,
    projection: Projection,
    throttle: Throttle,
    *,
    report: Callable[[Standing], None] = lambda _: None,
) -> Options:
    skipped = skipped_events(handle, actor, projection.name)
    return Options(
        throttle, skipped, batch_events=handle.settings.projection_batch_events, report=report
    )  # fmt: skip


@contextmanager
def _helping(rebuild: Rebuild, count: int, share: float) -> Iterator[None]:
    """Processes of this very program that fill slices meanwhile. They end when this one does, whatever ends it: their
    stdin is a pipe that then closes."""
    command = [*_PROGRAM, "projections", "fill", str(rebuild.rebuild_id), "--share", f"{share:g}"]
    helpers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
        for _ in range(count)
    ]
    try:
        yield
    finally:
        _end(helpers)


def _end(helpers: Sequence[subprocess.Popen[bytes]]) -> None:
    for helper in helpers:
        if helper.stdin is not None:
            with suppress(OSError):
                helper.stdin.close()
    for helper in helpers:
        try:
            helper.wait(_GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            helper.kill()
            helper.wait()
