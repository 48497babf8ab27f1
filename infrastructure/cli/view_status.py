"""How views stand: position, lag, who keeps them current, what is parked, what is under way, what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.text import Text

from jobledger.application.message import Actor
from jobledger.domain.errors import LedgerBusy
from jobledger.projections.beginning import RECENT, command
from jobledger.projections.catalogue import ALL_PROJECTIONS
from jobledger.projections.filling import fraction_done
from jobledger.projections.ports import LAG_EVENTS_MAX, Checkpoint, LedgerLag, ProjectionLag
from jobledger.projections.projection import Projection
from jobledger.projections.shadow import Kept, Rebuild, RebuildState, Versions, shadow_of

from .. import parked as parking
from ..bootstrap import LedgerHandle
from ..shapes.texts import duration_text, iso, time_text
from .output import table
from .rebuild_output import what
from .rebuild_progress import STATE_TEXT


class View(NamedTuple):
    """One view. `lag` is None where measuring it would have taken too long. `parked` are events that failed, and those
    that wait behind them."""

    projection: Projection
    stored: Checkpoint | None
    lag: ProjectionLag | None
    parked: tuple[int, int]
    versions: Versions | None
    rebuild: Rebuild | None
    fraction: float
    skipped: int = 0
    """Events that people decided it goes without."""

    @property
    def is_current_version(self) -> bool:
        """Whether this program's fold wrote the rows."""
        return self.stored is None or self.stored.version == self.projection.version


class Overview(NamedTuple):
    """All views, and what they can read: `head`, and for how long the oldest committed event could not be read.
    `others` are rebuilds under way of views that this program does not have."""

    views: tuple[View, ...]
    head: int
    horizon_age_seconds: float | None
    others: tuple[Rebuild, ...] = ()


def overview(handle: LedgerHandle, actor: Actor, projections: Sequence[Projection] = ALL_PROJECTIONS) -> Overview:
    """Look at all views, as they are now."""
    skips = parking.skips(handle, actor, [projection.name for projection in projections])
    head, lag = handle.event_source.head(), _lag(handle, [projection.name for projection in projections])
    lags = {one.projection: one for one in lag.projections} if lag else {}
    stored, parked = handle.view_store.checkpoints(), handle.view_store.parked_counts()
    versions = {one.projection: one for one in handle.shadows.versions()}
    views = []
    for projection in projections:
        name, under_way = projection.name, handle.shadows.unfinished(projection.name)
        shadow = stored.get(shadow_of(projection).name)
        views.append(View(
            projection, stored.get(name), lags.get(name), parked.get(name, (0, 0)), versions.get(name), under_way,
            0.0 if under_way is None else fraction(under_way, shadow, stored.get(name)), len(skips.get(name, ())),
        ))  # fmt: skip
    known = {projection.name for projection in projections}
    others = tuple(
        rebuild
        for rebuild in handle.shadows.recent(limit=RECENT)
        if rebuild.projection not in known and not rebuild.is_over
    )
    return Overview(tuple(views), head, lag.horizon_age_seconds if lag else None, others)


def fraction(rebuild: Rebuild, shadow: Checkpoint | None, live: Checkpoint | None) -> float:
    """How much of its state's work is done, from 0 to 1."""
    if rebuild.state is RebuildState.FILLING:
        return sum(map(fraction_done, rebuild.slices)) / max(1, len(rebuild.slices))
    if rebuild.state is RebuildState.CATCHING_UP and shadow is not None and live is not None:
        way = max(1, live.position - rebuild.position)
        return max(0.0, min(1.0, (shadow.position - rebuild.position) / way))
    return 0.0


def _lag(handle: LedgerHandle, names: list[str]) -> LedgerLag | None:
    try:
        return handle.event_source.lag(names)
    except LedgerBusy:
        return None


# --- for people ------------------------------------------------------------------------------------------------------


def print_overview(out: Console, seen: Overview) -> None:
    """A line a view, then what has to be known or done."""
    rows = [_line(view) for view in seen.views]
    out.print(table(
        "view", ("position", "right"), ("behind", "right"), ("age", "right"), ("fold", "right"), ("parked", "right"),
        ("kept", "right"), "owner", rows=rows,
    ))  # fmt: skip
    out.print(Text(f"the ledger can be read up to {seen.head}{_horizon(seen.horizon_age_seconds)}", "dim"))
    for view in seen.views:
        _print_remarks(out, view)
    for rebuild in seen.others:
        out.print(Text.assemble((what(rebuild), "bold"), ": this program has no such view"), soft_wrap=True)
        give_up = f'jobledger projections cancel {rebuild.projection} --reason "..."'
        out.print(Text.assemble(("  to give it up: ", "dim"), give_up), soft_wrap=True)


def _line(view: View) -> tuple[str | Text, ...]:
    stored = view.stored
    version = str(view.projection.version if stored is None else stored.version)
    return (
        view.projection.name, str(stored.position if stored else 0), *_behind(view.lag),
        Text(version, "" if view.is_current_version else "bold red"), _parked(view.parked),
        _kept(view.versions.previous if view.versions else None), (stored.owner if stored else "") or "-",
    )  # fmt: skip


def _kept(kept: Kept | None) -> str:
    """How many rows, as far as that is known."""
    if kept is None:
        return "-"
    if kept.rows is None:
        return "unknown"
    return f"{kept.rows:,}" if kept.exact else f"about {kept.rows:,}"


def _behind(lag: ProjectionLag | None) -> tuple[str, str]:
    if lag is None:
        return "?", "?"
    events = f"{lag.events:,}+" if lag.events >= LAG_EVENTS_MAX else f"{lag.events:,}"
    return events, duration_text(round(lag.seconds, 1)) if lag.events else "-"


def _parked(parked: tuple[int, int]) -> Text:
    failed, waiting = parked
    if not failed and not waiting:
        return Text("-")
    return Text(f"{failed:,}+{waiting:,}" if waiting else f"{failed:,}", "bold red")


def _horizon(age_seconds: float | None) -> str:
    if age_seconds is None:
        return "; how far views are behind would have taken too long to measure"
    if age_seconds < 1:
        return ""
    return f"; a transaction that appended has been open for {duration_text(age_seconds)}: later events wait for it"


def _print_remarks(out: Console, view: View) -> None:
    name, rebuild = view.projection.name, view.rebuild
    if rebuild is not None:
        percent = f" {view.fraction:.0%}" if rebuild.state in (RebuildState.FILLING, RebuildState.CATCHING_UP) else ""
        said = f"{STATE_TEXT.get(rebuild.state, rebuild.state.value)}{percent}, {rebuild.events:,} events"
        began = f"{time_text(rebuild.begun_at)} UTC by {rebuild.actor}"
        out.print(Text.assemble((f"{what(rebuild)}", "bold"), f": {said}; begun {began}"), soft_wrap=True)
        out.print(Text.assemble(("  if nobody works on it: ", "dim"), command(rebuild)), soft_wrap=True)
    if not view.is_current_version and view.stored is not None:
        ours, stored = view.projection.version, view.stored.version
        said = f"{name} stands still: written by version {stored} of its fold, this program has {ours}: "
        what_to_do = "upgrade jobledger" if stored > ours else f'jobledger projections rebuild {name} --reason "..."'
        out.print(Text.assemble((said, "red"), what_to_do), soft_wrap=True)
    if view.parked != (0, 0):
        out.print(Text.assemble((f"{name} misses what is parked: ", "red"), f"jobledger projections parked {name}"))
    if view.skipped:
        events = "1 event" if view.skipped == 1 else f"{view.skipped:,} events"
        said = f"{name} goes without {events} that people skipped: jobledger projections parked {name}"
        out.print(Text(said), soft_wrap=True)


# --- for programs ----------------------------------------------------------------------------------------------------


def shape(seen: Overview) -> dict[str, object]:
    """The answer of `projections status`. `lag_events` is counted up to 10,000. Numbers of rows are estimates on
    PostgreSQL, null where there is none yet."""
    return {
        "head": seen.head, "horizon_age_seconds": seen.horizon_age_seconds,
        "views": [_view_shape(view) for view in seen.views],
        "others": [{"projection": rebuild.projection, **_rebuild_shape(rebuild, 0.0)} for rebuild in seen.others],
    }  # fmt: skip


def _view_shape(view: View) -> dict[str, object]:
    stored, versions = view.stored, view.versions
    return {
        "projection": view.projection.name, "position": stored.position if stored else 0,
        "recorded_at": iso(stored.recorded_at) if stored else None,
        "lag_events": view.lag.events if view.lag else None, "lag_seconds": view.lag.seconds if view.lag else None,
        "owner": (stored.owner if stored else "") or None, "moved_at": iso(stored.moved_at) if stored else None,
        "fold_version": stored.version if stored else None, "fold_version_of_program": view.projection.version,
        "parked": view.parked[0], "waiting_behind_parked": view.parked[1], "skipped": view.skipped,
        "previous_kept": versions is not None and versions.previous is not None,
        "previous_rows": _rows(versions.previous if versions else None),
        "shadow_rows": _rows(versions.shadow if versions else None),
        "rebuild": None if view.rebuild is None else _rebuild_shape(view.rebuild, view.fraction),
    }  # fmt: skip


def _rows(kept: Kept | None) -> int | None:
    return None if kept is None else kept.rows


def _rebuild_shape(rebuild: Rebuild, fraction: float) -> dict[str, object]:
    return {
        "rebuild_id": str(rebuild.rebuild_id), "purpose": rebuild.purpose.value, "state": rebuild.state.value,
        "fraction": round(fraction, 4), "events": rebuild.events, "rows": rebuild.rows,
        "tenant": rebuild.scope.tenant, "job_id": None if rebuild.scope.job is None else str(rebuild.scope.job),
        "actor": rebuild.actor, "reason": rebuild.reason, "begun_at": iso(rebuild.begun_at),
    }  # fmt: skip
