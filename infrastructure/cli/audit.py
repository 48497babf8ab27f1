"""`jobledger audit`: replay a tenant's history into a file, check such a file, list what people did."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from jobledger.application.audit_messages import (
    BeginExport,
    EndExport,
    Export,
    GetExport,
    ListManualActs,
    ManualActs,
    RecordedAct,
)
from jobledger.application.positions import Positions
from jobledger.domain.audit import ExportFormat
from jobledger.domain.errors import InvalidInput
from jobledger.domain.identifiers import short_id

from ..audit_files import (
    Manifest,
    Verdict,
    Written,
    manifest_line,
    manifest_of,
    manifest_path,
    manifest_text,
    not_written,
    require_new,
    whole_file,
    write_events,
)
from ..audit_files import verify as verify_file
from ..shapes import audit as shapes
from ..shapes.texts import first_line, time_text
from . import options
from .asking import ask, ask_calling
from .exit_codes import ExitCode
from .json_output import print_json
from .lists import repeat
from .output import console, error_console, table
from .session import Session, opened
from .streams import forget_stdout, require_stdout
from .times import parse_past

_WIDE = 110
"""Columns from which on acts and their reasons stand beside each other."""

_group = typer.Typer(
    help="For auditors: the events as they were recorded, and what people did. Exports are themselves recorded.",
    no_args_is_help=True,
)

From = Annotated[
    str | None, typer.Option("--from", help="Only what was recorded since this time, or for 2h, 7d.",
                             show_default=False)
]  # fmt: skip
To = Annotated[
    str | None, typer.Option("--to", help="Only what was recorded before this time, or 2h ago.", show_default=False)
]
By = Annotated[str | None, typer.Option("--actor", help="Only what this actor did.", show_default=False)]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only events of this type: job.failed, or job.* (may be repeated).",
                 show_default=False),
]  # fmt: skip
Format = Annotated[
    ExportFormat, typer.Option("--format", "-f", help="jsonl: canonical JSON (RFC 8785), one event a line.")
]
Bodies = Annotated[bool, typer.Option("--bodies", help="Also payloads, results, logs, tracebacks.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", dir_okay=False, help="The file. Default: stdout.", show_default=False),
]
ManifestFile = Annotated[
    Path | None,
    typer.Option("--manifest", dir_okay=False, show_default=False,
                 help="Where the manifest goes. Default: FILE.manifest.json; of what goes to stdout, stderr."),
]  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="audit")


@_group.command()
def replay(
    *,
    tenant: options.Tenant = None,
    since: From = None,
    until: To = None,
    types: Types = None,
    by: By = None,
    form: Format = "jsonl",
    bodies: Bodies = False,
    output: Output = None,
    manifest: ManifestFile = None,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Hand out the events of a tenant in the order of the ledger, with a manifest. Changes nothing but its record.

    Tenant `system` is the installation itself.
    """
    target = manifest or (manifest_path(output) if output else None)
    if output is None:
        require_stdout()
    for path in (output, target):
        if path is not None:
            require_new(path)
    with opened() as session:
        owner, now = session.tenant(tenant), session.handle.ports.clock.now()
        export = ask(
            session, BeginExport, tenant=owner, recorded_from=parse_past(since, "--from", now),
            recorded_to=parse_past(until, "--to", now), types=tuple(types or ()), by=by, format=form, bodies=bodies,
            reason=reason,
        )  # fmt: skip
        made = _to_stdout(session, export) if output is None else _to_file(session, export, output, target)
    if output is not None:
        _print_made(output, target, made, as_json=as_json)
    elif target is not None:
        _write_manifest(target, made)
    else:
        sys.stderr.write(manifest_line(made))


@_group.command()
def verify(
    *,
    file: Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="A file that `audit replay` made.")],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", dir_okay=False, help="Its manifest. Default: FILE.manifest.json.", show_default=False
        ),
    ] = None,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Ask the ledger, too: a file and its manifest may both be replaced.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Check a file against its manifest: the hash of its bytes, and how many events it has."""
    verdict = verify_file(file, manifest or manifest_path(file))
    troubles = [*verdict.troubles, *(_recorded_otherwise(verdict) if recorded else [])]
    if as_json:
        print_json({"file": str(file), "events": verdict.events, "sha256": verdict.sha256, "troubles": troubles})
    elif troubles:
        for trouble in troubles:
            error_console().print(Text.assemble(("not as it was made: ", "bold red"), trouble), soft_wrap=True)
    else:
        told = "manifest and ledger agree" if recorded else "as its manifest says"
        console().print(f"[green]{_counted(verdict.events)}, {told}[/]")
    if troubles:
        raise typer.Exit(ExitCode.REFUSED)


@_group.command()
def actions(
    *,
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant",
            "-t",
            show_default=False,
            help="Only of this tenant; `system`: of the installation. Default: all.",
        ),
    ] = None,
    since: From = None,
    until: To = None,
    by: By = None,
    limit: options.Limit = 50,
    after: Annotated[
        str | None,
        typer.Option("--after", help="Begin after this position (from the last page's hint).", show_default=False),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """List what people did by hand, oldest first: who, when, what, on what, why, and the ticket."""
    with opened() as session:
        now = session.handle.ports.clock.now()
        reached = _position_text(session)(session.handle.ports.reader.head())
        page = ask(
            session, ListManualActs, tenant=tenant, recorded_from=parse_past(since, "--from", now),
            recorded_to=parse_past(until, "--to", now), by=by, cursor=after, limit=limit,
        )  # fmt: skip
    if as_json:
        print_json({"acts": [shapes.act(act) for act in page.acts], "next": page.cursor, "horizon": reached})
        return
    said = {"--tenant": tenant, "--from": since, "--to": until, "--actor": by}
    words = repeat(("audit", "actions"), said, limit)
    if not page.acts:
        asked = any((tenant, since, until, by, after))
        console().print("no manual acts match" if asked else "nobody did anything by hand")
        console().print(f"[dim]as of {time_text(now)} UTC, position {reached}[/]")
        return
    _print_acts(console(), page, words, of_all=tenant is None)


# --- exports ---------------------------------------------------------------------------------------------------------


def _to_stdout(session: Session, export: Export) -> Manifest:
    text = _position_text(session)
    try:
        written = write_events(export, sys.stdout.buffer, text, to_terminal=sys.stdout.isatty())
    except BrokenPipeError as error:  # who reads has had enough: that is no export
        forget_stdout()
        raise typer.Exit(ExitCode.REFUSED) from error
    except OSError as error:
        forget_stdout()
        raise not_written(Path("stdout"), error) from error
    _record_end(session, export, written)
    return manifest_of(export, written, text, actor=session.actor, file=None)


def _to_file(session: Session, export: Export, output: Path, target: Path | None) -> Manifest:
    """The record comes before the manifest, and the file last: where it is, all of it and its manifest are."""
    text = _position_text(session)
    with whole_file(output) as (stream, publish):
        written = write_events(export, stream, text)
        _record_end(session, export, written)
        made = manifest_of(export, written, text, actor=session.actor, file=output.name)
        _write_manifest(target or manifest_path(output), made)
        publish()
    return made


def _record_end(session: Session, export: Export, written: Written) -> None:
    session.ask(
        EndExport, tenant=export.tenant, export_id=export.export_id, events=written.events,
        first_position=written.first_position, last_position=written.last_position, sha256=written.sha256,
    )  # fmt: skip


def _write_manifest(path: Path, made: Manifest) -> None:
    with whole_file(path) as (stream, publish):
        stream.write(manifest_text(made).encode())
        publish()


def _position_text(session: Session) -> Callable[[int], str]:
    positions = Positions(session.handle.ports.reader)
    return lambda position: positions.text(position) or ""


def _print_made(output: Path, target: Path | None, made: Manifest, *, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    out = console()
    lines = {
        "file": f"{output} ({_counted(made['events'])}, {made['size_bytes']:,} bytes)", "manifest": str(target),
        "sha256": str(made["sha256"]),
        "positions": f"{made['first_position'] or '-'} to {made['last_position'] or '-'}",
        "recorded": str(made["recorded_as"]),
    }  # fmt: skip
    for name, value in lines.items():
        out.print(Text.assemble((f"{name:<10}", "dim"), value), soft_wrap=True)
    if made["horizon_reached"]:
        out.print(
            f"[yellow]reached the end of what can be read ({made['horizon']}): more that matches may follow[/]",
            soft_wrap=True,
        )


def _counted(events: object) -> str:
    return "1 event" if events == 1 else f"{events:,} events"


def _recorded_otherwise(verdict: Verdict) -> list[str]:
    """What the ledger's record of an export says that the file does not."""
    stream, _, _ = str(verdict.manifest.get("recorded_as")).rpartition(".")
    try:
        export_id = UUID(stream)
    except ValueError as error:
        raise InvalidInput(
            f"it was recorded as {stream[:60]!r}, which is no stream", field="--manifest", rule="names an export"
        ) from error
    with opened() as session:
        typed = {"tenant": "--manifest", "export_id": "--manifest"}
        record = ask_calling(session, GetExport, typed, tenant=verdict.manifest.get("tenant"), export_id=export_id)
    if record.ended is None:
        return ["the ledger says that this export broke off"]
    said = {"sha256": (verdict.sha256, record.ended.sha256), "events": (verdict.events, record.ended.events)}
    return [f"{name}: the file has {is_}, the ledger says {was}" for name, (is_, was) in said.items() if is_ != was]


# --- manual acts -----------------------------------------------------------------------------------------------------


def _print_acts(out: Console, page: ManualActs, words: list[str], *, of_all: bool) -> None:
    lines = [_act_line(act, of_all=of_all) for act in page.acts]
    if out.is_terminal and out.width < _WIDE:
        _print_narrow(out, lines)
    else:
        columns = ("when (UTC)", *(("tenant",) if of_all else ()), "who", "what", "ticket", "why")
        out.print(table(*columns, rows=lines))
    if page.cursor is not None:
        out.print(Text.assemble(("next page: ", "dim"), f"jobledger {shlex.join([*words, '--after', page.cursor])}"),
                  soft_wrap=True)  # fmt: skip


def _print_narrow(out: Console, lines: Sequence[tuple[str | Text, ...]]) -> None:
    """Ticket and reason below the act: beside it nothing would be left of them."""
    out.print("[bold]when (UTC)[/]")
    for *before, ticket, why in lines:
        out.print(Text("  ").join([part if isinstance(part, Text) else Text(part) for part in before]))
        told = str(why) if str(ticket) == "-" else f"{why} ({ticket})"
        if told:
            out.print(Padding(Text(told), (0, 0, 0, 4), expand=False))


def _act_line(recorded: RecordedAct, *, of_all: bool) -> tuple[str | Text, ...]:
    act = recorded.act
    what = Text(f"{act.what} ")
    what.append(f"job {short_id(recorded.job_id)}" if recorded.job_id else act.subject, style="bold")
    who = recorded.actor if recorded.authenticated else f"{recorded.actor} ?"
    return (
        time_text(recorded.recorded_at), *((recorded.tenant,) if of_all else ()), who, what, act.ticket or "-",
        first_line(act.reason),
    )  # fmt: skip
