"""Why a job is where it is, laid out for people."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobledger.application.limit_messages import Explanation
from jobledger.domain.identifiers import short_id
from jobledger.domain.job import JobStatus

from ..shapes.texts import time_text
from .output import status_text


def print_explanation(console: Console, tenant: str, found: Explanation) -> None:
    """Print where a job stands, what it waits for, and the commands that help further."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("job", Text(f"{short_id(found.job_id)} of {tenant}"))
    grid.add_row("status", status_text(found.status.value).append(f" since {time_text(found.since)} UTC"))
    grid.add_row("", Text(f"it {found.account}"))
    for number, hold in enumerate(found.holds):
        grid.add_row("waits" if number == 0 else "", Text(hold.text, style="bold"))
    console.print(grid)
    for command in _next(found):
        console.print(f"[dim]{command} --tenant {tenant}[/]", soft_wrap=True)


def _next(found: Explanation) -> list[str]:
    job = short_id(found.job_id)
    if found.status is JobStatus.DLQ:
        return [f"the whole error: jobledger dlq show {job}"]
    return [f"why: jobledger jobs history {job}"]
