"""How a rebuild begins, is joined, and is given up."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from jobledger.domain.errors import InvalidInput, LedgerBusy, NotFound, RebuildUnderWay, SchemaOutdated, SchemaTooNew

from .filling import SLICES
from .ports import Checkpoint, CheckpointMoved
from .projection import Projection
from .rebuild import Options, Rebuilding, RebuildPorts
from .shadow import Purpose, Rebuild, RebuildState, Scope, Slice

TRIES = 20
RECENT = 100
"""Rebuilds that are looked through for the last one of a view."""

_GIVEN_UP = frozenset({RebuildState.CANCELLED, RebuildState.FAILED})


class Wanted(NamedTuple):
    """What somebody wants to have rebuilt, and why. `rebuild_id` is a fresh one."""

    rebuild_id: UUID
    projection: Projection
    purpose: Purpose
    scope: Scope
    actor: str
    reason: str


class Joined(NamedTuple):
    """The rebuild that is to be worked on. Not `fresh`: it began before, here or elsewhere."""

    rebuild: Rebuild
    fresh: bool


def begin_or_join(ports: RebuildPorts, wanted: Wanted) -> Joined:
    """Begin the rebuild, or find the one of the same kind that is not over. `RebuildUnderWay` where another kind is
    under way; `InvalidInput` where the view cannot be rebuilt in this scope."""
    require_scope(wanted.projection, wanted.scope)
    record_given_up(ports, wanted.projection.name)
    for _ in range(TRIES):
        under_way = ports.shadows.unfinished(wanted.projection.name)
        if under_way is not None:
            if _settled(ports, wanted, under_way):
                continue
            return Joined(under_way, fresh=False)
        try:
            return Joined(ports.shadows.begin(_new(ports, wanted), wanted.projection), fresh=True)
        except RebuildUnderWay:
            continue  # somebody was faster
    raise LedgerBusy(f"others keep rebuilding {wanted.projection.name}", hint="try again")


def cancel(ports: RebuildPorts, name: str, reason: str) -> Rebuild:
    """Give up the rebuild of a view that is under way, whether this program knows the view or not: its shadow is
    dropped, the live view stays as it is. `NotFound` where there is none, `RebuildUnderWay` where it has just taken the
    live view's place."""
    record_given_up(ports, name)
    for _ in range(TRIES):
        rebuild = ports.shadows.unfinished(name)
        if rebuild is None:
            raise NotFound(f"no rebuild of {name[:60]} is under way", field="NAME", hint="jobledger projections status")
        if rebuild.state is RebuildState.SWAPPED:
            raise RebuildUnderWay(
                f"the rebuild of {name} has taken the live view's place already", field="NAME",
                hint=f"finish it: {command(rebuild)}",
            )  # fmt: skip
        try:
            cancelled = ports.shadows.note(rebuild, RebuildState.CANCELLED, error=reason)
        except CheckpointMoved:
            continue  # it went on meanwhile
        if cancelled.begun_version:
            ports.records.cancelled(cancelled, reason)
        return cancelled
    raise LedgerBusy(f"the rebuild of {name} goes on all the time", hint="try again")


def record_given_up(ports: RebuildPorts, name: str) -> None:
    """Record that the last rebuild of a view was given up, where who did so died before that. Recorded once."""
    recent = ports.shadows.recent(limit=RECENT)
    last = next((rebuild for rebuild in recent if rebuild.projection == name), None)
    if last is not None and last.state in _GIVEN_UP and last.begun_version:
        ports.records.cancelled(last, last.error or "given up")


def command(rebuild: Rebuild) -> str:
    """The command that goes on with a rebuild."""
    verb = "verify" if rebuild.purpose is Purpose.VERIFY else "rebuild"
    words = [f"jobledger projections {verb} {rebuild.projection}"]
    words += [f"--tenant {rebuild.scope.tenant}"] if rebuild.scope.tenant else []
    words += [f"--job {rebuild.scope.job}"] if rebuild.scope.job else []
    words += ["--dry-run"] if rebuild.purpose is Purpose.DRY_RUN else []
    words += ['--reason "..."'] if rebuild.purpose is not Purpose.VERIFY else []
    return " ".join(words)


def require_scope(projection: Projection, scope: Scope) -> None:
    """`InvalidInput` where a row of the view belongs to more than the scope."""
    names = {column.name for column in projection.columns}
    if scope.tenant is not None and "tenant_id" not in names:
        raise InvalidInput(
            f"rows of {projection.name} belong to no single tenant", field="--tenant",
            rule="only views with a tenant", hint=f"rebuild the whole: jobledger projections rebuild {projection.name}",
        )  # fmt: skip
    if scope.job is not None and not (projection.by_stream and "job_id" in names):
        raise InvalidInput(
            f"a row of {projection.name} is made of many jobs", field="--job", rule="only views with a row a job",
            hint=f"rebuild a tenant: jobledger projections rebuild {projection.name} --tenant NAME",
        )  # fmt: skip


def _settled(ports: RebuildPorts, wanted: Wanted, under_way: Rebuild) -> bool:
    """Get an interrupted rebuild of another kind out of the way where nothing is lost by it. False: it is of the same
    kind, to be worked on. `RebuildUnderWay` where it is of another."""
    same_kind = (under_way.purpose, under_way.scope) == (wanted.purpose, wanted.scope)
    if under_way.fold_version != wanted.projection.version and under_way.state is not RebuildState.SWAPPED:
        _give_up_other_version(ports, wanted.projection, under_way)
        return True
    if same_kind:
        return False
    if under_way.state is RebuildState.SWAPPED:
        finish(ports, wanted.projection, under_way)
        return True
    raise RebuildUnderWay(
        f"a {_kind(under_way)} of {under_way.projection} that {under_way.actor} began at {under_way.begun_at:%H:%M:%S} "
        f"UTC is not over ({under_way.state.value.replace('_', ' ')})", field="NAME", rule="one at a time",
        hint=f"go on with it: {command(under_way)}; or give it up: jobledger projections cancel "
        f'{under_way.projection} --reason "..."',
    )  # fmt: skip


def finish(ports: RebuildPorts, projection: Projection, rebuild: Rebuild) -> None:
    """Record a rebuild that took the live view's place, and whose process died right behind that."""
    rebuilding = Rebuilding(ports, projection, rebuild, Options())
    try:
        rebuilding.run()
    finally:
        rebuilding.close()


def _give_up_other_version(ports: RebuildPorts, projection: Projection, under_way: Rebuild) -> None:
    if under_way.fold_version > projection.version:
        raise SchemaTooNew(
            f"version {under_way.fold_version} of the fold of {projection.name} is rebuilding it; this program has "
            f"{projection.version}", field="NAME", hint="upgrade jobledger",
        )  # fmt: skip
    why = f"the fold is of version {projection.version} now"
    try:
        failed = ports.shadows.note(under_way, RebuildState.FAILED, error=why)
    except CheckpointMoved:
        return  # look again
    if failed.begun_version:
        ports.records.cancelled(failed, why)


def _kind(rebuild: Rebuild) -> str:
    return {Purpose.REBUILD: "rebuild", Purpose.DRY_RUN: "dry run", Purpose.VERIFY: "verification"}[rebuild.purpose]


def _new(ports: RebuildPorts, wanted: Wanted) -> Rebuild:
    """As it is to be stored. A live view of another fold version stands still: it is compared where it stands."""
    projection, head = wanted.projection, ports.source.head()
    live = ports.store.checkpoints().get(projection.name, Checkpoint(0, projection.version))
    if live.version > projection.version:
        raise SchemaTooNew(
            f"view {projection.name} was written by version {live.version} of its fold; this program has "
            f"{projection.version}", field="NAME", hint="upgrade jobledger",
        )  # fmt: skip
    if live.version < projection.version and not wanted.scope.is_whole and wanted.purpose is Purpose.REBUILD:
        raise SchemaOutdated(
            f"view {projection.name} was written by version {live.version} of its fold; this program has "
            f"{projection.version}: some of its rows alone cannot be replaced", field="NAME",
            hint=f'rebuild the whole: jobledger projections rebuild {projection.name} --reason "..."',
        )  # fmt: skip
    position = head if live.version == projection.version else min(head, live.position)
    by_slices = projection.by_stream and wanted.scope.is_whole and position > 0
    slices = (
        [Slice(number, part) for number, part in enumerate(ports.source.ranges(position, SLICES))] if by_slices else []
    )
    return Rebuild(
        wanted.rebuild_id, projection.name, wanted.purpose, wanted.scope, projection.version,
        position if by_slices else 0, wanted.actor, wanted.reason, ports.now(), slices=tuple(slices),
    )  # fmt: skip
