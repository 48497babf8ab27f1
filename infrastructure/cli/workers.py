"""`jobledger workers`: who works on this ledger, on what, and what that uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jobledger.application.ports import WorkerRow
from jobledger.application.queries import ListWorkers
from jobledger.application.worker.clock_skew import SKEW_SECONDS_MAX, skew_text

from ..shapes import jobs as shapes
from ..shapes.texts import duration_text
from . import options
from .json_output import print_json
from .output import console
from .session import opened

_TYPES_SHOWN = 3
_HOST_WIDTH = 24

All = Annotated[bool, typer.Option("--all", help="Lost workers too: those not heard of while their lease lasted.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(workers)


def workers(*, all_workers: All = False, as_json: options.Json = False) -> None:
    """Show the workers: what they run, hold and use, and when they were last heard of."""
    with opened() as session:
        rows = session.ask(ListWorkers, lost=True)
    lost = [row for row in rows if row.is_lost]
    shown = [row for row in rows if all_workers or not row.is_lost]
    if as_json:
        print_json({"workers": [shapes.worker(row) for row in shown], "lost": len(lost)})
        return
    out = console()
    if shown:
        out.print(_table(shown))
    else:
        out.print("no worker runs; start one with: jobledger work --app MODULE")
    for remark in _remarks(shown):
        out.print(remark)
    if lost and not all_workers:
        out.print(f"[dim]{len(lost)} lost, not shown:[/] jobledger workers --all")


def _table(rows: Sequence[WorkerRow]) -> Table:
    """Two lines a worker: what is asked for most above, what belongs to it below."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("worker\n[dim]app, code[/]", "host\n[dim]pid[/]", "slots\n[dim]held[/]", "cores\n[dim]memory[/]",
                  "seen\n[dim]since[/]"):  # fmt: skip
        made.add_column(title, no_wrap=True)
    made.add_column("running\n[dim]queues[/]", overflow="ellipsis", no_wrap=True)
    for row in rows:
        made.add_row(*_cells(row))
    return made


def _cells(row: WorkerRow) -> list[Text]:
    beat, report = row.heartbeat, row.heartbeat.report
    age_seconds = (row.last_seen_at - row.started_at).total_seconds() + row.seconds_since_seen
    return [
        _pair(beat.worker, f"{report.app or '-'} {beat.code_version}", "red" if row.is_lost else "cyan"),
        _pair(_cut(report.host or "-", _HOST_WIDTH), str(report.pid or "-")),
        _pair(f"{beat.running}/{beat.concurrency}", str(report.held)),
        _pair(f"{report.cpu_load:.2f}", size_text(report.rss_bytes)),
        _pair(f"{'lost ' if row.is_lost else ''}{duration_text(round(row.seconds_since_seen))}",
              duration_text(round(age_seconds)), "bold red" if row.is_lost else ""),
        _pair(_types_text(report.running_by_type), ", ".join([*beat.queues, *_dedicated(row)])),
    ]  # fmt: skip


def _pair(above: str, below: str, style: str = "") -> Text:
    return Text.assemble((above, style), "\n", (below, "dim"))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _types_text(running: Mapping[str, int]) -> str:
    most = sorted(running.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{count} {job_type}" for job_type, count in most[:_TYPES_SHOWN]]
    more = sum(count for _, count in most[_TYPES_SHOWN:])
    return ", ".join(told + ([f"{more} others"] if more else [])) or "-"


def _dedicated(row: WorkerRow) -> list[str]:
    report = row.heartbeat.report
    return [f"only tenant {name}" for name in report.tenants] + [f"only persona {name}" for name in report.personas]


def _remarks(rows: Sequence[WorkerRow]) -> list[str]:
    """What an operator should do something about."""
    remarks: list[str] = []
    for row in rows:
        name, report = escape(row.heartbeat.worker), row.heartbeat.report
        if abs(report.clock_skew_seconds) > SKEW_SECONDS_MAX:
            remarks.append(f"[yellow]![/] {name}: {skew_text(report.clock_skew_seconds)}")
        if report.quarantined:
            lost = "1 of its slots is" if report.quarantined == 1 else f"{report.quarantined} of its slots are"
            remarks.append(
                f"[yellow]![/] {name}: {lost} lost to handlers past their timeout; "
                'give such job types isolation="process"'
            )
    return remarks


def size_text(size_bytes: int) -> str:
    """`0 MB`, `118 MB`, `2.4 GB`."""
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
