"""How views stand, for people."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from jobledger.projections.beginning import command
from jobledger.projections.ports import LAG_EVENTS_MAX, ProjectionLag
from jobledger.projections.shadow import Kept, RebuildState

from ..shapes.texts import duration_text, time_text
from ..view_standing import Overview, View
from .output import table
from .rebuild_output import what
from .rebuild_progress import STATE_TEXT

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
