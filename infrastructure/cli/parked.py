"""`jobledger projections parked`, `retry-parked`, `skip-parked`: events that views could not take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from jobledger.application.projection_messages import Skip
from jobledger.domain.errors import NotFound, ReasonRequired
from jobledger.domain.event import event_id
from jobledger.domain.identifiers import short_id
from jobledger.projections.catalogue import PROJECTIONS
from jobledger.projections.ports import Parked
from jobledger.projections.projection import Projection
from jobledger.projections.retrying import Retried

from .. import parked as parking
from ..bootstrap import LedgerHandle
from ..parked import Report, Settled
from ..shapes.texts import first_line, iso, time_text
from . import options
from .exit_codes import ExitCode
from .json_output import print_json
from .output import console, error_console, table
from .session import opened

_FAILED_SHOWN = 5

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The view, as `projections status` names it.", show_default=False)
]
AnyName = Annotated[
    str | None, typer.Argument(metavar="[NAME]", help="Only what this view could not take.", show_default=False)
]
Events = Annotated[
    list[str],
    typer.Argument(metavar="EVENT...", help="Ids of events, as `projections parked` shows them.", show_default=False),
]
SomeEvents = Annotated[
    list[str] | None,
    typer.Argument(metavar="[EVENT...]", help="Only these and what waits behind them. Default: all that is parked.",
                   show_default=False),
]  # fmt: skip
SkippedNames = Annotated[
    list[str],
    typer.Argument(metavar="EVENT...", help="Ids of events that were skipped, as `projections parked` shows them.",
                   show_default=False),
]  # fmt: skip
Waiting = Annotated[bool, typer.Option("--waiting", help="Show what waits behind them, too.")]


def register(group: typer.Typer) -> None:
    """Add the commands to the group `projections`."""
    group.command("parked")(parked)
    group.command("retry-parked")(retry_parked)
    group.command("skip-parked")(skip_parked)
    group.command("unskip")(unskip)


def parked(
    *, name: AnyName = None, waiting: Waiting = False, limit: options.Limit = 50, as_json: options.Json = False
) -> None:
    """List events that views could not take, and why, and those that people decided they go without. Later events of
    the same row wait behind each event that is parked."""
    wanted = None if name is None else view(name).name
    with opened() as session:
        skips = parking.skips(session.handle, session.actor, list(PROJECTIONS) if wanted is None else [wanted])
        store = session.handle.view_store
        counts = {key: value for key, value in store.parked_counts().items() if wanted in {None, key}}
        found = store.parked(wanted, failed=not waiting, limit=limit)
    if as_json:
        print_json({
            "events": [shape(one) for one in found], "projections": counts_shape(counts),
            "skipped": [skip_shape(view, one) for view, some in skips.items() for one in some],
        })  # fmt: skip
    else:
        _print_parked(console(), found, counts, waiting=waiting)
        _print_skips(console(), skips, limit)


def retry_parked(
    *, name: Name, events: SomeEvents = None, reason: options.Reason = "", as_json: options.Json = False
) -> None:
    """Have a view take parked events again, once its fold was corrected. What fails again stays parked, with all that
    waits behind it. Exit code 1 where something does."""
    projection = view(name)
    with opened() as session:
        chosen = parking.find(session.handle, projection, events or [])
        with _progress(session.handle, name, quiet=as_json) as report:
            settled = parking.retry(
                session.handle, session.actor, projection, chosen, reason=reason, report=report
            )  # fmt: skip
    _tell(projection, settled, as_json=as_json)


def skip_parked(*, name: Name, events: Events, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Decide that a view goes on without events that it cannot take; rebuilds leave them out, too. What waits behind
    them is taken. The ledger keeps the events, and that you left them out. Exit code 1 where something stays parked."""
    projection = view(name)
    if not reason.strip():
        raise ReasonRequired("skipping a parked event")
    with opened() as session:
        chosen = parking.find(session.handle, projection, events)
        with _progress(session.handle, name, quiet=as_json) as report:
            settled = parking.skip(
                session.handle, session.actor, projection, chosen, reason=reason, report=report
            )  # fmt: skip
    _tell(projection, settled, as_json=as_json)


def unskip(*, name: Name, events: SkippedNames, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Take back that a view goes on without events, once its fold was corrected. Rebuilding it then brings them, and
    what was left out with them."""
    projection = view(name)
    if not reason.strip():
        raise ReasonRequired("taking back that an event is skipped")
    with opened() as session:
        taken_back = parking.unskip(session.handle, session.actor, projection, events, reason=reason)
    if as_json:
        print_json({"projection": name, "unskipped": [skip_shape(name, one) for one in taken_back]})
        return
    console().print(Text.assemble((name, "bold"), f" is to take {_events(len(taken_back))} after all"), soft_wrap=True)
    _hint(console(), "to have that done", f'rebuild {name} --reason "..."')


def view(name: str) -> Projection:
    """The view of that name."""
    projection = PROJECTIONS.get(name)
    if projection is None:
        raise NotFound(
            f"there is no view {name[:60]!r}", field="NAME", rule="a view", hint=f"views: {', '.join(PROJECTIONS)}"
        )
    return projection


# --- what is parked --------------------------------------------------------------------------------------------------


def shape(one: Parked) -> dict[str, object]:
    """A parked event as JSON; `error` is null where it waits behind another one."""
    return {
        "projection": one.projection, "event_id": event_id(one.originator_id, one.originator_version),
        "key": [str(value) for value in one.key], "tenant": one.tenant, "topic": one.topic, "position": one.position,
        "error": one.error, "parked_at": iso(one.parked_at),
    }  # fmt: skip


def skip_shape(name: str, one: Skip) -> dict[str, object]:
    """An event that a view goes without, as JSON."""
    return {
        "projection": name, "event_id": event_id(one.originator_id, one.originator_version), "error": one.error,
        "actor": one.actor, "reason": one.reason, "skipped_at": iso(one.skipped_at),
    }  # fmt: skip


def counts_shape(counts: Mapping[str, tuple[int, int]]) -> dict[str, object]:
    """How many events are parked, by view."""
    return {name: {"failed": failed, "waiting": waiting} for name, (failed, waiting) in sorted(counts.items())}


def counts_text(failed: int, waiting: int) -> str:
    """`1 event is parked, 12 wait behind it`."""
    events = "1 event is parked" if failed == 1 else f"{failed:,} events are parked"
    if not waiting:
        return events
    behind = "behind it" if failed == 1 else "behind them"
    return f"{events}, {waiting:,} {'waits' if waiting == 1 else 'wait'} {behind}"


def _print_parked(
    out: Console, found: Sequence[Parked], counts: Mapping[str, tuple[int, int]], *, waiting: bool
) -> None:
    if not counts:
        out.print("nothing is parked")
        return
    rows = [
        (
            one.projection, f"{short_id(one.originator_id)}.{one.originator_version}", one.topic, one.tenant,
            time_text(one.parked_at), Text("waits", "dim") if one.error is None else Text(first_line(one.error), "red"),
        )
        for one in found
    ]  # fmt: skip
    out.print(table("view", "event", "topic", "tenant", "since", "why", rows=rows, spare=("topic", "tenant", "since")))
    out.print()
    for name, (failed, behind) in sorted(counts.items()):
        out.print(Text.assemble((name, "bold"), ": ", counts_text(failed, behind)), soft_wrap=True)
    shown = sum(failed + (behind if waiting else 0) for failed, behind in counts.values())
    if len(found) < shown:
        out.print(f"[dim]the first {len(found):,} of {shown:,} are shown; --limit shows more[/]")
    first = next((one for one in found if one.error is not None and one.projection in PROJECTIONS), None)
    if first is None:
        return  # what the shadow of a rebuild could not take belongs to the rebuild
    event = f"{short_id(first.originator_id)}.{first.originator_version}"
    _hint(out, "once the view's code is corrected", f"retry-parked {first.projection}")
    _hint(out, "to go on without an event", f'skip-parked {first.projection} {event} --reason "..."')


def _print_skips(out: Console, skips: Mapping[str, Sequence[Skip]], limit: int) -> None:
    for name, some in skips.items():
        out.print(Text.assemble((name, "bold"), f" goes without {_events(len(some))} that people skipped:"))
        for one in some[-limit:]:
            event = f"{short_id(one.originator_id)}.{one.originator_version}"
            said = f"  {event} by {one.actor} at {time_text(one.skipped_at)} UTC: {first_line(one.reason)}"
            out.print(Text(said), soft_wrap=True)
        _hint(out, "to have them after all", f'unskip {name} EVENT --reason "..."')


def _hint(out: Console, when: str, command: str) -> None:
    out.print(Text.assemble((f"{when}: ", "dim"), f"jobledger projections {command}"), soft_wrap=True)


# --- what came of it -------------------------------------------------------------------------------------------------


@contextmanager
def _progress(handle: LedgerHandle, name: str, *, quiet: bool) -> Iterator[Report]:
    out = error_console()
    if quiet or not out.is_terminal:
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=out, transient=True) as progress:
        task = progress.add_task("taking", total=sum(handle.view_store.parked_counts().get(name, (0, 0))))

        def report(page: Retried) -> None:
            progress.update(task, advance=page.taken + page.skipped)

        yield report


def _tell(projection: Projection, settled: Settled, *, as_json: bool) -> None:
    if as_json:
        print_json({
            "projection": projection.name, "taken": settled.retried.taken, "skipped": settled.retried.skipped,
            "failed": [shape(one) for one in settled.retried.failed],
            "still_parked": {"failed": settled.failed, "waiting": settled.waiting},
        })  # fmt: skip
    else:
        _print_settled(console(), projection, settled)
    if settled.retried.failed:
        raise typer.Exit(ExitCode.REFUSED)


def _print_settled(out: Console, projection: Projection, settled: Settled) -> None:
    retried = settled.retried
    if retried == parking.NOTHING:
        out.print(Text.assemble("nothing of ", (projection.name, "bold"), " is parked"))
        return
    parts = [f"took {_events(retried.taken)}"]
    if retried.skipped:
        parts.append(f"goes on without {_events(retried.skipped)}")
    out.print(Text.assemble((projection.name, "bold"), " ", ", ".join(parts)), soft_wrap=True)
    for one in retried.failed[:_FAILED_SHOWN]:
        event = f"{short_id(one.originator_id)}.{one.originator_version}"
        out.print(Text.assemble(("failed again: ", "red"), f"{event} {one.topic}: {first_line(one.error or '')}"),
                  soft_wrap=True)  # fmt: skip
    if len(retried.failed) > _FAILED_SHOWN:
        out.print(Text(f"and {len(retried.failed) - _FAILED_SHOWN:,} more failed again", "red"))
    if settled.failed or settled.waiting:
        out.print(counts_text(settled.failed, settled.waiting))
        _hint(out, "see", f"parked {projection.name}")
    else:
        out.print("[green]nothing of it is parked any more[/]")


def _events(number: int) -> str:
    return f"{number:,} {'event' if number == 1 else 'events'}"
