"""`jobledger queues`: what waits, runs and is dead in each, and pausing one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from jobledger.application.limit_messages import ListQueues, PauseTarget, QueueOverview, ResumeTarget
from jobledger.domain.job import JobStatus

from ..shapes import jobs as shapes
from . import options
from .json_output import print_json
from .output import console, table
from .session import opened
from .targets import PAUSED_STYLE, print_target

_group = typer.Typer(help="What waits, runs and is dead in each queue; pause one.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue's name.", show_default=False)]

_COUNTED = (JobStatus.PENDING, JobStatus.DELAYED, JobStatus.IN_PROGRESS, JobStatus.DLQ)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="queues")


@_group.command("list")
def list_queues(as_json: options.Json = False) -> None:
    """List the queues with their open jobs, of all tenants together."""
    with opened() as session:
        rows = session.ask(ListQueues)
    if as_json:
        print_json({"queues": [shapes.queue(row) for row in rows]})
    elif not rows:
        console().print("no queues yet; a queue comes into being with a job type or a job that names it")
    else:
        columns = (
            "queue", ("ready", "right"), ("delayed", "right"), ("running", "right"), ("dlq", "right"), "limits", "",
        )  # fmt: skip
        console().print(table(*columns, rows=[_line(row) for row in rows]))


@_group.command()
def pause(*, queue: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Start nothing of a queue until it is resumed. Jobs are still taken; those that run go on to their end."""
    with opened() as session:
        changed = session.ask(PauseTarget, queue=queue, reason=reason)
    print_target(changed, as_json=as_json)


@_group.command()
def resume(*, queue: Name, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Start jobs of a paused queue again; those that waited start at once."""
    with opened() as session:
        changed = session.ask(ResumeTarget, queue=queue, reason=reason)
    print_target(changed, as_json=as_json)


def _line(row: QueueOverview) -> tuple[str | Text, ...]:
    limits = row.state.limits
    return (
        row.queue, *(str(row.jobs.get(status, 0)) for status in _COUNTED),
        "-" if limits.is_default else str(limits),
        Text("paused" if row.state.paused else "", style=PAUSED_STYLE),
    )  # fmt: skip
