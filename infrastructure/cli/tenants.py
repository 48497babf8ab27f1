"""`jobledger tenants`: nothing runs without one."""

from __future__ import annotations

from typing import Annotated

import typer

from jobledger.application.commands import CreateTenant
from jobledger.application.queries import ListTenants

from . import options, shapes
from .json_output import print_json
from .output import console, status_text, table
from .session import opened

_group = typer.Typer(help="Create and list tenants.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group."""
    app.add_typer(_group, name="tenants")


@_group.command()
def create(
    *,
    name: Annotated[str, typer.Argument(help="Its name and id: a-z, 0-9, - and _, at most 63 characters.")],
    display_name: Annotated[str, typer.Option("--display-name", help="What people call it.")] = "",
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Create a tenant."""
    with opened() as session:
        created = session.ask(CreateTenant, name=name, display_name=display_name, reason=reason)
    if as_json:
        print_json({"tenant": {**created._asdict(), "display_name": display_name}})
    else:
        console().print(f"created tenant [bold]{created.name}[/]")


@_group.command("list")
def list_tenants(as_json: options.Json = False) -> None:
    """List all tenants."""
    with opened() as session:
        rows = session.ask(ListTenants)
    if as_json:
        print_json({"tenants": [shapes.tenant(row) for row in rows]})
    elif not rows:
        console().print("no tenants yet; create one with: jobledger tenants create NAME")
    else:
        lines = [(row.name, status_text(row.status.value), row.display_name) for row in rows]
        console().print(table("tenant", "status", "name", rows=lines))
