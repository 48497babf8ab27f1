"""`jobledger types`: what the installation knows of job types."""

from __future__ import annotations

import typer

from jobledger.application.queries import ListJobTypes
from jobledger.application.writes import JobTypeRow

from ..shapes import jobs as shapes
from . import options
from .json_output import print_json
from .output import console, table
from .session import opened

_group = typer.Typer(help="What the installation knows of job types.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="types")


@_group.command("list")
def list_types(as_json: options.Json = False) -> None:
    """List the job types that workers have published."""
    with opened() as session:
        rows = session.ask(ListJobTypes)
    if as_json:
        print_json({"types": [shapes.job_type(row) for row in rows]})
    elif not rows:
        console().print("no job types yet; a worker publishes its types when it starts: jobledger up --app MODULE")
    else:
        columns = ("type", "kind", "queue", ("attempts", "right"), ("timeout", "right"), "safe by", "app", "code")
        console().print(table(*columns, rows=[_line(row) for row in rows]))


def _line(row: JobTypeRow) -> tuple[str, ...]:
    definition = row.definition
    said = definition.options
    attempts = str(said.retry.max_attempts) if said.retry else "-"
    timeout = f"{said.timeout_seconds:g} s" if said.timeout_seconds else "-"
    safe_by = [*definition.idempotency_key_fields, *([definition.effects] if definition.effects else [])]
    return (
        definition.name, definition.kind, said.queue or "-", attempts, timeout, ", ".join(safe_by), row.app,
        row.code_version,
    )  # fmt: skip
